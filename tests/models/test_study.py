"""The study file: what it says, what it refuses and in which words, and the units it comes to."""

from pathlib import Path

import pytest
import yaml
from small_study import SMALL, STUDY, study_config, study_file

from models.presets import PRESETS, preset
from models.study import DataSetRule, StudyConfig, read_study, write_study
from models.study_units import Unit, asked, settings, units
from pipeline.errors import PipelineError

WALK = {"walk": {"prefix": "walk-", "people": ["p01", "p02"]}}


def resolved(**changes: object) -> StudyConfig:
    return study_config(**({"data_sets": WALK, "people": ["p01", "p02"]} | changes))


def row(**changes: object) -> list[dict]:
    return [{"name": "MAEPose"} | changes]


def test_a_study_is_read_as_it_was_written(tmp_path):
    config = resolved(inside_split=True, seeds=[1, 2], methods=row(set={"pose.head": "gcn"}, start="pretrained"))
    write_study(tmp_path / "study.yaml", config)
    assert read_study(tmp_path / "study.yaml") == config
    assert "set:" in (tmp_path / "study.yaml").read_text()


def test_a_row_changes_what_it_names_and_nothing_else():
    changes = {"pose.head": "gcn", "finetuning.ema": 0.99, "pretraining.steps": 1000, "masked.masking": "tube"}
    config = StudyConfig.model_validate(STUDY | {"set": {"finetuning.steps": 7}, "methods": row(set=changes)})
    plain = preset("tiny").on(("rd",))
    chosen = config.preset_of(config.methods[0], "rd", seed=3)
    assert chosen.clip == plain.clip
    assert chosen.pose == plain.pose.model_copy(update={"head": "gcn"})
    assert chosen.masked == plain.masked.model_copy(update={"masking": "tube"})
    assert chosen.finetuning == plain.finetuning.model_copy(update={"steps": 7, "ema": 0.99, "seed": 3})
    assert chosen.pretraining == plain.pretraining.model_copy(update={"steps": 1000, "seed": 3})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": row(set={"pose.heads": "gcn"})}, r"methods.MAEPose.set.pose.heads: a preset has no such field"),
        ({"methods": row(set={"pose.head": "tree"})}, r"methods.MAEPose.set.pose.head: Input should be 'heatmap'"),
        ({"methods": row(set={"pose.head.x": 1})}, r"set.pose.head.x: a preset has no such field"),
        ({"methods": row(set={"finetuning.seed": 1})}, r"set.finetuning.seed: say it as seeds"),
        ({"methods": row(set={"clip.frames": 10})}, r"set.clip.frames: rows are tested on the same clips"),
        ({"methods": row(method="lstm")}, r"methods.0.method: Input should be 'maepose'"),
        ({"methods": row(start="warm")}, r"methods.0.start: Input should be 'pretrained' or 'random'"),
        ({"methods": row(method="hupr", start="pretrained")}, r"methods.MAEPose.start: hupr has no encoder"),
        (
            {"methods": row(start="pretrained", set={"pose.encoder.depth": 3})},
            r"methods.MAEPose.set: change masked.encoder and pose.encoder alike",
        ),
        ({"methods": [*row(), *row()]}, r"methods: MAEPose is there twice"),
        ({"modalities": ["rd", "ir"]}, r"modalities.1: Input should be 'rd', 'ra' or 'dual'"),
        ({"preset": "huge"}, r"preset: There is no model preset 'huge'; the presets are paper"),
        ({"set": {"finetuning.rate": -1}}, r"set.finetuning.rate: Input should be greater than 0"),
        ({"data_sets": {"walk": {}}}, r"data_sets.walk: say which recordings it holds"),
        ({"zero_shot": [{"trained_on": "walk", "tested_on": "run"}]}, r"zero_shot.0: there is no data set 'run'"),
        (
            {"zero_shot": [{"trained_on": "walk", "tested_on": "walk"}]},
            r"zero_shot: walk is trained on and only tested on",
        ),
        ({"ours": "Mine"}, r"ours: no row is called 'Mine'"),
        ({"colour": "red"}, r"colour: Extra inputs are not permitted"),
        ({"name": "a/b"}, r"name: String should match pattern"),
        ({"seeds": [1, 1]}, r"seeds: 1 is there twice"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_field(tmp_path, changes, said):
    path = study_file(tmp_path, **changes)
    with pytest.raises(PipelineError, match=said) as error:
        read_study(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not a YAML file"),
        ("- 1\n", "holds no study"),
        ("", "holds no study"),
        (None, "There is no study file"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, text, said):
    path = tmp_path / "study.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PipelineError, match=said):
        read_study(path)


def test_what_cannot_be_read_is_refused_by_line_and_not_quoted(tmp_path):
    path = tmp_path / ".env"
    path.write_text("POSTGRES_USER=prefect\nSERVER: lab:of-nobody-else\n")
    with pytest.raises(PipelineError, match=r"is not a YAML file that can be read: .*, line 2") as error:
        read_study(path)
    assert "nobody" not in str(error.value)
    assert "prefect" not in str(error.value)


def test_a_field_given_twice_is_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY) + "name: other\n")
    with pytest.raises(PipelineError, match="name is there twice"):
        read_study(path)


def test_units_are_floors_and_rows_of_every_fold():
    config = resolved(
        modalities=["rd", "dual"],
        seeds=[1, 2],
        methods=[*row(), {"name": "HuPR", "method": "hupr", "modalities": ["ra"]}],
    )
    found = units(config)
    floors = [unit for unit in found if unit.kind == "floor"]
    assert len(floors) == 2 * (
        3 + 2 * 3
    )  # people x (floors that read nothing + ridge and neighbours of rd, dual and ra)
    networks = [(unit.row, unit.modality, unit.held_out, unit.seed) for unit in found if unit.kind == "network"]
    wanted = {("MAEPose", m, p, s) for m in ("rd", "dual") for p in ("p01", "p02") for s in (1, 2)}
    wanted |= {("HuPR", "ra", p, s) for p in ("p01", "p02") for s in (1, 2)}
    assert len(networks) == len(wanted)
    assert set(networks) == wanted
    assert found[-1].name == "hupr.ra.walk.p02.s2"


def test_sets_that_are_only_tested_have_no_folds_and_a_split_inside_recordings_is_one_more():
    sets = WALK | {"crowd": {"prefix": "crowd-", "people": ["p01"]}}
    config = resolved(data_sets=sets, zero_shot=[{"trained_on": "walk", "tested_on": "crowd"}], inside_split=True)
    found = units(config)
    assert {unit.data_set for unit in found} == {"walk"}
    assert {unit.held_out for unit in found if unit.split == "inside"} == {None}
    assert sum(unit.split == "inside" for unit in found) == 5 + 2
    assert config.tested_sets("walk") == ("walk", "crowd")


def test_names_that_cannot_be_told_apart_are_refused():
    with pytest.raises(PipelineError, match=r"would both be called maepose-2\.rd\.walk\.p01"):
        units(resolved(methods=[{"name": "MAEPose 2"}, {"name": "MAEPose+2"}]))
    with pytest.raises(PipelineError, match="resolve it first"):
        units(study_config())


def test_what_is_asked_depends_on_what_the_unit_trains_with_alone():
    one = resolved()
    unit = next(unit for unit in units(one) if unit.kind == "network")
    floor = units(one)[0]
    same = resolved(title="Another title", modalities=["rd", "ra"], seeds=[42, 7])
    assert asked(same, unit) == asked(one, unit)
    other = resolved(set=SMALL | {"finetuning.rate": 2e-3})
    assert asked(other, unit) != asked(one, unit)
    assert asked(other, floor) == asked(one, floor)
    assert asked(resolved(set=SMALL | {"finetuning.stride": 2}), floor) != asked(one, floor)
    assert asked(resolved(split_seed=1), floor) != asked(one, floor)
    assert asked(resolved(methods=row(start="random")), unit) != asked(one, unit)


def test_a_row_without_modalities_reads_those_of_the_study():
    config = study_config(modalities=["ra"], methods=row())
    assert config.modalities_of(config.methods[0]) == ("ra",)
    assert config.our_row == "MAEPose"
    assert (
        Unit(row="x", kind="floor", modality="none", data_set="a", split="person", held_out="p", seed=1).reads == "rd"
    )
    assert DataSetRule(prefix="a-").people == ()


def test_what_is_asked_outlives_a_change_of_the_preset_and_what_it_is_fitted_with_does_not(monkeypatch):
    config = resolved()
    unit = units(config)[-1]
    before = asked(config, unit), settings(config, unit)
    tiny = PRESETS["tiny"]
    later = tiny.model_copy(update={"pose": tiny.pose.model_copy(update={"dropout": 0.3})})
    monkeypatch.setitem(PRESETS, "tiny", later)
    assert asked(config, unit) == before[0]
    assert settings(config, unit) != before[1]


def test_the_study_in_the_guide_is_one(tmp_path):
    guide = (Path(__file__).resolve().parents[2] / "docs" / "studies.md").read_text()
    path = tmp_path / "study.yaml"
    path.write_text(guide.split("```yaml\n")[1].split("```")[0])
    config = read_study(path)
    assert config.tested_sets("move") == ("move", "crowd")
    assert config.preset_of(config.methods[4], "rd").finetuning.ema == 0.99

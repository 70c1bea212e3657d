"""Splits: by person and by recording, everything of the held-out person out, mixed recordings only where they leak nothing."""

import pandas as pd
import pytest

from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.recording import create_recording
from pipeline.sealing import seal
from pipeline.splits import leave_none_out, leave_one_out, people
from pipeline.waveform import PRESETS


def rows(*given: tuple) -> pd.DataFrame:
    return pd.DataFrame(
        [(*row, *((), ())[: 4 - len(row)]) for row in given], columns=["id", "participant", "others", "mixed_from"]
    )


TABLE = rows(
    *[(f"{set_}-{who}-{n}", who) for set_ in ("move", "yoga") for who in ("a", "b", "c", "d") for n in range(5)]
)


def test_the_person_is_out_of_every_set_and_the_rest_is_divided_by_recording():
    split = leave_one_out(TABLE, "b")
    assert split.test == tuple(f"{set_}-b-{n}" for set_ in ("move", "yoga") for n in range(5))
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert set.union(*parts) == set(TABLE["id"])
    assert sum(map(len, parts)) == len(TABLE)
    assert len(split.validation) == round(0.15 * 30)


def test_the_same_seed_divides_alike_whatever_the_order_of_rows():
    assert leave_one_out(TABLE.sample(frac=1, random_state=3), "b") == leave_one_out(TABLE, "b")
    assert leave_one_out(TABLE, "b", seed=1) != leave_one_out(TABLE, "b")


def test_a_bystander_counts_as_in_view():
    table = pd.concat([TABLE, rows(("by-1", "a", ("b",)), ("by-2", "a", ("c",)))])
    split = leave_one_out(table, "b")
    everywhere = {*split.train, *split.validation, *split.test}
    assert "by-1" not in everywhere
    assert "by-2" in {*split.train, *split.validation}


def test_mixed_recordings_train_and_never_with_a_source_that_judges():
    clean = leave_one_out(TABLE, "b")
    trained, judged = [name for name in clean.train if "-a-" in name], clean.validation[0]
    who = judged.split("-")[1]
    mixed = rows(
        ("mix-1", "a", ("c",), (trained[0], next(name for name in clean.train if "-c-" in name))),
        ("mix-2", who, ("d",), (judged, clean.train[-1])),
        ("mix-3", "a", ("b",), (trained[0], "move-b-0")),
        ("mix-4", "b", ("a",), ("move-b-0", trained[0])),
    )
    split = leave_one_out(pd.concat([TABLE, mixed]), "b")
    assert set(split.train) == {*clean.train, "mix-1"}
    assert (split.validation, split.test) == (clean.validation, clean.test)


def test_without_anybody_held_out_everybody_trains_or_judges():
    split = leave_none_out(TABLE)
    assert split.test == ()
    assert len(split.validation) == round(0.15 * 40)
    assert {*split.train, *split.validation} == set(TABLE["id"])


def test_recordings_of_nobody_known_serve_nothing():
    split = leave_one_out(pd.concat([TABLE, rows(("x", None))]), "b")
    assert "x" not in {*split.train, *split.validation, *split.test}


def test_what_cannot_be_split_is_said():
    with pytest.raises(PipelineError, match="no recording of 'z' to hold out; the people recorded are a, b, c, d"):
        leave_one_out(TABLE, "z")
    with pytest.raises(PipelineError, match="no recording says who"):
        leave_one_out(rows(("x", None)), "z")
    with pytest.raises(PipelineError, match="Without a there are 1 recordings of known people"):
        leave_one_out(rows(("1", "a"), ("2", "b")), "a")
    with pytest.raises(PipelineError, match="between 0 and 1"):
        leave_one_out(TABLE, "a", validation=1.0)


def test_people_come_from_the_manifests(tmp_path):
    for name, who, others, sealed in (("r1", "a", (), True), ("r2", "b", ("a",), True), ("r3", "c", (), False)):
        manifest = RecordingManifest(
            id=name,
            simulated=True,
            participant=who,
            others=others,
            waveform=PRESETS["light"],
            mixed_from=others and ("x",),
        )
        folder = create_recording(tmp_path, manifest)
        if sealed:
            seal(folder)
    table = people(tmp_path)
    assert table.to_numpy().tolist() == [["r1", "a", (), ()], ["r2", "b", ("a",), ("x",)]]
    assert people(tmp_path, ["r2"])["id"].tolist() == ["r2"]
    with pytest.raises(PipelineError, match="no recording 'r9'"):
        people(tmp_path, ["r9"])

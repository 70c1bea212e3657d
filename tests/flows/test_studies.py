"""Studies at the command line and as flows: what is missing is named, what is there makes the same tables again."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from small_study import record, study_file
from synthetic_study import PEOPLE, write_synthetic_study

from flows.cli import main
from flows.studies import asked_results, finished_results, results_folder, study_path
from models.study import write_study
from pipeline.errors import PipelineError

Command = Callable[..., subprocess.CompletedProcess[str]]


def verb(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0), *capsys.readouterr()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_study_is_a_file_a_folder_or_a_name(tmp_path, monkeypatch):
    begun = tmp_path / "experiments" / "synthetic"
    write_synthetic_study(begun)
    assert study_path(tmp_path, "synthetic") == begun / "study.yaml"
    assert study_path(tmp_path, "experiments/synthetic/study.yaml") == begun / "study.yaml"
    assert results_folder(tmp_path, str(begun)) == begun
    # a file that lies apart means the folder of its name; one with predictions beside it means these
    shutil.copy(begun / "study.yaml", tmp_path / "mine.yaml")
    assert results_folder(tmp_path, str(tmp_path / "mine.yaml")) == begun
    with pytest.raises(PipelineError, match="There is no study 'other'"):
        study_path(tmp_path, "other")
    # predictions of recordings lie in the data root; they are no study's
    (tmp_path / "predictions").mkdir()
    shutil.copy(begun / "study.yaml", tmp_path)
    for name in ("mine.yaml", "study.yaml"):
        assert results_folder(tmp_path, str(tmp_path / name)) == begun


def test_a_file_is_evaluated_only_where_it_is_what_was_run(tmp_path, capsys):
    begun, mine = tmp_path / "experiments" / "synthetic", tmp_path / "mine.yaml"
    config = write_synthetic_study(begun, people=PEOPLE[:2], modalities=("rd",), seeds=(1,), bystander=False)
    said = config.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    open_ended = said | {"people": [], "data_sets": {name: {"prefix": f"{name}-"} for name in said["data_sets"]}}
    mine.write_text(yaml.safe_dump(open_ended))
    assert finished_results(tmp_path, str(mine)).config == config  # whom the run found is filled in
    changes = {"seeds": [1, 2], "set": {"finetuning.steps": 7}, "people": ["m01"]}
    mine.write_text(yaml.safe_dump(open_ended | changes))
    code, out, err = verb(capsys, "evaluate", "--study", mine, "--root", tmp_path)
    assert (code, out) == (1, "")
    assert f"{mine} differs from what was run in {begun} (set, seeds, people); run `maepose study {mine}`" in err
    mine.write_text(yaml.safe_dump(open_ended | {"data_sets": {"move": {"prefix": "move-"}, "yoga": {"prefix": "y-"}}}))
    with pytest.raises(PipelineError, match=r"\(data_sets\)"):
        finished_results(tmp_path, str(mine))
    write_study(begun / "study.yaml", config.model_copy(update={"people": PEOPLE[:1]}))
    mine.write_text(yaml.safe_dump(open_ended))
    with pytest.raises(PipelineError, match=r"\(people\)"):  # everybody is asked for, and one was run
        finished_results(tmp_path, str(mine))


def test_a_flow_run_writes_nothing_beside_a_study_that_is_kept_elsewhere(tmp_path, monkeypatch):
    kept = tmp_path / "project" / "docs" / "studies"
    write_synthetic_study(kept / "synthetic", people=PEOPLE[:2], modalities=("rd",), seeds=(1,), bystander=False)
    monkeypatch.setattr("flows.studies.PROJECT", tmp_path / "project")
    monkeypatch.setattr("flows.studies.KEPT", kept)
    root = tmp_path / "data"
    with pytest.raises(PipelineError, match=r"outside the data root .* copy that folder into .*/data/experiments"):
        asked_results(root, "docs/studies/synthetic")
    assert sorted(path.name for path in (kept / "synthetic").iterdir()) == ["predictions", "study.yaml", "truth"]
    shutil.copytree(kept / "synthetic", root / "experiments" / "synthetic")
    assert asked_results(root, "synthetic").folder == root / "experiments" / "synthetic"


def test_tables_are_made_again_without_data_and_to_the_same_bytes(tmp_path, capsys):
    folder = tmp_path / "kept" / "synthetic"
    write_synthetic_study(folder, modalities=("rd",), seeds=(1,), bystander=False)
    code, out, err = verb(
        capsys, "evaluate", "--study", folder / "study.yaml", "--root", tmp_path / "nothing", "--json"
    )
    assert code == 0, err
    said = json.loads(out)
    assert said["simulated"]
    assert said["units"] == 2 * (3 + 1) * (5 + 4)  # data sets, folds and the split inside recordings, floors and rows
    assert Path(said["report"]).read_text().count("<table") > 1
    first = files(folder / "tables")
    assert "table2.md" in first
    shutil.rmtree(folder / "tables")
    code, out, _ = verb(capsys, "evaluate", "--study", folder, "--root", tmp_path / "nothing")
    assert code == 0
    assert "| MAEPose (ours) |" in out
    assert files(folder / "tables") == first


def test_missing_predictions_are_named_with_the_command_that_makes_them(tmp_path, capsys):
    folder = tmp_path / "experiments" / "synthetic"
    names = ["maepose.rd.move.m02.s1", "ridge.dual.yoga.m01.s1"]
    write_synthetic_study(folder, missing=names)
    code, out, err = verb(capsys, "evaluate", "--study", folder, "--root", tmp_path)
    assert (code, out) == (1, "")
    assert f"2 of 168 units of synthetic have no predictions yet ({', '.join(names)})" in err
    assert f"`maepose study {folder}`" in err
    # a row that is asked otherwise since is missing too
    text = (folder / "study.yaml").read_text().replace("method: cubelearn", "method: hupr")
    (folder / "study.yaml").write_text(text)
    assert "34 of 168 units" in verb(capsys, "evaluate", "--study", folder, "--root", tmp_path)[2]


def test_a_study_that_was_never_run_or_does_not_fit_is_refused(tmp_path, capsys):
    path = study_file(tmp_path)
    code, _, err = verb(capsys, "evaluate", "--study", path, "--root", tmp_path)
    assert code == 1
    assert "Nothing of the study" in err
    assert "run `maepose study" in err
    code, _, err = verb(capsys, "study", path, "--root", tmp_path)
    assert code == 1
    assert "data_sets.walk: no recording under" in err
    code, _, err = verb(capsys, "study", tmp_path / "no.yaml", "--root", tmp_path)
    assert code == 1
    assert "There is no study" in err


@pytest.fixture
def against_server(server) -> Iterator[None]:
    settings = {
        PREFECT_API_URL: server.api_url,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings):
        yield


@pytest.fixture
def root(server, monkeypatch) -> Path:
    """The server's data root, with a small study beside recordings of noise."""
    monkeypatch.setenv("MAEPOSE_ROOT", str(server.root))
    if not (server.root / "study.yaml").exists():
        record(server.root)
        study_file(server.root, people=["p01", "p02"], methods=[{"name": "MAEPose"}])
    return server.root


def asked(prefect: Command, flow: str, *parameters: str) -> UUID:
    """Ask for a run of a deployed flow as a person does."""
    said = prefect("deployment", "run", flow, *(word for one in parameters for word in ("-p", one)))
    assert said.returncode == 0, said.stdout + said.stderr
    return UUID(re.search(r"UUID: (\S+)", said.stdout)[1])


def test_a_study_as_flows(root, client, prefect, finished, against_server):
    """Here, then a fold and the tables again on workers, as a person asks for them."""
    from flows.study import study

    folder = Path(study("study.yaml", device="cpu"))
    assert folder == root / "experiments" / "small"
    assert len(files(folder / "predictions")) == 2 * (5 + 1)
    folds = [run for run in client.read_flow_runs(limit=100) if run.name.startswith("fold-maepose")]
    assert {run.state.name for run in folds} == {"Completed"}
    tables = files(folder / "tables")
    shutil.rmtree(folder / "tables")

    unit = "maepose.rd.walk.p02.s42"
    fold = asked(prefect, "evaluate-fold", "study=small", f"unit={unit}")
    again = finished(asked(prefect, "evaluate", "study=small"))
    assert again.state.is_completed(), again.state.message
    assert files(folder / "tables") == tables
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[again.id]))
    shown = {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert {"evaluate", "table2", "figures"} <= shown.keys()
    assert "**Simulated**" in shown["table2"]
    assert "MAEPose (ours)" in shown["table2"]
    assert "data:image/png;base64," in shown["figures"]
    assert finished(fold).state.is_completed()


@pytest.mark.slow  # four programs that each import a training library
def test_folds_go_to_workers_and_what_nobody_began_is_taken_back(root, client, finished, against_server):
    from flows.study import study

    shutil.rmtree(root / "experiments" / "small", ignore_errors=True)
    before = {run.id for run in client.read_flow_runs(limit=200)}
    folder = Path(study("study.yaml", where="workers", device="cpu"))
    assert len(files(folder / "predictions")) == 2 * (5 + 1)
    runs = [run for run in client.read_flow_runs(limit=200) if run.id not in before and run.deployment_id is not None]
    assert len(runs) == 2
    # named from the data root, wherever a worker sees that
    assert {run.parameters["study"] for run in runs} == {"experiments/small/study.yaml"}
    assert {finished(run.id).state.name for run in runs} <= {"Completed", "Cancelled"}

"""Studies at the command line and as flows: what is missing is named, what is there makes the same tables again."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from small_study import record, study_file
from synthetic_study import write_synthetic_study

from flows.cli import main
from flows.studies import results_folder, study_path
from pipeline.errors import PipelineError


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


def test_tables_are_made_again_without_data_and_to_the_same_bytes(tmp_path, capsys):
    folder = tmp_path / "kept" / "synthetic"
    write_synthetic_study(folder)
    code, out, err = verb(
        capsys, "evaluate", "--study", folder / "study.yaml", "--root", tmp_path / "nothing", "--json"
    )
    assert code == 0, err
    said = json.loads(out)
    assert said["simulated"]
    assert said["units"] == 168
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


def test_a_study_as_flows(server, client, prefect, finished, against_server, monkeypatch):
    """Folds here and on workers, then one fold and the tables again as a person asks for them."""
    from flows.study import study

    monkeypatch.setenv("MAEPOSE_ROOT", str(server.root))
    record(server.root)
    path = study_file(server.root, people=["p01", "p02"], methods=[{"name": "MAEPose"}])
    folder = Path(study(str(path), where="workers", device="cpu"))
    assert folder == server.root / "experiments" / "small"
    predictions, tables = files(folder / "predictions"), files(folder / "tables")
    assert len(predictions) == 2 * (5 + 1)
    runs = [run for run in client.read_flow_runs(limit=100) if run.name.startswith("fold-")]
    sent = [run for run in runs if run.deployment_id is not None]
    assert len(sent) == 2
    assert {finished(run.id).state.name for run in sent} <= {"Completed", "Cancelled"}

    gone = folder / "predictions" / "maepose.rd.walk.p02.s42.parquet"
    gone.unlink()
    asked = prefect("deployment", "run", "evaluate-fold", "-p", "study=small", "-p", f"unit={gone.stem}")
    run = finished(UUID(re.search(r"UUID: (\S+)", asked.stdout)[1]))
    assert run.state.is_completed(), run.state.message
    assert files(folder / "predictions").keys() == predictions.keys()
    shutil.rmtree(folder / "tables")
    asked = prefect("deployment", "run", "evaluate", "-p", "study=small")
    run = finished(UUID(re.search(r"UUID: (\S+)", asked.stdout)[1]))
    assert run.state.is_completed(), run.state.message
    assert run.total_run_time.total_seconds() < 30
    assert files(folder / "tables") == tables
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    shown = {artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert {"evaluate", "table2"} <= shown.keys()
    assert "**Simulated**" in shown["table2"]
    assert "MAEPose (ours)" in shown["table2"]

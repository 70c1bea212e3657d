"""kill -9 of a worker, its runs, the server and a recorder, on a real server: what is left, and what `maepose up` makes of it.

Results are held against those of a data root where nothing was killed.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import torch
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from waiting import wait_for

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from radar_sessions import noise_words, session
from small_study import record, study_file

from capture.session import RecorderHandle
from flows.address import LocalServer, running_server
from flows.experiments import ExperimentRequest, finetune, pretrain
from flows.going_on import goes_on_from
from flows.local_server import flow_run_processes, start, stop
from flows.sessions import session_of_run
from models.study_opening import open_study
from models.study_running import run_study
from models.study_store import predictions_path, read_predictions
from pipeline.cube import cube_path
from pipeline.cube_commit import read_marker
from pipeline.cube_config import preset
from pipeline.labels import labels_path, read_labels
from pipeline.recording import open_recording
from pipeline.sealing import verify
from pipeline.waveform import PRESETS
from processing.cubes import process_recording

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # each brings a server up again: minutes on a busy machine

RIG = """
kind = "simulated"
waveform = "light"
reserve_bytes = 0
camera = {width = 320, height = 240}
"""
LONG = 400  # frames of the recording whose cube is cut short
STEPS = 60
WITHIN_S = 900.0
STUDY = {"people": ["p01", "p02"], "methods": [{"name": "MAEPose", "start": "pretrained"}]}


def study_of(root: Path) -> Path:
    from small_study import SMALL

    return study_file(root, **STUDY, set=SMALL | {"pretraining.steps": 200, "finetuning.steps": 200})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root whose server is up: noise of three people with cubes and labels, and one long recording without."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("restarts")
    (root / "rig.toml").write_text(RIG)
    record(root)
    session(root, "long", noise_words(LONG, PRESETS["light"]), waveform=PRESETS["light"], participant=None, cube=None)
    study_of(root)
    try:
        start(root)
        yield root
    finally:
        stop(root)


@pytest.fixture(scope="module")
def peace(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recordings, where nobody is killed."""
    peace = tmp_path_factory.mktemp("peace")
    for name in ("recordings", "cubes", "labels"):
        shutil.copytree(root / name, peace / name)
    study_of(peace)
    return peace


def up(root: Path) -> LocalServer:
    """The server of a root that is up."""
    server = running_server(root)
    assert server is not None
    return server


def ask(root: Path, flow: str, **parameters: object) -> UUID:
    """Ask for a run of a deployed flow."""
    with SyncPrefectClient(up(root).api_url) as client:
        deployment = client.read_deployment_by_name(f"{flow}/default")
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def kill(root: Path, *names: str, runs: tuple[UUID, ...] = ()) -> None:
    """kill -9 of a worker or the server by name, and of the processes of runs; returns once they are gone."""
    wanted = {str(run) for run in runs}
    pids = [up(root).processes[name] for name in names]
    pids += [pid for pid, run in flow_run_processes(root).items() if run in wanted]
    assert len(pids) == len(names) + len(runs), flow_run_processes(root)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait_for(lambda pid=pid: _is_gone(pid), 60, f"the end of process {pid}")


def _is_gone(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()  # a zombie has none
    except OSError:
        return True


def ended(root: Path, find: Callable[[FlowRun], bool], what: str) -> FlowRun:
    """The run that `find` is true of, once it has ended."""

    def look() -> FlowRun | None:
        with SyncPrefectClient(up(root).api_url) as client:
            found = next((run for run in client.read_flow_runs(limit=200) if find(run)), None)
        return found if found is not None and found.state is not None and found.state.is_final() else None

    return wait_for(look, WITHIN_S, what)


def gone_on_with(root: Path, run_id: UUID) -> FlowRun:
    """The end of the run that goes on for `run_id`, which has crashed."""
    with SyncPrefectClient(up(root).api_url) as client:
        crashed = client.read_flow_run(run_id).state
        assert crashed is not None
        assert crashed.is_crashed()
    return ended(root, lambda run: goes_on_from(run.tags) == str(run_id), f"the run that goes on for {run_id}")


def started(root: Path, run_id: UUID) -> None:
    wait_for(lambda: str(run_id) in flow_run_processes(root).values(), WITHIN_S, "the start of a run")


def recording_now(root: Path, run_id: UUID, frames: int) -> RecorderHandle:
    def find() -> RecorderHandle | None:
        handle = session_of_run(root, run_id)
        return handle if handle is not None and handle.progress().frames > frames else None

    return wait_for(find, WITHIN_S, f"recording in run {run_id}")


def shards(root: Path) -> dict[str, tuple[int, int]]:
    """Size and checksum of every shard of the long recording's cube."""
    marker = read_marker(cube_path(root, "long"))
    return {name: total for name, total in marker.files.items() if "/c/" in name}


def test_a_cube_is_finished_from_the_shards_there_are(root, peace):
    run = ask(root, "process-recording", recording_id="long")
    wait_for(lambda: list(root.glob("cubes/long.zarr.tmp-*/progress.jsonl")), WITHIN_S, "a shard")
    kill(root, "worker-cpu", runs=(run,))
    assert not cube_path(root, "long").exists()
    kept = {path: path.stat().st_mtime_ns for path in root.glob("cubes/long.zarr.tmp-*/rad/c/0/*/*/*")}

    words: list[str] = []
    start(root, tell=words.append)
    assert any("goes on for a run that crashed" in word for word in words)
    done = gone_on_with(root, run)
    assert done.state.is_completed(), done.state.message
    process_recording(open_recording(peace, "long"), peace, preset("default"), threads=1)
    assert shards(root) == shards(peace)
    for path, made in kept.items():  # not written again
        final = cube_path(root, "long") / path.relative_to(next(p for p in path.parents if ".tmp-" in p.name))
        assert final.stat().st_mtime_ns == made
    assert not list(root.glob("cubes/*.tmp-*"))
    with SyncPrefectClient(up(root).api_url) as client:
        again = [one for one in client.read_flow_runs(limit=200) if goes_on_from(one.tags) == str(run)]
    assert len(again) == 1


def test_trainings_end_with_the_bits_they_would_have_had(root, peace):
    masked = ExperimentRequest(modality="rd", hold_out="p02", steps=STEPS, name="masked")
    pose = ExperimentRequest(modality="rd", hold_out="p02", steps=STEPS, name="pose")
    experiments, runs = root / "experiments", []
    for flow, name in (("pretrain", "masked"), ("finetune", "pose")):
        run = ask(root, flow, modality="rd", hold_out="p02", steps=STEPS, name=name)
        runs.append(run)
        state = experiments / name / "state.ckpt"
        wait_for(lambda state=state: state.exists(), WITHIN_S, f"a judgement of {name}")
        kill(root, runs=(run,))
    kill(root, "worker-cpu")
    assert not any((experiments / name / "experiment.json").exists() for name in ("masked", "pose"))
    start(root)
    for run in runs:
        assert gone_on_with(root, run).state.is_completed()
    pretrain(peace, masked)
    finetune(peace, pose)
    for name in ("masked", "pose"):
        for file in ("model.safetensors", "history.json", "experiment.json"):
            mine, theirs = ((one / "experiments" / name / file).read_bytes() for one in (root, peace))
            assert mine == theirs, f"{name}/{file}"
        assert not (experiments / name / "state.ckpt").exists()


def test_a_server_killed_while_a_study_trains(root, peace):
    run = ask(root, "study", study="study.yaml", device="cpu")
    folder = root / "experiments" / "small"
    state = wait_for(lambda: next(folder.glob("runs/*/state.ckpt"), None), WITHIN_S, "the first judgement")
    kill(root, "server")
    judged, before = state.parent / "history.json", (state.parent / "history.json").read_bytes()
    wait_for(lambda: judged.read_bytes() != before, WITHIN_S, "a judgement while there is no server")
    start(root)
    made = {path: path.stat().st_mtime_ns for path in folder.glob("predictions/*.parquet")}
    done = gone_on_with(root, run)
    assert done.state.is_completed(), done.state.message
    assert {path: path.stat().st_mtime_ns for path in made} == made
    study, undisturbed = open_study(root, root / "study.yaml"), open_study(peace, peace / "study.yaml")
    assert run_study(undisturbed, device="cpu") == len(undisturbed.units)
    assert run_study(study, device="cpu") == 0
    for unit in study.units:
        assert predictions_path(study.folder, unit).exists()
        mine, theirs = (read_predictions(one.folder, unit) for one in (study, undisturbed))
        pd.testing.assert_frame_equal(mine[0], theirs[0])
        assert mine[1].key == theirs[1].key
    assert (folder / "report.html").exists()


def test_a_server_killed_while_it_records(root):
    run = ask(root, "capture-session", seconds=10)
    handle = recording_now(root, run, frames=5)
    kill(root, "server")
    so_far = handle.progress().frames
    wait_for(lambda: handle.progress().frames > so_far, 60, "frames while there is no server")
    start(root)
    done = gone_on_with(root, run)
    assert done.state.is_completed(), done.state.message
    recording = open_recording(root, handle.recording_id)
    assert (recording.manifest.status, recording.frame_count) == (
        "success",
        98,
    )  # 100 pulses less those of the signature
    assert verify(recording).ok
    assert len(list((root / "recordings").glob(f"{recording.id[:8]}-*"))) == 1  # nothing was recorded a second time
    assert ended(root, lambda one: one.name == f"process-{recording.id}", "its cube").state.is_completed()


def test_a_recorder_killed_is_sealed_by_its_run_and_labels_cut_short_are_made_again(root, tmp_path):
    run = ask(root, "capture-session", seconds=300)
    handle = recording_now(root, run, frames=60)
    os.kill(int((root / "sessions" / handle.recording_id / "pid").read_text()), signal.SIGKILL)
    failed = ended(root, lambda one: one.id == run, "the end of its run")
    assert failed.state.is_failed()
    assert "died; what had reached the disk is kept" in failed.state.message
    recording = open_recording(root, handle.recording_id)
    assert recording.manifest.status == "recovered"
    assert recording.frame_count >= 30
    assert verify(recording).ok

    def labelling() -> UUID | None:
        with SyncPrefectClient(up(root).api_url) as client:
            named = [one for one in client.read_flow_runs(limit=200) if one.name == f"label-{recording.id}"]
        alive = set(flow_run_processes(root).values())
        return next((one.id for one in named if str(one.id) in alive and one.state.is_running()), None)

    label = wait_for(labelling, WITHIN_S, "labels being made")
    time.sleep(1.0)
    kill(root, "worker-cpu", runs=(label,))
    assert not labels_path(root, recording.id).exists()
    start(root)
    done = gone_on_with(root, label)
    assert done.state.is_completed(), done.state.message
    from flows.labelling import label_session

    for name in ("recordings", "cubes"):
        (tmp_path / name).symlink_to(root / name)
    label_session(tmp_path, recording.id)
    mine, theirs = (read_labels(one, recording.id) for one in (root, tmp_path))
    pd.testing.assert_frame_equal(mine.table, theirs.table)
    assert np.isfinite(mine.table["u"]).any()

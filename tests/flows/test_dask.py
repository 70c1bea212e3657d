"""Reprocessing on a Dask cluster: two workers with addresses of their own, one that is killed, clusters that are not there."""

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import distributed
import numpy as np
import pytest
from dask_hosts import dask_hosts
from hosts import prefect_server
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

import flows.dask_cluster
from flows.dask_cluster import dask_cluster
from flows.nights import NightRow, night, same_night
from flows.reprocess_recordings import process_on_dask, reprocess_recordings
from pipeline.cube import open_cube
from pipeline.cube_commit import store_status
from pipeline.cube_config import preset
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.recording import create_recording, open_recording
from pipeline.sealing import seal
from pipeline.waveform import PRESETS
from processing.cubes import ALGORITHM_VERSION, recording_key

SMALL = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
HOSTS = ("127.0.0.2", "127.0.0.3")


def make_recording(root: Path, recording_id: str, frames: int) -> None:
    """A small sealed recording of noise."""
    folder = create_recording(root, RecordingManifest(id=recording_id, simulated=True, waveform=SMALL))
    words = np.random.default_rng(len(recording_id)).integers(-200, 200, frames * SMALL.frame_bytes // 2, np.int16)
    (folder / "adc.bin").write_bytes(words.tobytes())
    seal(folder)


def told(root: Path) -> list[NightRow]:
    """What the only night of a data root noted, line by line."""
    (kept,) = (root / "nights").glob("*.jsonl")
    return [NightRow.model_validate_json(line) for line in kept.read_text().splitlines()]


def maker(root: Path, recording_id: str) -> int:
    """The process that was last at a cube."""
    return int((root / "cubes" / f".{recording_id}.lock").read_text())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAEPOSE_ROOT", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as url:
        yield url


@pytest.fixture
def against_server(api_url: str) -> Iterator[None]:
    """This process's runs go to the server; Dask's programs find nothing of it in their environment."""
    settings = {
        PREFECT_API_URL: api_url,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings):
        yield


@pytest.mark.slow  # four programs that each import Prefect
@pytest.mark.timeout(3000)
def test_two_workers_with_their_own_addresses_share_an_archive(root, tmp_path, against_server, monkeypatch):
    """The same answer, rows and bytes as one recording after the other; each cube made once, and each worker made some."""
    names = [f"r{number}" for number in range(4)]
    for name in names:
        make_recording(root, name, frames=300)
    alone = tmp_path / "alone"
    shutil.copytree(root, alone)
    with dask_hosts(tmp_path, HOSTS) as (address, workers):
        monkeypatch.setenv("MAEPOSE_DASK", address)
        monkeypatch.setattr(flows.dask_cluster, "CONNECTED_WITHIN_S", 300.0)
        answer = reprocess_recordings(where="dask")
        logs = {host: (tmp_path / f"{host}.log").read_text() for host in HOSTS}
        assert {maker(root, name) for name in names} == {worker.pid for worker in workers.values()}
    assert all(f"tcp://{host}:" in said for host, said in logs.items())
    rows = told(root)
    assert sorted(row.recording for row in rows) == names
    monkeypatch.setenv("MAEPOSE_ROOT", str(alone))
    assert reprocess_recordings() == answer == dict.fromkeys(names, "300 frames made")
    same = {"done_utc": ""}
    assert sorted((row.model_copy(update=same) for row in rows), key=lambda row: row.recording) == [
        row.model_copy(update=same) for row in told(alone)
    ]
    for name in names:
        made, alike = open_cube(root, name), open_cube(alone, name)
        assert made.verify(deep=True) == ()
        assert made.key == alike.key
        assert {path: sums for path, sums in made.marker.files.items() if "/c/" in path} == {
            path: sums for path, sums in alike.marker.files.items() if "/c/" in path
        }


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_a_killed_worker_had_begun_is_done_by_another(root, tmp_path, against_server, monkeypatch):
    """kill -9 in the middle of a cube: nothing looks whole then, and the other worker goes on from the shards that are."""
    names = ["a", "bb", "ccc"]
    for name in names:
        make_recording(root, name, frames=3000)
    seen: dict[str, str] = {}
    with dask_hosts(tmp_path, HOSTS) as (address, workers):
        monkeypatch.setenv("MAEPOSE_DASK", address)
        monkeypatch.setattr(flows.dask_cluster, "CONNECTED_WITHIN_S", 300.0)
        doomed = workers[HOSTS[0]]

        def kill_in_the_middle() -> None:
            deadline = time.monotonic() + 1500
            while not seen and time.monotonic() < deadline:
                for journal in (root / "cubes").glob("*.zarr.tmp-*/progress.jsonl"):
                    name = journal.parent.name.split(".zarr")[0]
                    if maker(root, name) == doomed.pid and journal.read_text().count("\n") >= 2:
                        os.kill(doomed.pid, signal.SIGKILL)
                        doomed.wait()
                        key = recording_key(open_recording(root, name), preset("default"))
                        seen["recording"], seen["status"] = name, store_status(root, name, key)
                        return
                time.sleep(0.002)

        killer = threading.Thread(target=kill_in_the_middle)
        killer.start()
        answer = reprocess_recordings(where="dask")
        killer.join()
        survivor = workers[HOSTS[1]].pid
    assert seen["status"] == "missing"
    assert list(answer) == names
    assert maker(root, seen["recording"]) == survivor
    assert answer[seen["recording"]] != "3000 frames made"  # shards of the dead worker were kept
    for name in names:
        assert open_cube(root, name).verify(deep=True) == ()
        assert open_cube(root, name).frames == 3000


def test_what_is_missing_of_a_cluster_is_said_within_bounded_time(monkeypatch):
    monkeypatch.delenv("MAEPOSE_DASK", raising=False)
    with pytest.raises(PipelineError, match="knows no Dask cluster; start it with MAEPOSE_DASK=tcp"), dask_cluster():
        pass
    for wrong in ("lab:8786", "http://lab:8786", "tcp://lab"):
        monkeypatch.setenv("MAEPOSE_DASK", wrong)
        with pytest.raises(PipelineError, match="no scheduler's address; write tcp://HOST:PORT"), dask_cluster():
            pass
    monkeypatch.setattr(flows.dask_cluster, "CONNECTED_WITHIN_S", 1.0)
    monkeypatch.setattr(flows.dask_cluster, "WORKERS_WITHIN_S", 1.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MAEPOSE_DASK", f"tcp://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(PipelineError, match="No Dask scheduler answers at tcp"), dask_cluster():
            pass
    with distributed.LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=":0"
    ) as empty:
        monkeypatch.setenv("MAEPOSE_DASK", empty.scheduler_address)
        with pytest.raises(PipelineError, match="has had no worker for 1 s; start `dask worker"), dask_cluster():
            pass


def test_a_worker_of_another_data_root_or_version_makes_nothing(root, tmp_path, monkeypatch):
    make_recording(root, "a", frames=1)
    with night(root) as going_on:
        assert going_on is not None
        token = going_on.token
        assert same_night(root, token)
        with pytest.raises(PipelineError, match="of the algorithm, this run by 0; bring both"):
            process_on_dask.fn(root, "a", None, "missing", token, "0")
        monkeypatch.setenv("MAEPOSE_ROOT", str(tmp_path / "other"))
        with pytest.raises(PipelineError, match="does not see the data root of this run at"):
            process_on_dask.fn(root, "a", None, "missing", token, ALGORITHM_VERSION)
    monkeypatch.delenv("MAEPOSE_ROOT")
    with night(root), pytest.raises(PipelineError, match="does not see the data root"):
        process_on_dask.fn(root, "a", None, "missing", token, ALGORITHM_VERSION)  # of a night that is over
    assert not (root / "cubes").exists()


def test_rows_that_other_processes_note_are_of_this_night(root):
    from flows.nights import note

    root.mkdir()
    with night(root) as going_on:
        assert going_on is not None
        assert going_on.rows == {}
        note(root, NightRow(recording="b", why="missing", made=True))
        going_on.add(NightRow(recording="a", why="missing", failed="no"))
        assert list(going_on.rows) == ["a", "b"]
        with (root / "nights" / "going-on.jsonl").open("a") as file:
            file.write(json.dumps({"recording": "half"})[:-3])  # somebody is writing
        assert list(going_on.rows) == ["a", "b"]
        going_on.told()
        assert list(going_on.rows) == ["a", "b"]

"""Import and nightly reprocessing as flows, run in this process against the real server."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import yaml
from moto.server import ThreadedMotoServer
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events import Event
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

import processing.cubes
from flows.address import worker_root
from flows.events import (
    PICTURES_REMOVED,
    RECORDING_CLOSED,
    RECORDING_PROCESSED,
    emit_recording_closed,
    resource_of,
)
from flows.import_recording import import_recording
from flows.local_server import PROJECT
from flows.nights import NightRow, night
from flows.products import config_for, make_products, needs_work
from flows.reprocess_recordings import reprocess_recordings
from flows.upload_recording import keys_of, upload_recording
from pipeline.cfg_text import write_cfg
from pipeline.cube import MARKER, cube_path, open_cube
from pipeline.cube_config import preset
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.recording import create_recording, open_recording
from pipeline.sealing import seal
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})


def make_recording(root: Path, recording_id: str, frames: int = 2) -> str:
    """A small sealed recording of noise."""
    folder = create_recording(root, RecordingManifest(id=recording_id, simulated=True, waveform=SMALL))
    words = np.random.default_rng(len(recording_id)).integers(-200, 200, frames * SMALL.frame_bytes // 2, np.int16)
    (folder / "adc.bin").write_bytes(words.tobytes())
    seal(folder)
    return recording_id


@contextmanager
def s3_server() -> Iterator[tuple[str, Any]]:
    """An object store on loopback: its address, and a client of its owner."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "hush"}
        yield endpoint, boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    finally:
        server.stop()


def made_at(root: Path, recording_id: str) -> int:
    return (cube_path(root, recording_id) / MARKER).stat().st_mtime_ns


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAEPOSE_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def against_server(server) -> Iterator[None]:
    settings = {
        PREFECT_API_URL: server.api_url,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings):
        yield


def test_products_are_made_once(root):
    make_recording(root, "a")
    first = make_products(root, "a", preset("default"))
    assert first.cube.rebuilt
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in first.pictures)
    times = [path.stat().st_mtime_ns for path in first.pictures]
    second = make_products(root, "a", preset("default"))
    assert not second.cube.rebuilt
    assert second.pictures == first.pictures
    assert [path.stat().st_mtime_ns for path in second.pictures] == times


def test_forced_products_are_made_again_with_their_pictures(root):
    make_recording(root, "a")
    first = make_products(root, "a", preset("default"))
    times = [path.stat().st_mtime_ns for path in first.pictures]
    second = make_products(root, "a", preset("default"), force=True)
    assert second.cube.rebuilt
    assert all(path.stat().st_mtime_ns > time for path, time in zip(second.pictures, times, strict=True))


def test_a_picture_of_another_cube_is_drawn_again_though_the_clock_was_set_back(root):
    make_recording(root, "a")
    first = make_products(root, "a", preset("default"))
    in_an_hour = time.time_ns() + 3600 * 10**9
    for path in first.pictures:
        os.utime(path, ns=(in_an_hour, in_an_hour))
    assert make_products(root, "a", preset("default")).pictures == first.pictures
    assert {path.stat().st_mtime_ns for path in first.pictures} == {in_an_hour}
    second = make_products(root, "a", preset("paper"))
    times = {path.name: path.stat().st_mtime_ns for path in second.pictures}
    assert times["overview.png"] != in_an_hour
    assert times["frame.png"] != in_an_hour
    assert times["quality.png"] == in_an_hour  # of the same samples


def test_a_cube_keeps_the_configuration_it_was_made_with(root):
    make_recording(root, "a")
    assert config_for(root, "a", None) == preset("default")
    make_products(root, "a", preset("paper"))
    assert config_for(root, "a", None) == preset("paper")
    assert needs_work(root, "a", None) == ""
    assert needs_work(root, "a", "default") == "stale"


def test_the_night_makes_what_is_missing_and_does_nothing_twice(root, against_server):
    make_recording(root, "a")
    make_recording(root, "b")
    make_products(root, "b", preset("paper"))
    unsealed = create_recording(root, RecordingManifest(id="going-on", simulated=True, waveform=SMALL))
    before = made_at(root, "b")
    assert reprocess_recordings() == {"a": "2 frames made"}
    assert made_at(root, "b") == before
    assert open_cube(root, "a").frames == 2
    assert unsealed.exists()
    before = made_at(root, "a")
    assert reprocess_recordings() == {}
    assert made_at(root, "a") == before


def test_the_night_rebuilds_exactly_what_a_new_algorithm_made_stale(root, against_server, monkeypatch):
    make_recording(root, "a")
    make_products(root, "a", preset("default"))
    old = open_cube(root, "a").key
    monkeypatch.setattr(processing.cubes, "ALGORITHM_VERSION", "a-later-one")
    make_recording(root, "b")
    make_products(root, "b", preset("default"))
    before = made_at(root, "b")
    assert list(reprocess_recordings()) == ["a"]
    assert open_cube(root, "a").key != old
    assert made_at(root, "b") == before


def test_the_night_goes_on_after_a_failure_and_names_it(root, against_server):
    for name in ("a", "b", "c"):
        make_recording(root, name)
    manifest = root / "recordings" / "c" / "recording.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    (root / "cubes").mkdir()
    with (root / "cubes" / ".a.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another job at the same cube would
        with pytest.raises(PipelineError, match="2 of 3 recordings could not be processed: a, c;"):
            reprocess_recordings()
    assert open_cube(root, "b").frames == 2
    with pytest.raises(PipelineError, match="1 of 2 recordings could not be processed: c;"):
        reprocess_recordings()
    assert open_cube(root, "a").frames == 2


def test_the_summary_of_a_night_says_what_changed(root, server, against_server, monkeypatch):
    make_recording(root, "a")
    make_products(root, "a", preset("default"))
    monkeypatch.setattr(processing.cubes, "ALGORITHM_VERSION", "a-later-one")
    with night(root) as going_on:  # one that was cut short before its summary
        assert going_on is not None
        going_on.add(NightRow(recording="b", why="missing", made=True, frames_made=7))
        assert reprocess_recordings() == {}  # a second one beside it
    assert reprocess_recordings() == {"a": "2 frames made"}
    with SyncPrefectClient(server.api_url) as client:
        page = next(
            artifact
            for artifact in client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["reprocess-summary"])),
                sort=ArtifactSort.CREATED_DESC,
            )
        )
    assert "algorithm version 1 -> a-later-one" in str(page.data)
    assert "| a | rad | 2 | 2x32x64x8 |" in str(page.data)
    assert "1 of these 2 recordings" in str(page.data)
    assert [len(path.read_text().splitlines()) for path in (root / "nights").glob("*.jsonl")] == [2]


def test_an_import_is_sealed_and_announced(server, against_server, monkeypatch, tmp_path):
    monkeypatch.setenv("MAEPOSE_ROOT", str(server.root))
    samples = np.random.default_rng(0).integers(-99, 99, 3 * SMALL.frame_bytes // 2, np.int16)
    (tmp_path / "adc_data.bin").write_bytes(samples.tobytes())
    (tmp_path / "radar.cfg").write_text(write_cfg(SMALL))
    (server.root / "incoming").symlink_to(tmp_path)  # as a lab links the disk it copies from
    made = import_recording("incoming/adc_data.bin", ["incoming/radar.cfg"], "q-first", "imported", participant="p02")
    recording = open_recording(server.root, made)
    assert (recording.id, recording.frame_count, recording.manifest.participant) == ("imported", 3, "p02")
    assert recording.sealed


def test_an_upload_takes_its_keys_from_a_block_and_does_nothing_twice(root, against_server, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with s3_server() as (endpoint, client):
        client.create_bucket(Bucket="flows")
        text = f'address = "s3://flows/radar"\nendpoint = "{endpoint}"\nkeys_block = "store-keys"\n'
        (root / "store.toml").write_text(text)
        make_recording(root, "a")
        with pytest.raises(PipelineError, match=r"names a Secret block that is not there; make a JSON object with"):
            keys_of("store-keys")
        Secret(value="hush").save("store-keys", overwrite=True)
        with pytest.raises(PipelineError, match=r"does not hold the store's keys") as refused:
            keys_of("store-keys")
        assert "hush" not in str(refused.value)
        Secret(value={"access_key_id": "lab", "secret_access_key": "hush"}).save("store-keys", overwrite=True)
        assert upload_recording("a") == "sent"
        assert upload_recording("a", read_back=True) == "there"
        found = {one["Key"] for one in client.list_objects_v2(Bucket="flows")["Contents"]}
        assert found == {"radar/recordings/a/adc.bin", "radar/recordings/a/recording.json"}


def test_a_night_sends_what_the_store_lacks_and_says_what_could_not_be_sent(root, against_server, tmp_path_factory):
    share = tmp_path_factory.mktemp("share")
    (root / "store.toml").write_text(f'address = "file://{share}"')
    for name in ("a", "b"):  # as verbs leave them: sealed, and nobody told
        make_recording(root, name)
    assert set(reprocess_recordings()) == {"a", "b"}
    for name in ("a", "b"):
        here, there = (folder / "recordings" / name / "recording.json" for folder in (root, share))
        assert there.read_bytes() == here.read_bytes()
    assert (share / "recordings" / "a" / "adc.bin").stat().st_size == 2 * SMALL.frame_bytes
    assert reprocess_recordings() == {}

    for name in ("c", "d"):
        make_recording(root, name)
    (share / "recordings" / "c").mkdir()
    (share / "recordings" / "c" / "adc.bin").write_text("another's")
    with pytest.raises(
        PipelineError, match=r"^Not everything could be copied into the object store. c: .*another"
    ) as one:
        reprocess_recordings()
    assert " d: " not in str(one.value)
    assert (share / "recordings" / "d" / "recording.json").exists()

    make_recording(root, "e")
    (root / "store.toml").write_text('address = "file:///nowhere/mounted"')
    with pytest.raises(PipelineError, match=r"object store. The folder /nowhere/mounted of the store is not there"):
        reprocess_recordings()
    assert open_cube(root, "e").frames == 2


@pytest.mark.slow
def test_a_closed_recording_is_uploaded_by_a_worker_where_there_is_a_store(server, client, against_server, wait_for):
    with s3_server() as (endpoint, s3):
        s3.create_bucket(Bucket="closed")
        store = server.root / "store.toml"
        Secret(value={"access_key_id": "lab", "secret_access_key": "hush"}).save("store-keys", overwrite=True)
        emit_recording_closed(open_recording(server.root, make_recording(server.root, "without")))
        store.write_text(f'address = "s3://closed"\nendpoint = "{endpoint}"\nkeys_block = "store-keys"\n')
        try:
            emit_recording_closed(open_recording(server.root, make_recording(server.root, "within")))
            there = lambda: {one["Key"] for one in s3.list_objects_v2(Bucket="closed").get("Contents", [])}  # noqa: E731
            wait_for(lambda: "recordings/within/recording.json" in there(), what="the upload")
            assert there() == {"recordings/within/adc.bin", "recordings/within/recording.json"}
        finally:
            store.unlink()


def test_an_upload_starts_by_itself_only_where_there_is_a_store(root):
    """Asked of the server's own trigger, as prefect.yaml has it."""
    deployed = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    (said,) = next(one["triggers"] for one in deployed if one["entrypoint"].startswith("flows.upload_recording"))
    trigger = EventTrigger.model_validate({name: said[name] for name in ("match", "expect")} | {"posture": "Reactive"})
    recording = open_recording(root, make_recording(root, "a"))

    def starts(event: str) -> bool:
        happened = Event(event=event, resource=resource_of(recording))
        return trigger.covers(ReceivedEvent.model_validate(happened.model_dump())) and trigger.expects(event)

    assert not starts(RECORDING_CLOSED)
    (root / "store.toml").write_text('address = "s3://lab"')
    assert starts(RECORDING_CLOSED)
    assert starts(PICTURES_REMOVED)
    assert not starts(RECORDING_PROCESSED)
    (root / "store.toml").write_text("address = 3")  # the upload's own run says what is wrong
    assert starts(RECORDING_CLOSED)


def test_a_flow_run_without_a_data_root_refuses_to_record_into_its_temporary_directory(monkeypatch):
    monkeypatch.delenv("MAEPOSE_ROOT", raising=False)
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "x")
    with pytest.raises(PipelineError, match="does not know where recordings go"):
        worker_root()

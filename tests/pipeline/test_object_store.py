"""Recordings in an object store: against a real S3 server on loopback, killed, flipped, refused, gone; and in a folder."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import boto3
import numpy as np
import pytest
from moto.core import enable_iam_authentication
from moto.server import ThreadedMotoServer

import pipeline.object_store
from pipeline.archive import fetch, standings, upload
from pipeline.camera_frames import CameraDescription
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.object_store import ObjectStore, open_object_store
from pipeline.recording import create_recording, open_recording
from pipeline.sealing import remove_pictures, seal, verify
from pipeline.settings import read_store
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(update={"loops": 3, "samples": 8, "tx_order": (1,), "rx_channels": (1, 2)})
SECRET = "a-key-that-nobody-may-see"
ODD = "source/Größe 1 #%2 [a].bin"


@pytest.fixture(scope="module")
def s3() -> Iterator[SimpleNamespace]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="lab", aws_secret_access_key=SECRET
    )
    yield SimpleNamespace(endpoint=endpoint, client=client, buckets=iter(range(99)))
    server.stop()


@pytest.fixture
def lab(s3, tmp_path, monkeypatch) -> SimpleNamespace:
    """A data root with a bucket of its own, and a recording `r1` of 576 bytes in it."""
    for name, value in {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": SECRET}.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith(("AWS_ENDPOINT", "AWS_REGION", "AWS_SESSION"))]:
        monkeypatch.delenv(name)
    bucket = f"lab-{next(s3.buckets)}"
    s3.client.create_bucket(Bucket=bucket)
    root = tmp_path / "root"
    configure(root, f"s3://{bucket}/radar", s3.endpoint)
    make(root, "r1")
    return SimpleNamespace(root=root, bucket=bucket, s3=s3.client, endpoint=s3.endpoint, store=open_object_store(root))


def configure(root: Path, address: str, endpoint: str | None = None, **more: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "rig.toml").write_text("reserve_bytes = 0\n")
    lines = {"address": address} | ({"endpoint": endpoint} if endpoint else {}) | more
    (root / "store.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))


def make(root: Path, name: str, files: dict[str, bytes] | None = None, **manifest: object) -> Path:
    folder = create_recording(root, RecordingManifest(id=name, simulated=True, waveform=SMALL, **manifest))
    for file, data in (files or {"adc.bin": bytes(range(192)) * 3, "radar.cfg": b"% cfg\n"}).items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(data)
    seal(folder)
    return folder


def other(lab: SimpleNamespace, name: str = "other") -> Path:
    """A second data root with the same store."""
    root = lab.root.parent / name
    configure(root, f"s3://{lab.bucket}/radar", lab.endpoint)
    return root


def keys(lab: SimpleNamespace) -> set[str]:
    found = lab.s3.list_objects_v2(Bucket=lab.bucket).get("Contents", [])
    return {one["Key"].removeprefix("radar/recordings/") for one in found}


def flip(lab: SimpleNamespace, name: str) -> None:
    """Change one byte of an object, and nothing else about it."""
    key = f"radar/recordings/{name}"
    there = lab.s3.get_object(Bucket=lab.bucket, Key=key)
    data = bytearray(there["Body"].read())
    data[len(data) // 2] ^= 1
    lab.s3.put_object(Bucket=lab.bucket, Key=key, Body=bytes(data), Metadata=there["Metadata"])


def where(root: Path, store: ObjectStore) -> dict[str, tuple[str, str]]:
    return {one.id: (one.where, one.problem or "") for one in standings(root, store)}


def spoil(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"\x09" + path.read_bytes()[1:])


def test_what_is_uploaded_comes_back_as_it_was(lab):
    files = {"adc.bin": bytes(192), "packets.bin": b"", ODD: b"original"}
    folder = make(lab.root, "r2", files)
    seen = []
    assert upload(lab.root, "r2", lab.store, on_progress=lambda *count: seen.append(count)).sent == tuple(sorted(files))
    assert seen[-1] == (200, 200)
    assert keys(lab) == {f"r2/{name}" for name in (*files, "recording.json")}
    head = lab.s3.head_object(Bucket=lab.bucket, Key="radar/recordings/r2/adc.bin")
    assert head["Metadata"]["sha256"] == open_recording(lab.root, "r2").manifest.digests["adc.bin"].sha256
    assert where(lab.root, lab.store) == {"r1": ("here", ""), "r2": ("both", "")}

    root = other(lab)
    assert where(root, lab.store) == {"r2": ("there", "")}
    back = fetch(root, "r2", lab.store)
    assert verify(back).ok
    for name in (*files, "recording.json"):
        assert (back.folder / name).read_bytes() == (folder / name).read_bytes()
        assert (back.folder / name).stat().st_mode & 0o777 == 0o444
    assert back.folder.stat().st_mode & 0o222 == 0

    again = upload(lab.root, "r2", lab.store, read_back=True)
    assert (again.sent, again.there, again.sent_bytes) == ((), tuple(sorted(files)), 0)
    assert fetch(root, "r2", lab.store).folder == back.folder


KILLED = """
import sys, time
from pathlib import Path
from pipeline.archive import upload
from pipeline.object_store import open_object_store
def on_progress(done, total):
    if done > 9_000_000:
        print("in the middle", flush=True)
        time.sleep(600)
root = Path(sys.argv[1])
upload(root, "r2", open_object_store(root), on_progress=on_progress)
"""


def test_an_upload_that_was_killed_does_not_look_whole_and_goes_on(lab):
    large = np.random.default_rng(0).integers(0, 256, 11_000_000, np.uint8).tobytes()
    make(lab.root, "r2", {"adc.bin": bytes(192), "depth.bin": large, "radar.cfg": b"% cfg\n"})
    process = subprocess.Popen([sys.executable, "-c", KILLED, lab.root], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert keys(lab) == {"r2/adc.bin"}
    assert where(lab.root, lab.store)["r2"] == ("half there", "its upload was not finished")
    with pytest.raises(PipelineError, match="has only a part of r2"):
        fetch(other(lab), "r2", lab.store)
    done = upload(lab.root, "r2", lab.store)
    assert (done.there, done.sent, done.sent_bytes) == (("adc.bin",), ("depth.bin", "radar.cfg"), 11_000_006)
    head = lab.s3.head_object(Bucket=lab.bucket, Key="radar/recordings/r2/depth.bin", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"]  # the store digested the parts itself; this server keeps it of several parts only
    assert (fetch(other(lab), "r2", lab.store).folder / "depth.bin").read_bytes() == large


def test_bytes_that_flipped_in_the_store_are_found(lab):
    upload(lab.root, "r1", lab.store)
    flip(lab, "r1/adc.bin")
    root = other(lab)
    with pytest.raises(PipelineError, match=r"r1/adc\.bin in the store s3://\S+ is not the file that was sealed"):
        fetch(root, "r1", lab.store)
    assert list((root / "recordings").iterdir()) == []
    with pytest.raises(PipelineError, match="is not the file that was sealed: its SHA-256 differs"):
        upload(lab.root, "r1", lab.store, read_back=True)
    flip(lab, "r1/recording.json")
    with pytest.raises(PipelineError, match=r"r1/recording\.json in the store \S+ is not what was uploaded"):
        fetch(root, "r1", lab.store)
    assert where(lab.root, lab.store)["r1"][0] == "differs"


@pytest.mark.parametrize("size", [192, 9_000_000], ids=["one part", "several parts"])
def test_bytes_that_flipped_here_are_not_uploaded(lab, size):
    folder = make(lab.root, "r2", {"adc.bin": bytes(size)})
    folder.chmod(0o755)
    spoil(folder / "adc.bin")
    with pytest.raises(PipelineError, match=r"adc\.bin of r2 is not the file that was sealed.*maepose verify r2"):
        upload(lab.root, "r2", lab.store)
    assert keys(lab) == set()
    assert not lab.s3.list_multipart_uploads(Bucket=lab.bucket).get("Uploads")


def test_another_recording_of_the_name_is_never_replaced(lab):
    upload(lab.root, "r1", lab.store)
    root = other(lab)
    folder = make(root, "r1", {"adc.bin": bytes(192)})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(PipelineError, match="holds another recording of the name r1; nothing was replaced"):
        upload(root, "r1", lab.store)
    with pytest.raises(PipelineError, match="is not the r1 that is here; nothing was replaced"):
        fetch(root, "r1", lab.store)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert where(root, lab.store)["r1"] == ("differs", "the recordings of this name here and there are two")
    assert verify(fetch(other(lab, "third"), "r1", lab.store)).ok


def test_another_file_of_the_name_is_never_replaced(lab):
    lab.s3.put_object(Bucket=lab.bucket, Key="radar/recordings/r1/adc.bin", Body=bytes(576))
    with pytest.raises(PipelineError, match=r"holds another recordings/r1/adc\.bin than this recording's"):
        upload(lab.root, "r1", lab.store)
    assert keys(lab) == {"r1/adc.bin"}
    assert lab.s3.get_object(Bucket=lab.bucket, Key="radar/recordings/r1/adc.bin")["Body"].read() == bytes(576)


def test_what_is_lost_in_the_store_is_said_and_sent_again(lab):
    upload(lab.root, "r1", lab.store)
    lab.s3.delete_object(Bucket=lab.bucket, Key="radar/recordings/r1/adc.bin")
    assert where(lab.root, lab.store)["r1"] == ("differs", "adc.bin is gone")
    with pytest.raises(PipelineError, match=r"not whole any more: adc\.bin is gone"):
        fetch(other(lab), "r1", lab.store)
    assert upload(lab.root, "r1", lab.store).sent == ("adc.bin",)
    assert where(lab.root, lab.store)["r1"] == ("both", "")


def test_pictures_that_are_to_go_do_not_leave_the_machine(lab):
    camera = CameraDescription(name="x", source="webcam", rate_hz=30, privacy="skeleton-only")
    files = {"adc.bin": bytes(192), "color.mkv": b"a face", "depth.bin": b"a shape"}
    make(lab.root, "r2", files, camera=camera)
    with pytest.raises(PipelineError, match=r"still has color\.mkv and depth\.bin; `maepose label r2` deletes them"):
        upload(lab.root, "r2", lab.store)
    remove_pictures(open_recording(lab.root, "r2"), "Gone.")
    assert upload(lab.root, "r2", lab.store).sent == ("adc.bin",)
    make(lab.root, "r3", files)
    upload(lab.root, "r3", lab.store)
    remove_pictures(open_recording(lab.root, "r3"), "Gone.")
    with pytest.raises(PipelineError, match=r"uploaded before its color\.mkv and depth\.bin were deleted here"):
        upload(lab.root, "r3", lab.store)


def test_only_sealed_recordings_go(lab):
    create_recording(lab.root, RecordingManifest(id="r2", simulated=True, waveform=SMALL))
    with pytest.raises(PipelineError, match="r2 is not sealed, and only sealed ones are uploaded"):
        upload(lab.root, "r2", lab.store)
    assert keys(lab) == set()


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "source/../../evil", "recording.json", "a//b", "."])
def test_no_name_leaves_the_data_root(lab, name):
    upload(lab.root, "r1", lab.store)
    key = "radar/recordings/r1/recording.json"
    said = json.loads(lab.s3.get_object(Bucket=lab.bucket, Key=key)["Body"].read())
    said["digests"] = {name: said["digests"]["adc.bin"]}
    lab.s3.put_object(Bucket=lab.bucket, Key=key, Body=json.dumps(said).encode())
    root = other(lab)
    with pytest.raises(PipelineError, match="which would lie outside its recording; nothing was fetched"):
        fetch(root, "r1", lab.store)
    with pytest.raises(PipelineError, match="is not a recording id"):
        fetch(root, "../r1", lab.store)
    assert not (root / "recordings").exists()


def test_a_fetch_leaves_the_reserve_alone(lab):
    upload(lab.root, "r1", lab.store)
    root = other(lab)
    (root / "rig.toml").write_text("reserve_bytes = 1_000_000_000_000_000\n")
    with pytest.raises(
        PipelineError, match=r"r1 has 582 bytes, and \S+ has room for 0 beside the reserve of rig\.toml"
    ):
        fetch(root, "r1", lab.store)
    assert not (root / "recordings").exists()


def test_a_bucket_that_is_gone_is_one_sentence(lab):
    lab.s3.delete_bucket(Bucket=lab.bucket)
    for act in (lambda: upload(lab.root, "r1", lab.store), lambda: standings(lab.root, lab.store)):
        with pytest.raises(PipelineError, match=rf"^The bucket of the store s3://{lab.bucket}/radar is not there"):
            act()


def test_keys_that_may_not_are_one_sentence_without_the_keys(lab):
    with enable_iam_authentication(), pytest.raises(PipelineError, match="does not let these keys at it") as refused:
        upload(lab.root, "r1", lab.store)
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(lab.store)
    assert "\n" not in str(refused.value)


def test_no_keys_and_a_store_that_is_away_are_one_sentence_each(lab, monkeypatch):
    monkeypatch.setattr(pipeline.object_store, "RETRIES", 1)
    configure(lab.root, f"s3://{lab.bucket}/radar", "http://127.0.0.1:9")
    with pytest.raises(PipelineError, match="does not answer; look at the network and at the endpoint"):
        upload(lab.root, "r1", open_object_store(lab.root))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # where a cloud's machines find theirs
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
        with pytest.raises(PipelineError, match=r"There are no keys for the store .* set AWS_ACCESS_KEY_ID"):
            upload(lab.root, "r1", open_object_store(lab.root))


def test_keys_that_are_given_win_over_the_environment(lab, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    store = open_object_store(lab.root, {"access_key_id": "lab", "secret_access_key": SECRET})
    assert upload(lab.root, "r1", store).sent == ("adc.bin", "radar.cfg")


def test_a_folder_is_a_store_too(tmp_path):
    root, away = tmp_path / "root", tmp_path / "a share"
    configure(root, f"file://{away}".replace(" ", "%20"))
    with pytest.raises(PipelineError, match="a share of the store is not there; mount it"):
        open_object_store(root)
    away.mkdir()
    store = open_object_store(root)
    folder = make(root, "r1", {"adc.bin": bytes(192), ODD: b"x"})
    upload(root, "r1", store)
    assert (away / "recordings/r1" / ODD).read_bytes() == b"x"
    assert where(root, store) == {"r1": ("both", "")}
    (tmp_path / "other").mkdir()
    assert verify(fetch(tmp_path / "other", "r1", store)).ok is True
    assert upload(root, "r1", store).there == ("adc.bin", ODD)
    (away / "recordings/r1/adc.bin").write_bytes(bytes(191) + b"\x01")
    with pytest.raises(PipelineError, match=r"holds another recordings/r1/adc\.bin"):
        upload(root, "r1", store)
    assert folder.exists()
    make(root, "r2")
    (away / "recordings/r2").write_text("in the way")
    with pytest.raises(
        PipelineError, match=r"^The store file://\S+ refused recordings/r2/adc\.bin: \w+ .*; start again"
    ):
        upload(root, "r2", store)


MEASURED = """
import resource, sys
from pathlib import Path
from pipeline.archive import fetch, upload
from pipeline.object_store import open_object_store
here, there = map(Path, sys.argv[1:])
store = open_object_store(here)
list(store.sizes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
upload(here, "r2", store)
fetch(there, "r2", store)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_large_recording_goes_and_comes_in_little_memory(lab):
    large = np.random.default_rng(0).integers(0, 256, 400_000_000, np.uint8).tobytes()
    folder = make(lab.root, "r2", {"adc.bin": large})
    root = other(lab)
    words = [sys.executable, "-c", MEASURED, str(lab.root), str(root)]
    used_mb = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert used_mb < 150
    assert (root / "recordings/r2/recording.json").read_bytes() == (folder / "recording.json").read_bytes()
    assert verify(open_recording(root, "r2")).ok


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('address = "s3://lab"\nsecret_access_key = "hush"', "secret_access_key: Extra inputs are not permitted"),
        ('address = "s3://key:hush@lab/x"', "address: String should match pattern"),
        ('address = "gs://lab"', "address: String should match pattern"),
        ('address = "s3://lab/../other"', "address: "),
        ('address = "s3://lab"\nendpoint = "https://key:hush@host"', "endpoint: String should match pattern"),
        ("address = ", "is not TOML"),
    ],
)
def test_a_wrong_store_file_is_named_without_what_it_may_hide(tmp_path, text, says):
    (tmp_path / "store.toml").write_text(text)
    with pytest.raises(PipelineError, match=says) as refused:
        read_store(tmp_path)
    assert "hush" not in str(refused.value)


def test_without_a_store_it_says_where_to_name_one(tmp_path):
    with pytest.raises(
        PipelineError, match=r'has no object store; write `address = "s3://BUCKET/PREFIX"` into \S+store\.toml'
    ):
        open_object_store(tmp_path)


def test_a_cube_opens_from_the_store(lab):
    """As docs/store.md says it."""
    import xarray
    import zarr

    made = xarray.Dataset({"rad": (("frame", "range"), np.arange(12, dtype=np.uint8).reshape(3, 4))})
    made.rad.attrs |= {"scale_factor": 0.5, "add_offset": -100.0}
    made.to_zarr(lab.root / "cubes/r1.zarr", encoding={"rad": {"chunks": (1, 4), "shards": (3, 4)}})
    for path in (lab.root / "cubes").rglob("*"):
        if path.is_file():
            key = f"radar/{path.relative_to(lab.root).as_posix()}"
            lab.s3.put_object(Bucket=lab.bucket, Key=key, Body=path.read_bytes())
    inside = open_object_store(lab.root, inside="cubes/r1.zarr").inner
    cube = xarray.open_zarr(zarr.storage.ObjectStore(inside), chunks=None)
    assert cube.rad[2].values.tolist() == [-96.0, -95.5, -95.0, -94.5]

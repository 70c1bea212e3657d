"""Megabytes a second into and out of an object store on loopback, beside a plain sequential put and get of the same library.

    python -m benchmarks.store [--megabytes 128] [--files 2] [--repeats 3]

The server is moto's, in a process of its own, and holds everything in memory: it is slower than a real store on a local network,
so what travels are the ratios. Ours digests every byte and writes durably what it fetches; the plain copy does neither. What a
SHA-256 alone costs is named beside them.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import obstore

from pipeline.archive import fetch, upload
from pipeline.manifest import RecordingManifest
from pipeline.object_store import open_object_store
from pipeline.recording import create_recording
from pipeline.sealing import seal
from pipeline.waveform import PRESETS

SERVER = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
"""


def seconds(act: Callable[[], object]) -> float:
    """How long `act` takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=128, help="of each file")
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab", "AWS_REGION": "us-east-1"}
    data = np.random.default_rng(0).integers(0, 256, asked.megabytes * 10**6, np.uint8).tobytes()
    total_mb = asked.megabytes * asked.files
    took: dict[str, list[float]] = {
        name: [] for name in ("up, ours", "up, plain", "down, ours", "down, plain", "SHA-256")
    }
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    endpoint = server.stdout.readline().strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for repeat in range(asked.repeats):
                measure(Path(folder) / str(repeat), endpoint, data, asked.files, took)
    finally:
        server.kill()
    print(f"{asked.files} files of {asked.megabytes} MB, medians of {asked.repeats}; load {os.getloadavg()[0]:.1f}")
    speed = {name: total_mb / statistics.median(times) for name, times in took.items()}
    for name, mb_s in speed.items():
        print(f"{name:<12} {mb_s:8.1f} MB/s")
    for way in ("up", "down"):
        print(f"{way}: ours / plain {speed[f'{way}, ours'] / speed[f'{way}, plain']:.2f}")


def measure(folder: Path, endpoint: str, data: bytes, files: int, took: dict[str, list[float]]) -> None:
    """One round: a recording and its plain copy up and down, in a bucket of its own."""
    bucket = f"round-{folder.name}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    roots = folder / "here", folder / "there"
    for root in roots:
        root.mkdir(parents=True)
        (root / "rig.toml").write_text("reserve_bytes = 0\n")
        (root / "store.toml").write_text(f'address = "s3://{bucket}"\nendpoint = "{endpoint}"\n')
    made = create_recording(roots[0], RecordingManifest(id="r", simulated=True, waveform=PRESETS["light"]))
    names = [f"file{number}.bin" for number in range(files)]
    for name in names:
        (made / name).write_bytes(data)
    seal(made)
    store = open_object_store(roots[0])
    took["SHA-256"].append(seconds(lambda: [hashlib.sha256(data) for _ in names]))
    took["up, ours"].append(seconds(lambda: upload(roots[0], "r", store)))
    took["up, plain"].append(seconds(lambda: [obstore.put(store.inner, name, made / name) for name in names]))
    took["down, ours"].append(seconds(lambda: fetch(roots[1], "r", store)))
    took["down, plain"].append(seconds(lambda: [_plain_get(store.inner, name, folder / name) for name in names]))


def _plain_get(inner: object, name: str, path: Path) -> None:
    with path.open("wb") as file:
        for piece in obstore.get(inner, name):  # type: ignore[arg-type]
            file.write(piece)


if __name__ == "__main__":
    main()

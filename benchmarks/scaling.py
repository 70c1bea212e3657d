"""How reprocessing gains from workers, 1, 2 and 4 of them on this machine; and how long a large archive takes to be looked at.

    python -m benchmarks.scaling                            # 8 recordings of 80 frames, 2 rounds: under 4 minutes on 2 cores
    python -m benchmarks.scaling --recordings 3 --frames 4 --waveform light --rounds 1               # a quick look
    python -m benchmarks.scaling --workers --scan 10000     # catalogue and a night's scan of 10,000 recordings

Workers are Dask's, a process each, as `reprocess-recordings -p where=dask` has them: one thread transforms, another compresses
and writes, and then the quality report and the pictures are made; Prefect is not in the way. Numbers of workers take turns on
the same recordings, so quote the ratios. The limit is what this machine's cores could do if they did nothing else: cores /
core-seconds of one recording, measured with one worker.

`--scan` measures the processor's part: recordings and cubes are small, in memory, and cubes are links to one.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cubes import scene_words
from flows.nights import Night, in_turn, night, work
from flows.products import make_products
from pipeline.catalogue import build_catalogue, update_catalogue
from pipeline.cube_commit import cube_path, cubes_folder
from pipeline.cube_config import preset
from pipeline.manifest import RecordingManifest
from pipeline.packets import PACKET_RECORD
from pipeline.recording import Recording, create_recording, open_recording, recordings_folder
from pipeline.sealing import seal
from pipeline.waveform import PRESETS, Waveform
from processing.cubes import process_recording

PAYLOAD_BYTES = 1456
PRODUCTS = ("cubes", "quality", "pictures")


def write_recording(
    root: Path, recording_id: str, chirp: Waveform, frames: int, stream: Path | None = None
) -> Recording:
    """A sealed recording of echoes in noise with all its packets; `stream` is an adc.bin to link instead of writing one."""
    folder = create_recording(root, RecordingManifest(id=recording_id, simulated=True, waveform=chirp))
    if stream is None:
        scenes = [scene_words(chirp, seed).tobytes() for seed in range(4)]
        with (folder / "adc.bin").open("wb") as file:
            for number in range(frames):
                file.write(scenes[number % len(scenes)])
    else:
        os.link(stream, folder / "adc.bin")
    total = frames * chirp.frame_bytes
    offsets = np.arange(0, total, PAYLOAD_BYTES)
    packets = np.zeros(len(offsets), PACKET_RECORD)
    packets["byte_offset"], packets["sequence"] = offsets, np.arange(1, len(offsets) + 1)
    packets["length"] = np.minimum(PAYLOAD_BYTES, total - offsets)
    (folder / "packets.bin").write_bytes(packets.tobytes())
    return seal(folder)


def make(root: str, recording_id: str) -> tuple[float, int]:
    """Everything that a night makes of a recording; core-seconds it took, and the process that did it."""
    began = time.process_time()
    make_products(Path(root), recording_id, preset("default"), threads=1)
    return time.process_time() - began, os.getpid()


def measure(workers: Sequence[int], recordings: int, frames: int, chirp: Waveform, rounds: int) -> None:
    """Print how many recordings a minute each number of workers makes."""
    from distributed import Client, LocalCluster, wait

    cores = len(os.sched_getaffinity(0))
    print(
        f"## {recordings} recordings of {frames} frames, waveform `{chirp.name}` "
        f"({frames * chirp.frame_bytes / 1e6:.0f} MB raw each), on {cores} cores\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="maepose-scaling-") as folder:
        root = Path(folder)
        first = write_recording(root, "r0", chirp, frames)
        names = ["r0", *(f"r{number}" for number in range(1, recordings))]
        for name in names[1:]:
            write_recording(root, name, chirp, frames, first.folder / "adc.bin")
        seconds: dict[int, list[float]] = {count: [] for count in workers}
        core_seconds: dict[int, list[float]] = {count: [] for count in workers}
        began = {"n_workers": max(workers), "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
        with LocalCluster(processes=True, host="127.0.0.1", **began) as cluster, Client(cluster) as client:
            client.wait_for_workers(max(workers), timeout=600)
            addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
            # libraries and compiled kernels are loaded once a worker, which is not what is measured
            _again(root)
            wait([client.submit(make, str(root), "r0", workers=[one], pure=False) for one in addresses[:1]])
            _again(root)
            warm = [
                client.submit(make, str(root), name, workers=[one], pure=False)
                for one, name in zip(addresses, names * max(workers), strict=False)
            ]
            wait(warm)
            for _ in range(rounds):
                for count in workers:
                    _again(root)
                    started = time.perf_counter()
                    sent = [
                        client.submit(make, str(root), name, workers=addresses[:count], pure=False) for name in names
                    ]
                    done = client.gather(sent)
                    seconds[count].append(time.perf_counter() - started)
                    core_seconds[count].append(sum(spent for spent, _ in done) / recordings)
    report(workers, recordings, frames, cores, seconds, core_seconds)


def _again(root: Path) -> None:
    for part in PRODUCTS:
        shutil.rmtree(root / part, ignore_errors=True)


def report(
    workers: Sequence[int],
    recordings: int,
    frames: int,
    cores: int,
    seconds: dict[int, list[float]],
    core_seconds: dict[int, list[float]],
) -> None:
    """One Markdown table."""
    one = float(np.median(seconds[workers[0]]))
    limit = 60 * cores / float(np.median(core_seconds[workers[0]]))
    print(
        f"| workers | recordings/min | frames/s | x {workers[0]} worker | core-seconds a recording "
        f"| of the limit, {limit:.0f}/min |"
    )
    print("|---|---|---|---|---|---|")
    for count in workers:
        median = float(np.median(seconds[count]))
        rate = 60 * recordings / median
        cells = [f"{rate:.1f}", f"{recordings * frames / median:.3g}", f"{one / median:.2f}"]
        cells += [f"{np.median(core_seconds[count]):.2f}", f"{rate / limit:.0%}"]
        print(f"| {count} | {' | '.join(cells)} |")
    loads = os.getloadavg()
    print(f"\n{cores} cores; medians of {len(seconds[workers[0]])} rounds; load at the end {loads[0]:.1f}.")


def scan(count: int) -> None:
    """Print how long the catalogue and a night without work take over `count` recordings."""
    small = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
    with tempfile.TemporaryDirectory(
        prefix="maepose-scan-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        root = Path(folder)
        first = write_recording(root, "r0", small, 2)
        process_recording(first, root, preset("default"))
        text = (first.folder / "recording.json").read_text()
        for number in range(1, count):
            other = recordings_folder(root) / f"r{number}"
            other.mkdir()
            for name in ("adc.bin", "packets.bin"):
                os.link(first.folder / name, other / name)
            (other / "recording.json").write_text(text.replace('"id": "r0"', f'"id": "r{number}"'))
            cube_path(root, other.name).symlink_to(cube_path(root, "r0"))
        files = sum(len(names) for _, _, names in os.walk(cubes_folder(root)))
        times: dict[str, float] = {}

        def timed(what: str, call: object) -> None:
            began = time.perf_counter()
            call()  # type: ignore[operator]
            times[what] = time.perf_counter() - began

        timed("catalogue, nothing known of it", lambda: update_catalogue(root))
        timed("catalogue, again", lambda: update_catalogue(root))
        timed("night without work", lambda: _empty_night(root))
        minute = write_minute(root)
        timed("one row of a minute of the paper's packets", lambda: build_catalogue(minute))
        print(f"## {count} recordings, {files} files of one cube\n\n| | s | ms a recording |\n|---|---|---|")
        for what, took in times.items():
            share = "" if what.startswith("one row") else f"{1e3 * took / count:.2f}"
            print(f"| {what} | {took:.2f} | {share} |")


def _empty_night(root: Path) -> None:
    def refuse(name: str, why: str) -> None:
        raise AssertionError(f"{name} is {why}")

    with night(root) as going_on:
        assert isinstance(going_on, Night)
        work(root, None, going_on, in_turn(refuse))
        assert not going_on.rows


def write_minute(root: Path) -> Path:
    """A data root of one recording with the packet records of a minute of the paper's waveform, and no samples on disk."""
    chirp, other = PRESETS["paper"], root / "minute"
    folder = create_recording(other, RecordingManifest(id="minute", simulated=True, waveform=chirp))
    total = round(60 / chirp.frame_period_s) * chirp.frame_bytes
    offsets = np.arange(0, total, PAYLOAD_BYTES)
    packets = np.zeros(len(offsets), PACKET_RECORD)
    packets["byte_offset"], packets["length"] = offsets, np.minimum(PAYLOAD_BYTES, total - offsets)
    (folder / "packets.bin").write_bytes(packets.tobytes())
    with (folder / "adc.bin").open("wb") as file:
        file.truncate(total)
    assert open_recording(other, "minute").frame_count > 0
    return other


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4], help="numbers of them; none: only --scan")
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--frames", type=int, default=80, help="of each recording")
    parser.add_argument("--waveform", choices=sorted(PRESETS), default="paper")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scan", type=int, default=0, metavar="N", help="look at N recordings, too")
    options = parser.parse_args()
    if options.workers:
        measure(options.workers, options.recordings, options.frames, PRESETS[options.waveform], options.rounds)
    if options.scan:
        scan(options.scan)


if __name__ == "__main__":
    main()

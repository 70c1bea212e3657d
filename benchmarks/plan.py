"""What so many hours of recordings take up: bytes, files and rates, from those a data root has. It reads sizes, no samples.

    maepose simulate sim-move --root plan --waveform paper --frames 79 && maepose process 'sim-move-m01-*' --root plan
    python -m benchmarks.plan --root plan --hours 1000 --minutes 1

`--minutes` is the length of a recording, on which the number of files hangs. A camera's bytes are counted where recordings have
one. Recordings of other waveforms than `--waveform` are left out.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.cube_commit import cube_path
from pipeline.cube_config import PRESETS as CUBES
from pipeline.cube_layout import SHARD_FRAMES
from pipeline.errors import PipelineError
from pipeline.labels import labels_path
from pipeline.recording import Recording, read_recording, recordings_folder
from pipeline.waveform import PRESETS, Waveform

PACKET_PAYLOAD_BYTES, PACKET_RECORD_BYTES = 1456, 32
CAMERA = ("color.mkv", "depth.bin", "camera.bin")


PER_RECORDING = "quality and pictures"
"""The one part whose size does not grow with a recording's length."""


@dataclass(frozen=True)
class Tree:
    """What lies under a path: bytes, and inodes (files and folders)."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: "Tree") -> "Tree":
        return Tree(self.bytes + other.bytes, self.inodes + other.inodes)


def tree(path: Path) -> Tree:
    """Bytes and inodes of `path` and all under it; nothing where it is not there."""
    if not path.exists():
        return Tree()
    paths = [path, *(path.rglob("*") if path.is_dir() else ())]
    return Tree(sum(one.stat().st_size for one in paths if one.is_file()), len(paths))


def parts(root: Path, recording: Recording) -> dict[str, Tree]:
    """What one recording and its products take up, by part; a frame's share follows from its frames."""
    folder = recording.folder
    camera = [tree(folder / name) for name in CAMERA]
    return {
        "samples (adc.bin)": tree(folder / "adc.bin"),
        "packet records": tree(folder / "packets.bin"),
        "camera": sum(camera, Tree()),
        "cube": tree(cube_path(root, recording.id)),
        "labels": tree(labels_path(root, recording.id)),
        "predictions": sum((tree(path) for path in (root / "predictions").glob(f"{recording.id}.*.parquet")), Tree()),
        PER_RECORDING: tree(root / "quality" / f"{recording.id}.json") + tree(root / "pictures" / recording.id),
    }


def measured(root: Path, chirp: Waveform) -> tuple[int, int, dict[str, tuple[Tree, int]]]:
    """Recordings and frames of the waveform; and of each part what there is, and in how many frames (or recordings)."""
    sums: dict[str, tuple[Tree, int]] = {}
    recordings = frames = 0
    folder = recordings_folder(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        recording = read_recording(path)
        if recording.waveform.frame_shape != chirp.frame_shape or not recording.frame_count:
            continue
        recordings, frames = recordings + 1, frames + recording.frame_count
        for name, found in parts(root, recording).items():
            total, of = sums.get(name, (Tree(), 0))
            counted = 1 if name == PER_RECORDING else recording.frame_count
            sums[name] = total + found, of + (counted if found.inodes else 0)
    if not recordings:
        raise PipelineError(
            f"There is no recording of the waveform {chirp.name} under {root}; simulate or record some."
        )
    return recordings, frames, sums


def cube_inodes(frames: int) -> int:
    """Files and folders of a default cube's shards: each lies in a folder an axis, `rad/c/SHARD/0/0/0`."""
    axes = {"rad": 3, "rd": 2, "ra": 2}
    return ceil(frames / SHARD_FRAMES) * sum(axes[name] + 1 for name in CUBES["default"].products)


def report(
    chirp: Waveform, hours: float, minutes: float, found: tuple[int, int, Mapping[str, tuple[Tree, int]]]
) -> None:
    """The arithmetic, and one Markdown table."""
    recordings, frames, sums = found
    rate = 1 / chirp.frame_period_s
    total = hours * 3600 * rate
    count = hours * 60 / minutes
    loops, slots, receivers, samples = chirp.frame_shape
    print(f"## {hours:g} hours of waveform `{chirp.name}` in recordings of {minutes:g} min\n")
    print(f"- frames: {hours:g} h x 3600 s x {rate:g}/s = {total:.3g}, in {count:.3g} recordings")
    print(
        f"- a frame: {samples} samples x {loops} loops x {slots} TX x {receivers} RX x 4 B = {chirp.frame_bytes:,} B; "
        f"{chirp.data_rate_bps / 1e6:.0f} Mbit/s"
    )
    packets = chirp.frame_bytes / PACKET_PAYLOAD_BYTES
    print(f"- packets: {packets:.0f} a frame of {PACKET_PAYLOAD_BYTES} B, {PACKET_RECORD_BYTES} B a record")
    whole = round(minutes * 60 * rate)
    print(
        f"- shards of a default cube: {cube_inodes(whole)} inodes a recording, {cube_inodes(whole) * count:.3g} in all"
    )
    print(f"\nMeasured on {recordings} recordings, {frames} frames:\n")
    print("| part | bytes a frame | MB an hour | TB in all | MB/s while recorded |\n|---|---|---|---|---|")
    for name, (part, of) in sums.items():
        if not of:
            print(f"| {name} | not in this data root | | | |")
            continue
        each = part.bytes / of
        if name == PER_RECORDING:
            print(f"| {name} | {each:,.0f} a recording | | {each * count / 1e12:.3g} | |")
            continue
        cells = [
            f"{each:,.0f}",
            f"{each * 3600 * rate / 1e6:,.0f}",
            f"{each * total / 1e12:.3g}",
            f"{each * rate / 1e6:.3g}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a data root with recordings and their products")
    parser.add_argument("--hours", type=float, default=1000.0)
    parser.add_argument("--minutes", type=float, default=1.0, help="of a recording")
    parser.add_argument("--waveform", choices=sorted(PRESETS), default="paper")
    options = parser.parse_args()
    chirp = PRESETS[options.waveform]
    report(chirp, options.hours, options.minutes, measured(options.root, chirp))


if __name__ == "__main__":
    main()

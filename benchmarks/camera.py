"""Radar at the paper's rate and camera together on this machine: what is lost, and what it costs.

    python -m benchmarks.camera                       # 20 s, keep
    python -m benchmarks.camera --seconds 60 --privacy faces-blurred

A sender in a process of its own paces packets at the paper's 14,350 a second to our receiver, and the camera's process records
colour and depth, 640 x 480 at 30 a second, from the simulated camera: the receiver and the camera as a recorder runs them, each
in its own process. Pictures are drawn beforehand, because a real camera's arrive from its cable; what the camera's process spends
on handing them to librealsense is in its figure all the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.receive import FRAME_BYTES, PAPER_RATE, PAYLOAD, lost_packets
from capture.camera_process import CameraProcess
from pipeline.camera_frames import STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.camera_reader import ColorReader, depth_records
from pipeline.settings import CameraSettings

ACTS = [{"action": "arm-raise", "start_s": 0.0, "stop_s": 10.0}]
PICTURES = 60


def cpu_s(pid: int) -> float:
    """Seconds of processor a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _receive(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.receive", *arguments], stdout=subprocess.PIPE, text=True)


def main() -> None:
    """One run; its figures as a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--privacy", choices=("keep", "faces-blurred"), default="keep")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where recordings are written")
    options = parser.parse_args()
    expected = round(PAPER_RATE * PAYLOAD * options.seconds / FRAME_BYTES) * FRAME_BYTES
    simulated = {
        "scene": {"seed": 3, "acts": ACTS},
        "rig_origin_monotonic_s": time.monotonic(),
        "pictures": PICTURES,
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with CameraProcess(folder, CameraSettings(privacy=options.privacy), simulated) as camera:
            camera.start(120)
            while camera.progress().color_frames < 30:
                time.sleep(0.1)
            receiving = _receive("--receive", "ours", "--folder", name, "--expected", str(expected))
            assert receiving.stdout
            port = receiving.stdout.readline().strip()
            begin, used, before = time.monotonic(), cpu_s(camera.pid or 0), camera.progress()
            sending = _receive("--send", port, "--rate", str(PAPER_RATE), "--expected", str(expected))
            sent = json.loads(sending.communicate()[0])
            got = json.loads(receiving.communicate()[0])
            seconds, used = time.monotonic() - begin, cpu_s(camera.pid or 0) - used
            during = camera.progress()
            result = camera.stop()
        lost = lost_packets(folder, expected)
        report(folder, result, seconds)
        gaps = (during.color_gaps - before.color_gaps, during.depth_gaps - before.depth_gaps)
        print(
            f"\nLoad of this machine over the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.\n"
        )
        print("| what | arrived | lost | share of a core % |\n|---|---|---|---|")
        print(
            f"| radar packets ({sent['packets'] / sent['seconds']:.0f}/s for {sent['seconds']:.0f} s) | "
            f"{sent['packets'] - lost} | {lost} | {100 * got['cpu_s'] / sent['seconds']:.1f} |"
        )
        print(
            f"| colour and depth, {options.privacy} | {during.color_frames - before.color_frames} + "
            f"{during.depth_frames - before.depth_frames} | {gaps[0]} + {gaps[1]} | {100 * used / seconds:.1f} |"
        )
        for note in (*got["notes"], *result.notes):
            print(note)


def report(folder: Path, result, seconds: float) -> None:
    """What lies on disk, and whether what the records vouch for is there."""
    records = read_camera_records(folder)
    assert records is not None
    with ColorReader(folder) as color:
        assert len(color) == int((records["stream"] == STREAM_COLOR).sum())
    depth = depth_records(folder)
    assert len(depth) == int((records["stream"] == STREAM_DEPTH).sum())
    latency = records["received_ns"] / 1e9 - records["sensor_timestamp_us"] / 1e6
    spread_ms = 1e3 * (np.quantile(latency, [0.5, 0.99, 1.0]) - latency.min())
    raw = len(depth) * 640 * 480 * 2
    print(f"{result.sentence} colour {_rate(folder / 'color.mkv', len(depth)):.2f} MB/s,", end=" ")
    print(f"depth {_rate(folder / 'depth.bin', len(depth)):.2f} MB/s ({raw / depth['byte_length'].sum():.2f} to 1).")
    print(
        f"Frames came {spread_ms[0]:.1f} ms (half), {spread_ms[1]:.1f} ms (99 %), {spread_ms[2]:.1f} ms (all) after the fastest."
    )


def _rate(path: Path, frames: int) -> float:
    return path.stat().st_size / 1e6 / (frames / 30)


if __name__ == "__main__":
    main()

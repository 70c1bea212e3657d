"""The machine's clock jumps an hour ahead and two back while a session is recorded: nothing in it may notice.

A few lines of C before libc give `maepose capture` and all its processes another wall clock. (libfaketime 0.9.10 does that too,
but with a monotonic clock left alone it answers `time.sleep` with EINVAL.) The kernel's own stamps of packets keep the true
time, which no real jump does: from the first jump on they are of no use, and the receiver's own reading of the monotonic
clock takes their place.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_for

from capture.session import RecorderHandle, attach
from pipeline.camera_frames import STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.cfg_text import write_cfg
from pipeline.recording import Recording, open_recording
from pipeline.sealing import verify
from pipeline.sync import read_sync
from pipeline.waveform import PRESETS

COMPILER = shutil.which("cc") or shutil.which("gcc")
JUMPING_CLOCK = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static const volatile long long *ahead_s;  /* in a file that the test writes */
__attribute__((constructor)) static void look(void) {
    int file = open(getenv("JUMPING_CLOCK"), O_RDONLY);
    ahead_s = mmap(0, sizeof *ahead_s, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead_s;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""
PULSES, HZ = 100, 10
SMALL = PRESETS["light"].model_copy(
    update={
        "name": "small.cfg",
        "samples": 64,
        "idle_time_us": 100.0,
        "ramp_end_time_us": 40.0,
        "sample_rate_ksps": 2000,
    }
)
RIG = """
kind = "simulated"
waveform = "small.cfg"
reserve_bytes = 1_000_000
silence_timeout_s = 60
camera = {{width = 320, height = 240}}
simulator = {{firmware = "mmwDemo", speed = {speed}}}
"""
SPEED = 0.5
"""Of the simulated rig: this machine may have other work, and lateness is not what is tested."""
WITHIN_S = 240.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clock, compiled."""
    if COMPILER is None:
        pytest.skip("NO C COMPILER: no clock was made to jump here; install Debian's `gcc` and `libc6-dev`")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(JUMPING_CLOCK)
    made = folder / "clock.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", made, folder / "clock.c"], check=True)
    return made


def _capture(root: Path, library: Path, jumps: dict[int, int]) -> Recording:
    """A session typed at the command line; at frame number N the wall clock is set to `jumps[N]` seconds from the true one."""
    root.mkdir()
    (root / "small.cfg").write_text(write_cfg(SMALL))
    (root / "rig.toml").write_text(RIG.format(speed=SPEED))
    clock = root / "clock"
    clock.write_bytes(bytes(8))
    environment = os.environ | {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(clock)}
    words = ["capture", "--seconds", str(PULSES // HZ), "--root", str(root), "--json"]
    command = [sys.executable, "-m", "flows.cli", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        (name,) = wait_for(lambda: [path.name for path in root.glob("sessions/*")], WITHIN_S, "a session")
        handle: RecorderHandle = attach(root, name)
        for frame, ahead_s in jumps.items():
            wait_for(lambda frame=frame: handle.progress().frames >= frame, WITHIN_S, f"frame {frame}")
            with clock.open("r+b") as file:
                file.write(struct.pack("=q", ahead_s))
        said, complaints = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, complaints
    return open_recording(root, json.loads(said)["recording"])


@pytest.mark.slow  # two sessions of ten seconds
def test_a_session_does_not_notice_that_the_clock_jumps(tmp_path, library):
    still = _capture(tmp_path / "still", library, {})
    moved = _capture(tmp_path / "moved", library, {25: 3600, 60: -3600})
    assert still.frame_count == moved.frame_count == PULSES - 2  # less those of the signature
    for recording in (still, moved):
        assert verify(recording).ok
        assert recording.manifest.status == "success"
        assert recording.missing_ranges().shape == (0, 2)
        assert recording.manifest.counters["seconds"] == pytest.approx(PULSES / HZ / SPEED, abs=3 / SPEED)
        times_s = recording.frame_time_ns() / 1e9
        assert np.diff(times_s).min() > 0
        assert times_s[-1] - times_s[0] == pytest.approx((PULSES - 1) / HZ / SPEED, abs=0.2 / SPEED)
        pictures = read_camera_records(recording.folder)
        for stream in (STREAM_COLOR, STREAM_DEPTH):
            assert np.diff(pictures["received_ns"][pictures["stream"] == stream]).min() > 0
    arrived_s = (
        read_camera_records(moved.folder)["time_of_arrival_ms"] / 1000
    )  # by the wall clock: the jumps were there
    assert np.ptp(arrived_s) > 7000
    (mine, report), (theirs, undisturbed) = (read_sync(one.folder) for one in (moved, still))
    assert (report.mode, report.verdict) == (undisturbed.mode, undisturbed.verdict) == ("board", "aligned"), (
        report.reasons
    )
    assert mine[["pulse", "radar_frame", "status"]].equals(theirs[["pulse", "radar_frame", "status"]])
    assert (
        abs((mine["color_frame"] >= 0).sum() - (theirs["color_frame"] >= 0).sum()) <= 2
    )  # cameras begin when they begin
    worst_s = mine["color_offset_s"].abs().max()
    assert worst_s < 1 / 30 / SPEED, worst_s

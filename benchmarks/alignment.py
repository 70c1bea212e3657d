"""How often the alignment is wrong, and how often it says it cannot tell: hundreds of sessions whose truth is known.

    python -m benchmarks.alignment                   # 100 sessions a condition, some minutes
    python -m benchmarks.alignment --sessions 1000 "all together"

Sessions are plain events (tests/capture/sync_sessions.py): clocks, jitter, losses and stalls, written as a recorder would and
read back through `capture.alignment`. A row is wrong when its radar frame belongs to another pulse, or none; or when another
picture is nearer by more than 1 ms (3 ms where the camera's clock is known by arrival alone; its constant latency set aside,
which the last column shows: pictures that are not the nearest because of it). "All together" is 200 ppm on every clock,
30 s between them, 5 % of pulse lines, triggers and pictures lost, a camera 3 s late, a radar that misses the first two triggers,
1 % of radar frames in stalls of up to 0.3 s, 1 % of packets and 0.3 % of whole radar frames lost. "Frames 20 ms late" on average:
a machine too busy for its radar, and whose camera skips 30 % of its exposures. "Anything" draws every property anew for each
session.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "capture"))

from sync_sessions import HARD, Count, Session, anything, compare, play, with_seed, write

from capture.alignment import alignment_of

PLAIN = Session()
CONDITIONS: dict[str, Session | None] = {
    "nothing wrong": PLAIN,
    "200 ppm, 30 s": replace(PLAIN, board_ppm=200.0, camera_ppm=-200.0, board_offset_s=30.0, camera_offset_s=-30.0),
    "5 % pulse lines lost": replace(PLAIN, lose_lines=0.05),
    "5 % triggers missed": replace(PLAIN, miss_triggers=0.05),
    "5 % pictures lost": replace(PLAIN, drop_camera=0.05),
    "camera 3 s late": replace(PLAIN, camera_late_s=3.0),
    "first two triggers missed": replace(PLAIN, miss_first=2),
    "stalls, lost packets": replace(PLAIN, stalls=0.02, lose_packets=0.02, lose_whole=0.005),
    "all together": HARD,
    "all, edges": replace(HARD, edges=True),
    "all, no signature, edges": replace(HARD, signature=False, edges=True),
    "all, no PINGs": replace(HARD, pings=False, edges=True),
    "all, no board": replace(HARD, board=False),
    "all, 20 Hz": replace(HARD, hz=20.0, edges=True),
    "all, 30 % triggers missed": replace(HARD, miss_triggers=0.3, edges=True),
    "all, half the lines lost": replace(HARD, lose_lines=0.5, edges=True),
    "all, 5 % in stalls": replace(HARD, stalls=0.05, lose_whole=0.02, edges=True),
    "all, frames 5 ms late": replace(HARD, busy_s=0.005, skip_exposures=0.3, edges=True),
    "all, frames 20 ms late": replace(HARD, busy_s=0.02, skip_exposures=0.3, edges=True),
    "all, frames 50 ms late": replace(HARD, busy_s=0.05, skip_exposures=0.3, edges=True),
    "anything": None,
}
LENGTHS_S = (10, 10, 20, 30, 60)


def trial(condition: Session | None, sessions: int, seconds: float | None) -> tuple[Count, Counter[str], float]:
    """Rows of `sessions` sessions, their verdicts, and the seconds one alignment took at most."""
    total, verdicts, slowest_s = Count(), Counter[str](), 0.0
    for seed in range(sessions):
        if condition is None:
            session = anything(seed)
        else:
            session = with_seed(replace(condition, seconds=seconds or LENGTHS_S[seed % len(LENGTHS_S)]), seed)
        truth = play(session)
        with tempfile.TemporaryDirectory() as root:
            folder = write(session, truth, Path(root))
            begin = time.perf_counter()
            table, report = alignment_of(folder)
            slowest_s = max(slowest_s, time.perf_counter() - begin)
        total += compare(session, truth, table)
        verdicts[report.verdict] += 1
    return total, verdicts, slowest_s


def main() -> None:
    """Print one line a condition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conditions", nargs="*", help=f"some of: {', '.join(CONDITIONS)}")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seconds", type=float, help="length of every session; otherwise 10 to 60 s")
    order = parser.parse_args()
    print(
        f"{'condition':27s} {'rows':>8s} {'wrong':>6s} {'lost':>5s} {'ambiguous':>10s} {'picture off':>11s}  slowest  verdicts"
    )
    for name in order.conditions or CONDITIONS:
        count, verdicts, slowest_s = trial(CONDITIONS[name], order.sessions, order.seconds)
        wrong, off = count.wrong_radar + count.wrong_camera, count.color_off / max(count.ok, 1)
        print(
            f"{name:27s} {count.rows:8d} {wrong:6d} {count.unmatched:5d} {count.ambiguous / count.rows:10.3%} {off:11.1%} "
            f"{slowest_s:7.3f}s  {dict(verdicts)}",
            flush=True,
        )


if __name__ == "__main__":
    main()

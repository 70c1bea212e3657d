"""How fast pictures are taken: colour and depth with noise of people in a furnished room, on one core.

    python -m benchmarks.render              # 640 x 480, the D455's colour stream, half a minute
    python -m benchmarks.render --seconds 5  # a quick look

Beside it, what any program that delivers such a picture must do at least: copy the empty room and write the result
(`backdrop alone`), and the sensor's noise without anybody in the room. Contenders take turns.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capture.simulator.actions import perform
from capture.simulator.bystander import Area, Obstacle, bystander
from capture.simulator.camera import D455_1280X720, Camera
from capture.simulator.motion import placed
from capture.simulator.person import person
from capture.simulator.render import Renderer, posed
from capture.simulator.room import lab_room


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="time to measure for")
    options = parser.parse_args()
    near = placed(perform("arm-swing", person(3), 1, 60.0), 2.5)
    area = Area(-1.2, 1.2, 1.2, 4.0)
    other = bystander(person(9001), area, 1, 60.0, obstacles=(Obstacle(0.0, 2.5, 0.6),))
    small, large = Renderer(Camera(), lab_room(1), 1), Renderer(Camera(D455_1280X720), lab_room(1), 1)
    room = np.zeros((480, 640, 3), np.float32), np.zeros((480, 640), np.float32)

    def shown(renderer: Renderer, motions: list, k: int) -> None:
        renderer.render([posed(motion, 1.0 + k / 10) for motion in motions], 1.0 + k / 10)

    contenders = {
        "640 x 480, one person": lambda k: shown(small, [near], k),
        "640 x 480, person and bystander": lambda k: shown(small, [near, other], k),
        "640 x 480, nobody (sensor alone)": lambda k: shown(small, [], k),
        "1280 x 720, one person": lambda k: shown(large, [near], k),
        "(backdrop alone: copy light and depth, write 8 and 16 bits)": lambda k: (
            room[0].copy().astype(np.uint8),
            room[1].copy().astype(np.uint16),
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for make in contenders.values():
        make(0)
    end, number = time.monotonic() + options.seconds, 0
    while time.monotonic() < end or number < 3:
        for name, make in contenders.items():
            start = time.perf_counter()
            make(number % 500)
            spent[name].append(time.perf_counter() - start)
        number += 1
    print("| pictures, one core | ms (median) | ms (best) | frames/s |\n|---|---|---|---|")
    for name, times in spent.items():
        median = float(np.median(times))
        print(f"| {name} | {median * 1e3:.1f} | {min(times) * 1e3:.1f} | {1 / median:.0f} |")


if __name__ == "__main__":
    main()

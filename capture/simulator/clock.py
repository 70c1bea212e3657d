"""One true time for the whole simulated rig, and a clock of its own for every device on it."""

import threading
import time
from dataclasses import dataclass

from pipeline.errors import PipelineError


@dataclass(frozen=True)
class DeviceClock:
    """What a device's own clock reads: `offset_s` away from true time, `drift_ppm` too fast (positive) or too slow."""

    offset_s: float = 0.0
    drift_ppm: float = 0.0

    @property
    def rate(self) -> float:
        """Device seconds a true second."""
        return 1 + self.drift_ppm * 1e-6

    def reading_s(self, true_s: float) -> float:
        """What the device's clock shows at true time `true_s`."""
        return self.offset_s + true_s * self.rate

    def true_s(self, reading_s: float) -> float:
        """The true time at which the device's clock shows `reading_s`."""
        return (reading_s - self.offset_s) / self.rate

    def true_duration_s(self, device_s: float) -> float:
        """How long `device_s` of this device's seconds really take."""
        return device_s / self.rate


class RigClock:
    """True time of the simulated rig, in seconds since it was made; runs `speed` times as fast as the wall's.

    With `speed` 0 nobody waits: time jumps to whatever is waited for.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not speed >= 0:
            raise PipelineError(f"A simulated rig cannot run at speed {speed}; 1 is real time, 0 as fast as it goes.")
        self.speed = speed
        self._origin_s = time.monotonic()
        self._reached_s = 0.0

    @property
    def origin_monotonic_s(self) -> float:
        """The host's monotonic clock at true time 0."""
        return self._origin_s

    def now_s(self) -> float:
        """True time now."""
        if self.speed:
            return (time.monotonic() - self._origin_s) * self.speed
        return self._reached_s

    def wait_until(self, true_s: float, wake: threading.Condition) -> None:
        """Sleep until `true_s`, or until somebody notifies `wake`, which the caller holds."""
        if not self.speed:
            self._reached_s = max(self._reached_s, true_s)
            return
        left_s = self._origin_s + true_s / self.speed - time.monotonic()
        if left_s > 0:
            wake.wait(left_s)

    def patience_s(self, device_s: float) -> float:
        """Wall seconds of a time-out of `device_s` that waits for the host, whom nothing hurries at speed 0."""
        return device_s / (self.speed or 1.0)

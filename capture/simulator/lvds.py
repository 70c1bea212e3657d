"""From a sensorStart to samples: when each frame begins, and its words, made ahead of time in a thread of their own."""

import queue
import threading

import numpy as np
from jaxtyping import Int16

from capture.simulator.clock import DeviceClock
from capture.simulator.echoes import EchoSynthesiser, frame_start_s
from capture.simulator.impairments import IDEAL, Impairments
from capture.simulator.scene import Scene
from pipeline.waveform import Waveform

_AHEAD = 3  # frames made before they are due


class RadarRun:
    """What one sensorStart set going: frames by the radar's own clock, or one for each accepted trigger pulse.

    The scene's time is 0 at the first frame, so a run shows exactly what `simulate_frames` computes; `scene_zero_s` says
    when that is. `wake` is notified when something changes; hold it when calling.
    """

    def __init__(
        self, number: int, waveform: Waveform, start_s: float, clock: DeviceClock, wake: threading.Condition
    ) -> None:
        self.number, self.waveform, self.start_s, self.wake = number, waveform, start_s, wake
        self.missed_pulses = 0
        self._clock = clock
        self._stopped_s: float | None = None
        self._pulses: list[float] = []
        self._seen: set[float] = set()

    @property
    def scene_zero_s(self) -> float | None:
        """True time of the scene's time 0; None before the first trigger pulse."""
        if self.waveform.trigger == "hardware":
            return self._pulses[0] if self._pulses else None
        return self.start_s

    def scene_s(self, index: int) -> float:
        """Scene time at which frame `index` begins."""
        if self.waveform.trigger == "hardware":
            return self._pulses[index] - self._pulses[0]
        return frame_start_s(self.waveform, index, self._clock)

    def frame_start_s(self, index: int) -> float | None:
        """True time at which frame `index` begins; None while its trigger pulse has not come."""
        if self.waveform.trigger == "hardware":
            return self._pulses[index] if index < len(self._pulses) else None
        return self.start_s + self.scene_s(index)

    def chirps_end_s(self, count: int) -> float:
        """True seconds from a frame's start until `count` chirps are over."""
        return self._clock.true_duration_s(count * self.waveform.chirp_period_s)

    def over(self, index: int) -> bool:
        """Whether frame `index` will never come: all are sent, or the radar was stopped before it began."""
        if self.waveform.frames and index >= self.waveform.frames:
            return True
        start_s = self.frame_start_s(index)
        return self._stopped_s is not None and (start_s is None or start_s > self._stopped_s)

    def stop(self, true_s: float) -> None:
        """sensorStop: the frame under way is finished, no other begins."""
        self._stopped_s = true_s
        self.wake.notify_all()

    def pulse(self, true_s: float) -> None:
        """A rising edge on SYNC_IN at `true_s`; missed while the programmed frame period since the last one is not over.

        It may be told before it comes, so that its frame is made in time, and again when it comes.
        """
        if true_s in self._seen:
            return
        self._seen.add(true_s)
        period_s = self._clock.true_duration_s(self.waveform.frame_period_s)
        if self._pulses and true_s - self._pulses[-1] <= period_s:
            self.missed_pulses += 1
            return
        self._pulses.append(true_s)
        self.wake.notify_all()

    def no_pulse_after(self, true_s: float) -> None:
        """Pulses told of for later than `true_s` will not come."""
        self._pulses = [pulse_s for pulse_s in self._pulses if pulse_s <= true_s]
        self._seen = {pulse_s for pulse_s in self._seen if pulse_s <= true_s}
        self.wake.notify_all()


class FrameMaker:
    """Makes a run's frames from `first` on, a few ahead of when they are due. `close` it."""

    def __init__(self, run: RadarRun, scene: Scene, seed: int, first: int, impairments: Impairments = IDEAL) -> None:
        self.run = run
        self._echoes = EchoSynthesiser(scene, run.waveform, seed + run.number, impairments=impairments)
        self._made: queue.Queue[tuple[float, Int16[np.ndarray, " word"]] | BaseException] = queue.Queue(_AHEAD)
        self._making = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._make, args=(first,), name="frame-maker", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether the next frame can be had without waiting."""
        return not self._made.empty()

    def next(self, index: int) -> Int16[np.ndarray, " word"]:
        """The words of frame `index`, the next one; raises what went wrong while making it."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        made_for_s, words = made
        with self.run.wake:
            scene_s = self.run.scene_s(index)
        if made_for_s == scene_s:
            return words
        with self._making:  # the pulse it was made for never came; another one did
            return self._echoes.frame(index, scene_s)

    def close(self) -> None:
        """Stop making frames."""
        self._closed = True
        while self._thread.is_alive():
            while not self._made.empty():
                self._made.get_nowait()
            self._thread.join(0.01)

    def _make(self, first: int) -> None:
        index = first
        try:
            while not self._closed:
                with self.run.wake:
                    while not self._closed and not self.run.over(index) and self.run.frame_start_s(index) is None:
                        self.run.wake.wait(0.1)
                    if self._closed or self.run.over(index):
                        return
                    scene_s = self.run.scene_s(index)
                with self._making:
                    words = self._echoes.frame(index, scene_s)
                self._made.put((scene_s, words))
                index += 1
        except BaseException as error:  # handed to whoever asks for the frame
            self._made.put(error)


def warm_up(scene: Scene) -> None:
    """Compile the echo kernels, so that no frame waits for it."""
    waveform = Waveform(
        name="warm-up",
        start_frequency_ghz=77,
        idle_time_us=10,
        adc_start_time_us=6,
        ramp_end_time_us=40,
        slope_mhz_per_us=60,
        samples=16,
        sample_rate_ksps=4000,
        tx_order=(1,),
        loops=2,
        period_ms=10,
    )
    EchoSynthesiser(scene, waveform).frame(0, 0.0)

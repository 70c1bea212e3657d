"""The trigger board and the camera of a session: what the radar is recorded with, and goes on without.

Whatever ails them is a sentence in `notes` or `warnings`; nothing of it is raised into a recording.
"""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from capture.camera_process import CameraProcess
from capture.firmware.schedule import left_out
from capture.rig import RigWires
from capture.trigger import TriggerClient
from capture.trigger_recorder import TriggerRecorder
from pipeline.cfg_text import RadarConfig, with_hardware_trigger
from pipeline.errors import PipelineError
from pipeline.recording import amend_manifest, read_recording
from pipeline.settings import RigSettings

PROGRAMMED_SHARE = 0.97
"""Of the pulses' period that the radar is programmed for: a pulse within the programmed period is missed (hardware.md 2)."""


@contextlib.contextmanager
def connected_board(settings: RigSettings, wires: RigWires, notes: list[str]) -> Iterator[TriggerClient | None]:
    """The rig's trigger board, set up and silent; None without one, and then `notes` says why unless none was meant."""
    if wires.trigger_port is None:
        yield None
        return
    client = TriggerClient(wires.trigger_port)
    try:
        client.connect()
        client.stop()
        client.configure(settings.trigger)
    except PipelineError as error:
        client.close()
        notes.append(f"{error} The radar runs by its own clock; pictures are matched by this machine's.")
        yield None
        return
    try:
        yield client
    finally:
        with contextlib.suppress(PipelineError):
            client.stop()
        client.close()


def triggered(config: RadarConfig) -> tuple[RadarConfig, float]:
    """The configuration for a radar that waits for pulses, and the pulses' rate, Hz: that of its frames."""
    if config.waveform.trigger == "hardware":
        return config, round(PROGRAMMED_SHARE * 1000 / config.waveform.period_ms, 3)
    period_ms = config.waveform.period_ms
    return with_hardware_trigger(config, round(PROGRAMMED_SHARE * period_ms, 2)), round(1000 / period_ms, 3)


def left_out_of(hz: float, pulses: int) -> list[int]:
    """The pulse numbers that the gap signature leaves out."""
    return [number for number in range(pulses) if left_out(number, round(1000 * hz))]


class Companions:
    """Board and camera while a recording into `folder` lasts. `close` ends both; what they came to is then in
    `counters` and `notes`.
    """

    def __init__(
        self, root: Path, folder: Path, settings: RigSettings, wires: RigWires, client: TriggerClient | None
    ) -> None:
        self.counters: dict[str, int] = {}
        self.notes: list[str] = []
        self._root, self._folder, self._settings, self._wires = root, folder, settings, wires
        self._client = client
        self._camera: CameraProcess | None = None
        self._board: TriggerRecorder | None = None
        self._stack = contextlib.ExitStack()

    @property
    def present(self) -> bool:
        """Whether there is anything besides the radar."""
        return self._camera is not None or self._board is not None

    def open(self) -> None:
        """Start the camera, and listen to the board."""
        if self._settings.camera.source != "none":
            camera = CameraProcess(
                self._folder,
                self._settings.camera,
                self._wires.simulated_camera,
                root=self._root,
                reserve_bytes=self._settings.reserve_bytes,
            )
            try:
                amend_manifest(self._folder, camera=camera.start())
                self._camera = camera
            except PipelineError as error:
                self.notes.append(f"{error} The radar was recorded without pictures.")
        if self._client is not None:
            every_s = 1.0 / max(self._wires.speed, 1.0)
            self._board = self._stack.enter_context(
                TriggerRecorder(self._client, self._folder, ping_every_s=every_s, resume=True)
            )

    def start_pulses(self, hz: float, pulses: int) -> None:
        """Let the board pulse; PipelineError when it refuses."""
        assert self._client is not None
        run = 1 + secrets.randbelow(2**31)  # another number for another recording, whatever the clock says
        self._client.start(hz, pulses, run, self._settings.trigger.signature)
        facts = {
            "port": self._client.port,
            "firmware": self._client.identity.firmware if self._client.identity else "",
            "hz": hz,
            "pulses": pulses,
            "run": run,
            "signature": self._settings.trigger.signature,
        }
        rig = {**read_recording(self._folder).manifest.rig, "trigger": facts}
        amend_manifest(self._folder, pulse_rate_hz=hz, rig=rig)

    def progress(self) -> dict[str, object]:
        """Fields of `RecorderProgress`."""
        warnings, fields = list(self.notes), {}
        if self._board is not None:
            fields["pulses"] = self._board.counters()["pulses"]
            warnings += [self._board.problem] if self._board.problem else []
        if self._camera is not None:
            camera = self._camera.progress()
            fields |= {"color_frames": camera.color_frames, "depth_frames": camera.depth_frames}
            warnings += [camera.problem] if camera.problem else []
        return {**fields, "warnings": tuple(warnings)}

    @property
    def board_problem(self) -> str:
        """What is wrong with the board just now, as a sentence; empty where nothing is, or there is none."""
        return (self._board.problem or "") if self._board is not None else ""

    def close(self) -> None:
        """End both and keep what they say."""
        if self._board is not None:
            with contextlib.suppress(PipelineError):
                if self._client is not None:
                    self._client.stop()
            self._stack.close()
            self.counters |= {f"trigger_{name}": count for name, count in self._board.counters().items()}
            self.notes += self._board.notes()
        if self._camera is not None:
            result = self._camera.stop()
            self.counters |= result.counters
            self.notes += [*([result.sentence] if not result.ok else []), *result.notes]
            if result.description is not None:
                amend_manifest(self._folder, camera=result.description)

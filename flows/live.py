"""`maepose live`: frames of a running capture, or of a recording again, to poses on a screen. No Prefect in here."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16

from flows.live_display import Picture, Terminal, Video, live_picture, save_picture
from flows.live_frames import ArrivedFrame, await_recording, frames_being_made, frames_replayed, running_recording
from models.checkpoints import load_model
from models.config import ClipConfig, Modality
from models.live import FrameScaler, LivePose
from pipeline.cube_config import PRESETS, CubeConfig
from pipeline.errors import PipelineError
from pipeline.recording import Recording, open_recording
from processing.transform import Frame, FrameTransform


@dataclass
class LiveTimes:
    """What a session came to, and how long its parts took, one value a frame or pose, milliseconds.

    `latency_ms` runs from the arrival of a frame's last packet (replay: the moment it was due) to its pose on the screen.
    """

    recording: str
    simulated: bool
    frames: int = 0
    frames_with_loss: int = 0
    frames_skipped: int = 0
    poses: int = 0
    latency_ms: list[float] = field(default_factory=list)
    transform_ms: list[float] = field(default_factory=list)
    network_ms: list[float] = field(default_factory=list)
    display_ms: list[float] = field(default_factory=list)
    pose_times_s: list[float] = field(default_factory=list)

    @property
    def poses_per_s(self) -> float:
        """Over the time from the first pose to the last; 0 with fewer than two."""
        if len(self.pose_times_s) < 2:
            return 0.0
        return (len(self.pose_times_s) - 1) / (self.pose_times_s[-1] - self.pose_times_s[0])

    def rows(self) -> dict[str, object]:
        """What to tell: medians, and the 95th percentile of what a viewer feels."""
        return {
            "recording": self.recording,
            "simulated": self.simulated,
            "frames": self.frames,
            "frames_with_loss": self.frames_with_loss,
            "frames_skipped": self.frames_skipped,
            "poses": self.poses,
            "poses_per_s": round(self.poses_per_s, 2),
            "latency_ms": _percentile(self.latency_ms, 50),
            "latency_95_ms": _percentile(self.latency_ms, 95),
            "transform_ms": _percentile(self.transform_ms, 50),
            "network_ms": _percentile(self.network_ms, 50),
            "display_ms": _percentile(self.display_ms, 50),
        }


def live(
    root: Path,
    model: Path,
    recording_id: str | None = None,
    *,
    replay: bool = False,
    seconds: float | None = None,
    terminal: bool = False,
    video: Path | None = None,
    picture: Path | None = None,
    device: str = "cpu",
    on_start: Callable[[str], None] | None = None,
) -> LiveTimes:
    """Follow a capture (None: the one that is running) or replay a recording, until it ends or for `seconds`.

    Shown in the terminal, written as a video, and the last pose's picture as a PNG, whichever are asked for. A frame that lost
    bytes begins a new clip. Where frames come faster than they can be shown, the network is spared the older ones; where they
    come faster than they can be transformed, frames are left out and a new clip begins. Ctrl-C ends it like the end of the
    capture. Raises PipelineError when nothing is running, when the model and the waveform do not fit, and when no frame came.
    """
    network, card = load_model(model, "pose")
    clip = card.clip
    poses = LivePose(network, clip, device)
    if replay:
        if recording_id is None:
            raise PipelineError("Name the recording to replay; `maepose list` names those there are.")
        recording = open_recording(root, recording_id)
    else:
        recording = await_recording(root, running_recording(root, recording_id))
    step = FrameStep(recording, clip)
    poses.warm_up()
    if on_start is not None:
        on_start(recording.id)
    until = time.monotonic() + seconds if seconds is not None else None
    over = lambda: until is not None and time.monotonic() >= until  # noqa: E731
    arriving = frames_replayed(recording, over) if replay else frames_being_made(root, recording, over)
    times = LiveTimes(recording.id, recording.manifest.simulated)
    shown: Picture | None = None
    begin_s = time.monotonic()
    with ExitStack() as stack:
        screen = stack.enter_context(Terminal()) if terminal else None
        film = stack.enter_context(Video(video)) if video is not None else None
        for frame in _until_interrupted(arriving):
            times.frames += 1
            if frame.missing_bytes or frame.waiting > 2 * clip.frames:
                times.frames_with_loss += bool(frame.missing_bytes)
                times.frames_skipped += not frame.missing_bytes
                poses.forget()
                continue
            started = time.perf_counter()
            maps = step(frame.words)
            poses.push(maps)
            times.transform_ms.append(_since_ms(started))
            if frame.waiting:
                times.frames_skipped += 1
                continue
            started = time.perf_counter()
            pose = poses.pose()
            if pose is not None:
                times.network_ms.append(_since_ms(started))
            started = time.perf_counter()
            at_s = time.monotonic() - begin_s
            head = _head(recording, frame, poses, times)
            if screen is not None or film is not None or picture is not None:
                shown = live_picture(maps, pose, head, far_first=step.far_first)
                if screen is not None:
                    screen.show(shown, head)
                if film is not None:
                    film.show(shown, at_s)
            if pose is not None:
                times.display_ms.append(_since_ms(started))
                times.latency_ms.append((time.monotonic_ns() - frame.at_ns) / 1e6)
                times.pose_times_s.append(time.monotonic())
                times.poses += 1
    if not times.frames:
        raise PipelineError(f"No whole radar frame of {recording.id} came, so there was nothing to show.")
    if picture is not None and shown is not None:
        save_picture(shown, picture)
    return times


class FrameStep:
    """One frame of samples -> its maps as the network sees them, by the same transform and scaling as stored cubes."""

    def __init__(self, recording: Recording, clip: ClipConfig) -> None:
        config: CubeConfig = PRESETS[clip.cube].model_copy(update={"products": tuple(sorted(clip.modalities))})
        self._transform = FrameTransform(recording.waveform, config)
        self._buffer = self._transform.empty_frame()
        self._scaler = FrameScaler(recording.id, clip, config, self._transform.axes())
        self.far_first = config.flip_range
        # Compiles what there is to compile, and says that the model was made for another waveform, before the first frame.
        self(np.zeros(recording.waveform.frame_bytes // 2, np.int16))

    def __call__(self, words: Int16[np.ndarray, " word"]) -> dict[Modality, Float32[np.ndarray, "row column"]]:
        """Maps 0 to 1 by modality."""
        made: Frame = self._transform(words, None, self._buffer)
        return self._scaler({name: getattr(made, name) for name in self._transform.config.products})


def _until_interrupted(frames: Iterator[ArrivedFrame]) -> Iterator[ArrivedFrame]:
    try:
        yield from frames
    except KeyboardInterrupt:
        return


def _head(recording: Recording, frame: ArrivedFrame, poses: LivePose, times: LiveTimes) -> str:
    simulated = "SIMULATED · " if recording.manifest.simulated else ""
    held = poses.frames_held
    state = f"latency {times.latency_ms[-1]:.0f} ms" if times.latency_ms else f"{held} of {poses.clip.frames} frames"
    return f"{simulated}{recording.id} · frame {frame.index} · {state}"


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3


def _percentile(values: list[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 1) if values else None

"""Poses while a recording is being made: maps as they come, the last clip of them, a pose from that."""

from collections import deque
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from models.config import ClipConfig, Modality
from models.maps import MapReader
from models.predicting import Pose, poses_of
from pipeline.cube import Cube
from pipeline.cube_commit import CommitMarker
from pipeline.cube_config import CubeConfig
from pipeline.cube_layout import CubeAxes, Product
from pipeline.errors import PipelineError


class FrameCube(Cube):
    """A cube of one frame that is in memory, not in a store: what `MapReader` reads of a cube, it reads of this.

    `maps` (range, Doppler or azimuth) are linear power, or [0, 1] with `config.frame_minmax`, as a frame's transform gives them.
    """

    maps: dict[Product, Float32[np.ndarray, "range bin"]]

    def __init__(self, name: str, config: CubeConfig, axes: CubeAxes) -> None:
        super().__init__(Path(), CommitMarker(recording=name, key="", frames=1, committed_utc="", files={}))
        vars(self).update(config=config, axes=axes, valid=np.ones(1, bool), maps={})

    def _decoded(self, name: Product, frames: int | slice) -> Float32[np.ndarray, "frame range bin"]:
        return self.maps[name][None]


class FrameScaler(MapReader):
    """Cuts and scales frames that just came exactly as `MapReader` does those of a cube. Raises PipelineError as that does."""

    def __init__(self, name: str, clip: ClipConfig, config: CubeConfig, axes: CubeAxes) -> None:
        super().__init__(Path(), name, clip)
        self._frame = FrameCube(name, config, axes)

    def opened(self) -> Cube:
        """The frame at hand, in place of a store."""
        return self._frame

    def __call__(
        self, maps: dict[Product, Float32[np.ndarray, "range bin"]]
    ) -> dict[Modality, Float32[np.ndarray, "row column"]]:
        """Maps of one frame as the network sees them."""
        self._frame.maps.update(maps)
        return {name: self.scaled(name, 0, 1)[0] for name in self.clip.modalities}


class LivePose:
    """Keeps the maps of the last `clip.frames` frames and says the pose of the newest.

    A frame that lost bytes, or frames left out, begin a new clip: `forget`.
    """

    def __init__(self, network: nn.Module, clip: ClipConfig, device: str = "cpu") -> None:
        if clip.targets[-1] != clip.frames - 1:
            raise PipelineError(
                f"This model predicts frame {clip.targets[-1]} of {clip.frames}, not the newest; live needs one that does."
            )
        self.clip, self.device = clip, device
        self.network = network.to(device).eval()
        self._rings: dict[Modality, deque[Float32[np.ndarray, "row column"]]] = {
            name: deque(maxlen=clip.frames) for name in clip.modalities
        }

    @property
    def frames_held(self) -> int:
        """Frames of the current clip, up to `clip.frames`."""
        return len(next(iter(self._rings.values())))

    def push(self, maps: dict[Modality, Float32[np.ndarray, "row column"]]) -> None:
        """The next frame's scaled maps."""
        for name, ring in self._rings.items():
            ring.append(maps[name])

    def forget(self) -> None:
        """What comes next does not follow on what was."""
        for ring in self._rings.values():
            ring.clear()

    def warm_up(self) -> None:
        """One pose of nothing, so that the first real one takes no longer than the others."""
        for _ in range(self.clip.frames):
            self.push({name: np.zeros(self.clip.map_shape(name), np.float32) for name in self._rings})
        self.pose()
        self.forget()

    def pose(self) -> Pose | None:
        """The pose of the newest frame; None until a whole clip is held."""
        if self.frames_held < self.clip.frames:
            return None
        clips: dict[Modality, Tensor] = {
            name: torch.from_numpy(np.stack(ring))[None, None] for name, ring in self._rings.items()
        }
        return poses_of(self.network, clips, self.device)[0]

"""Everything that is made from a sealed recording, in order: cube, quality report, pictures. No Prefect in here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cube import MARKER, open_cube
from pipeline.cube_config import CubeConfig, preset
from pipeline.errors import PipelineError
from pipeline.recording import Recording, open_recording, recordings_folder
from pipeline.sync import read_sync
from processing.cubes import CubeResult, cube_status, process_recording
from processing.pictures import draw_frame, draw_overview, liveliest_frame
from processing.quality import QualityReport, make_quality, quality_path
from processing.quality_picture import draw_quality
from processing.sync_picture import draw_sync


@dataclass(frozen=True)
class Products:
    """What was made from one recording; `frames_per_s` is the pace of transform and writing, 0 where nothing was made."""

    recording: Recording
    cube: CubeResult
    quality: QualityReport
    pictures: tuple[Path, ...]
    frames_per_s: float

    def rows(self) -> dict[str, Any]:
        """What a person wants to know first."""
        made = f"{self.cube.frames_made} of {self.cube.frames} frames made in {self.cube.seconds:.1f} s"
        return {
            "recording": self.recording.id,
            "simulated": self.recording.manifest.simulated,
            "cube": str(self.cube.path),
            "frames": self.cube.frames,
            "frames_with_loss": self.cube.frames_with_loss,
            "made": made if self.cube.rebuilt else "nothing to do: the cube is current",
            "frames_per_s": round(self.frames_per_s, 1),
            "quality": self.quality.verdict,
        }


def make_products(
    root: Path,
    recording_id: str,
    config: CubeConfig,
    *,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Products:
    """Cube, quality report and pictures of a recording; what is current already is left alone unless `force`."""
    recording = open_recording(root, recording_id)
    moments: list[float] = []

    def progress(done: int, frames: int) -> None:
        moments.append(time.perf_counter())
        if on_progress is not None:
            on_progress(done, frames)

    cube = process_recording(recording, root, config, force=force, on_progress=progress)
    quality = make_quality(recording, root, force=force)
    pictures = draw_pictures(root, recording_id, quality)
    # From the first frame on: before it, a fresh machine compiles the kernels once.
    pace = (len(moments) - 1) / (moments[-1] - moments[0]) if len(moments) > 1 else 0.0
    return Products(recording, cube, quality, pictures, pace)


def draw_pictures(root: Path, recording_id: str, quality: QualityReport) -> tuple[Path, ...]:
    """PNGs of a recording in `<root>/pictures/<id>/`: overview, liveliest frame, quality; redrawn where older than their source.

    Raises PipelineError when there is no cube.
    """
    cube = open_cube(root, recording_id)
    folder = root / "pictures" / recording_id
    sheets: dict[str, tuple[Path, Callable[[Path], Path]]] = {
        "overview.png": (cube.path / MARKER, lambda path: draw_overview(cube, path)),
        "frame.png": (cube.path / MARKER, lambda path: draw_frame(cube, liveliest_frame(cube), path)),
        "quality.png": (quality_path(root, recording_id), lambda path: draw_quality(quality, path)),
    }
    sync = recordings_folder(root) / recording_id / "sync.parquet"
    if sync.exists():
        sheets["sync.png"] = (
            sync,
            lambda path: draw_sync(*read_sync(sync.parent), path, recording=recording_id, simulated=cube.simulated),
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (source, draw) in sheets.items():
            path = folder / name
            if not path.exists() or path.stat().st_mtime_ns < source.stat().st_mtime_ns:
                draw(path)
    except OSError as error:
        raise PipelineError(f"Pictures cannot be written to {folder}: {error.strerror}.") from error
    return tuple(folder / name for name in sheets)


def config_for(root: Path, recording_id: str, preset_name: str | None) -> CubeConfig:
    """The configuration to (re)build a cube with: the preset asked for, else its own, else the default.

    A cube keeps the configuration it was made with, so a night's reprocessing never turns a `paper` cube into another one.
    """
    if preset_name is not None:
        return preset(preset_name)
    try:
        return open_cube(root, recording_id).config
    except PipelineError:
        return preset("default")


def needs_work(root: Path, recording_id: str, preset_name: str | None) -> str:
    """Why the cube of a recording must be made (`missing`, `stale`, `damaged`), or an empty string when it need not."""
    recording = open_recording(root, recording_id)
    status = cube_status(root, recording, config_for(root, recording_id, preset_name))
    return "" if status == "current" else status

"""Everything that is made from a sealed recording, in order: cube, quality report, pictures. No Prefect in here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cube import MARKER, Cube, open_cube, stored_config
from pipeline.cube_config import CubeConfig, preset
from pipeline.errors import PipelineError
from pipeline.labels import read_labels
from pipeline.made_from import is_made_from, note_made_from
from pipeline.provenance import sha256_file
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

    @property
    def can_be_labelled(self) -> bool:
        """True for a recording whose frames were matched with a camera's pictures."""
        return self.recording.manifest.camera is not None and (self.recording.folder / "sync.parquet").exists()

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
    on_rebuilt: Callable[[CubeResult], None] | None = None,
    threads: int | None = None,
    lock_wait_s: float = 0.0,
) -> Products:
    """Cube, quality report and pictures of a recording; what is current already is left alone unless `force`.

    `on_rebuilt` is called as soon as a new cube is in place, and is told what became otherwise in it.
    `threads` and `lock_wait_s` as in `process_recording`.
    """
    recording = open_recording(root, recording_id)
    moments: list[float] = []

    def progress(done: int, frames: int) -> None:
        moments.append(time.perf_counter())
        if on_progress is not None:
            on_progress(done, frames)

    compare = on_rebuilt is not None
    cube = process_recording(
        recording,
        root,
        config,
        force=force,
        compare=compare,
        on_progress=progress,
        threads=threads,
        lock_wait_s=lock_wait_s,
    )
    if cube.rebuilt and on_rebuilt is not None:
        on_rebuilt(cube)
    quality = make_quality(recording, root, force=force)
    pictures = draw_pictures(root, recording_id, quality, force=force)
    # From the first frame on: before it, a fresh machine compiles the kernels once.
    pace = (len(moments) - 1) / (moments[-1] - moments[0]) if len(moments) > 1 else 0.0
    return Products(recording, cube, quality, pictures, pace)


def draw_pictures(root: Path, recording_id: str, quality: QualityReport, *, force: bool = False) -> tuple[Path, ...]:
    """PNGs of a recording in `<root>/pictures/<id>/`: overview, liveliest frame, quality; redrawn where their source is another
    or `force` is set.

    With alignment and labels also those of them; of labels only where labelling has drawn it before.

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
    if (folder / "instant.png").exists():  # labelling made it; it shows the cube too
        sheets["instant.png"] = (cube.path / MARKER, lambda path: _draw_instant_again(root, cube, path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (source, draw) in sheets.items():
            path = folder / name
            digest = sha256_file(source)
            if force or not is_made_from(path, digest):
                draw(path)
                if path.exists():
                    note_made_from(path, digest)
    except OSError as error:
        raise PipelineError(f"Pictures cannot be written to {folder}: {error.strerror}.") from error
    return tuple(folder / name for name in sheets if (folder / name).exists())


def _draw_instant_again(root: Path, cube: Cube, path: Path) -> Path:
    """One instant with the cube there is now; removed where that cannot be drawn, because it shows another cube."""
    from processing.instant_picture import draw_instant

    try:
        return draw_instant(open_recording(root, cube.recording), cube, read_labels(root, cube.recording), path)
    except PipelineError:
        path.unlink()
        return path


def config_for(root: Path, recording_id: str, preset_name: str | None) -> CubeConfig:
    """The configuration to (re)build a cube with: the preset asked for, else its own, else the default.

    A cube keeps the configuration it was made with, damaged or not, so a night's reprocessing never turns a `paper` cube into
    another one. PipelineError where it was made with one that this version does not know.
    """
    if preset_name is not None:
        return preset(preset_name)
    return stored_config(root, recording_id) or preset("default")


def needs_work(root: Path, recording_id: str, preset_name: str | None) -> str:
    """Why the cube of a recording must be made (`missing`, `stale`, `damaged`), or an empty string when it need not."""
    recording = open_recording(root, recording_id)
    status = cube_status(root, recording, config_for(root, recording_id, preset_name))
    if status == "damaged" and preset_name is None and stored_config(root, recording_id) is None:
        return "damaged, and what it was made with is lost: made the default way"
    return "" if status == "current" else status

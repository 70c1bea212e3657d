"""What nights of reprocessing did, on disk, so that a night cut short is told of in the next one's summary. No Prefect in here.

nights/going-on.jsonl     one line a recording, written when it is done
nights/<UTC>.jsonl        the same, once its summary was shown
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.products import Products, config_for, make_products, needs_work
from pipeline.cube import open_cube
from pipeline.errors import PipelineError
from pipeline.files import sync_folder, write_atomic
from pipeline.predictions import predictions_of_other_cubes
from pipeline.recording import read_recording, recordings_folder
from processing.cube_changes import CubeChange
from processing.cubes import CubeResult, has_leftovers, process_recording


class NightRow(BaseModel):
    """What a night did to one recording that needed work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recording: str
    why: str = Field(description="missing, stale, damaged; or that it could not be read")
    simulated: bool = False
    made: bool = Field(False, description="a new cube is in place")
    frames_made: int = Field(0, description="fewer than it has where a night that was cut short had made some")
    failed: str = Field("", description="what went wrong; unless `made`, what was there before is still there")
    change: CubeChange | None = Field(None, description="None: there was no cube before, or nothing was made")
    other_predictions: tuple[str, ...] = Field(
        (), description="models whose predictions were made from another cube than there is now"
    )
    done_utc: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def done(self) -> str:
        """A few words for a table."""
        return f"failed: {self.failed}" if self.failed else f"{self.frames_made} frames made"


class Night:
    """The rows of a night that is going on; `earlier` are those of nights that were cut short, told of nowhere yet."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "going-on.jsonl"
        self.earlier = _read(self._file)
        self.rows: dict[str, NightRow] = {}
        if self._file.exists():  # without what a machine that died had half written
            write_atomic(self._file, "".join(row.model_dump_json() + "\n" for row in self.earlier.values()))

    def add(self, row: NightRow) -> None:
        """Note what was done to a recording, durably; the last word on each counts."""
        self.rows[row.recording] = row
        with self._file.open("a") as file:
            file.write(row.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def told_rows(self) -> list[NightRow]:
        """Every row the summary tells of, earlier ones first; what failed earlier and was tried again is told once."""
        earlier = self.earlier.values()
        return [row for row in earlier if not (row.failed and row.recording in self.rows)] + list(self.rows.values())

    def told(self) -> None:
        """The summary is where people see it: keep the rows under the time of this night."""
        if not self._file.exists():
            return
        name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._file.replace(self._folder / f"{name}.jsonl")
        sync_folder(self._folder)


@contextmanager
def night(root: Path) -> Iterator[Night | None]:
    """One night at a time on a data root; None where another run is at it. The lock goes with its process, however that ends."""
    folder = root / "nights"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise PipelineError(
            f"The data root {root} cannot be written ({error.strerror}); name a writable one with MAEPOSE_ROOT."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield Night(folder)


def work(
    root: Path,
    preset: str | None,
    going_on: Night,
    make: Callable[[str, str], None],
    *,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    on_error: Callable[[str, Exception], None] = lambda recording_id, error: None,
) -> None:
    """Call `make(recording id, why)` for every recording in need, oldest first; a failure does not keep the others waiting."""
    waiting = list(_in_need(root, preset, going_on))
    for number, (recording_id, why) in enumerate(waiting):
        on_progress(number, len(waiting))
        try:
            make(recording_id, why)
        except Exception as error:
            on_error(recording_id, error)
            row = going_on.rows.get(recording_id, NightRow(recording=recording_id, why=why))
            going_on.add(row.model_copy(update={"failed": str(error)}))
    on_progress(len(waiting), len(waiting))


def make_again(root: Path, recording_id: str, preset: str | None, why: str, going_on: Night) -> Products:
    """Make one recording's products; what became of its cube is noted as soon as that is in place."""

    def note(cube: CubeResult) -> None:
        going_on.add(
            NightRow(
                recording=recording_id,
                why=why,
                made=True,
                simulated=open_cube(root, recording_id).simulated,
                frames_made=cube.frames_made,
                change=cube.change,
                other_predictions=predictions_of_other_cubes(root, recording_id, cube.key),
            )
        )

    return make_products(root, recording_id, config_for(root, recording_id, preset), on_rebuilt=note)


def _in_need(root: Path, preset: str | None, going_on: Night) -> Iterator[tuple[str, str]]:
    """Sealed recordings with frames whose cube is not current, with the reason; unreadable ones are noted."""
    folder = recordings_folder(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            recording = read_recording(path)
            if not recording.sealed or recording.frame_count == 0:
                continue
            reason = needs_work(root, recording.id, preset)
            if not reason and has_leftovers(root, recording.id):
                process_recording(recording, root, config_for(root, recording.id, preset))  # only removes them
        except Exception as error:
            going_on.add(NightRow(recording=path.name, why="cannot be read", failed=str(error)))
            continue
        if reason:
            yield recording.id, reason


def _read(file: Path) -> dict[str, NightRow]:
    """Rows of a file; a line that was being written when the machine died, or is another version's, is left out."""
    rows = {}
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        try:
            row = NightRow.model_validate_json(line)
        except ValidationError:
            continue
        rows[row.recording] = row
    return rows

"""What nights of reprocessing did, on disk, so that a night cut short is told of in the next one's summary. No Prefect in here.

nights/going-on.jsonl     one line a recording, written when it is done, by whichever process did it
nights/<UTC>.jsonl        the same, once its summary was shown
nights/.lock              held by the run that goes on; its token tells workers elsewhere that they see the same data root
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capture.recovering import recorder_died, recover_recording
from flows.products import Products, config_for, make_products, needs_work
from pipeline.cube import open_cube
from pipeline.cube_commit import cube_path
from pipeline.errors import PipelineError
from pipeline.files import sync_folder, write_atomic
from pipeline.locks import take_lock
from pipeline.predictions import predictions_of_other_cubes
from pipeline.pruned import read_pruned
from pipeline.recording import open_folder, recordings_folder
from processing.cube_changes import CubeChange
from processing.cubes import CubeResult, leftover_recordings, process_recording


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

    def __init__(self, root: Path, token: str) -> None:
        self.token = token
        self._root, self._file = root, _going_on(root)
        self.earlier = _read(self._file)
        self._rows: dict[str, NightRow] = {}
        self._read_bytes = 0
        if self._file.exists():  # without what a machine that died had half written
            text = "".join(row.model_dump_json() + "\n" for row in self.earlier.values())
            write_atomic(self._file, text)
            self._read_bytes = len(text.encode())

    @property
    def rows(self) -> dict[str, NightRow]:
        """What was noted in this night so far, by recording; the last word on each counts."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_bytes += len(whole)
            self._rows |= _rows(whole.decode(errors="replace"))
        return dict(sorted(self._rows.items()))

    def add(self, row: NightRow) -> None:
        """Note what was done to a recording."""
        note(self._root, row)

    def told_rows(self) -> list[NightRow]:
        """Every row the summary tells of, earlier ones first; what failed earlier and was tried again is told once."""
        earlier, rows = self.earlier.values(), self.rows
        return [row for row in earlier if not (row.failed and row.recording in rows)] + list(rows.values())

    def told(self) -> None:
        """The summary is where people see it: keep the rows under the time of this night."""
        if not self._file.exists():
            return
        name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._file = self._file.replace(self._file.with_name(f"{name}.jsonl"))
        sync_folder(self._file.parent)


def note(root: Path, row: NightRow) -> None:
    """Note what was done to a recording in the night that goes on, durably; any process that sees the data root may.

    Raises PipelineError where the disk does not take it.
    """
    try:
        with _going_on(root).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # other machines' processes add theirs
            file.write(row.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PipelineError(
            f"{_going_on(root)} cannot be written ({error.strerror}), so this night ends here; make room (`maepose prune` says "
            "what derived data would give), and the next night goes on."
        ) from error


def same_night(root: Path, token: str) -> bool:
    """Whether the night that goes on in `root`, as this process sees it, is the one whose token it was given."""
    try:
        return _lock_file(root).read_text() == token
    except OSError:
        return False


@contextmanager
def night(root: Path) -> Iterator[Night | None]:
    """One night at a time on a data root; None where another run is at it. The lock goes with its process, however that ends."""
    path, token = _lock_file(root), secrets.token_hex(16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as error:
        raise PipelineError(
            f"The data root {root} cannot be written ({error.strerror}); name a writable one with MAEPOSE_ROOT."
        ) from error
    with lock:
        if not take_lock(lock):
            yield None
            return
        try:
            lock.truncate(0)
            os.write(lock.fileno(), token.encode())
        except OSError as error:
            raise PipelineError(
                f"{path} cannot be written ({error.strerror}); make room, and run the night again."
            ) from error
        yield Night(root, token)


Asked = tuple[str, str]
"""A recording's id, and why it must be made."""
CarryOut = Callable[[Sequence[Asked]], Iterator[tuple[str, Exception | None]]]
"""Makes recordings in any order; yields each one's id when it is done, and what went wrong with it."""


def in_turn(make: Callable[[str, str], None]) -> CarryOut:
    """Call `make(recording id, why)` for one recording after the other; a failure does not keep the others waiting."""

    def carry_out(waiting: Sequence[Asked]) -> Iterator[tuple[str, Exception | None]]:
        for recording_id, why in waiting:
            try:
                make(recording_id, why)
            except Exception as error:
                yield recording_id, error
            else:
                yield recording_id, None

    return carry_out


def work(
    root: Path,
    preset: str | None,
    going_on: Night,
    carry_out: CarryOut,
    *,
    pruned: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    on_error: Callable[[str, Exception], None] = lambda recording_id, error: None,
) -> None:
    """Have every recording in need carried out, oldest first, and note those that failed.

    Cubes that retention removed are in need only where `pruned` says so.
    """
    waiting = list(_in_need(root, preset, going_on, pruned))
    reasons = dict(waiting)
    on_progress(0, len(waiting))
    for number, (recording_id, error) in enumerate(carry_out(waiting), 1):
        if error is not None:
            on_error(recording_id, error)
            row = going_on.rows.get(recording_id, NightRow(recording=recording_id, why=reasons[recording_id]))
            going_on.add(row.model_copy(update={"failed": str(error)}))
        on_progress(number, len(waiting))


def make_again(
    root: Path,
    recording_id: str,
    preset: str | None,
    why: str,
    *,
    threads: int | None = None,
    lock_wait_s: float = 0.0,
) -> Products:
    """Make one recording's products; what became of its cube is noted as soon as that is in place.

    `threads` and `lock_wait_s` as in `processing.cubes.process_recording`.
    """

    def made(cube: CubeResult) -> None:
        row = NightRow(
            recording=recording_id,
            why=why,
            made=True,
            simulated=open_cube(root, recording_id).simulated,
            frames_made=cube.frames_made,
            change=cube.change,
            other_predictions=predictions_of_other_cubes(root, recording_id, cube.key),
        )
        note(root, row)

    config = config_for(root, recording_id, preset)
    return make_products(root, recording_id, config, on_rebuilt=made, threads=threads, lock_wait_s=lock_wait_s)


def _in_need(root: Path, preset: str | None, going_on: Night, pruned: bool) -> Iterator[tuple[str, str]]:
    """Sealed recordings with frames whose cube is not current, with the reason; unreadable ones are noted.

    Recordings whose recorder died are sealed first.
    """
    folder, leftovers = recordings_folder(root), leftover_recordings(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            recording, died = open_folder(path), ""
            if recorder_died(root, recording):
                recording, died = recover_recording(root, recording.id), ", and sealed only now: its recorder had died"
            if not recording.sealed or recording.frame_count == 0:
                continue
            if (
                not pruned
                and not cube_path(root, recording.id).exists()
                and read_pruned(root, recording.id) is not None
            ):
                continue
            reason = needs_work(root, recording.id, preset) + died
            if not reason and recording.id in leftovers:
                process_recording(recording, root, config_for(root, recording.id, preset))  # only removes them
        except Exception as error:
            going_on.add(NightRow(recording=path.name, why="cannot be read", failed=str(error)))
            continue
        if reason:
            yield recording.id, reason


def _going_on(root: Path) -> Path:
    return root / "nights" / "going-on.jsonl"


def _lock_file(root: Path) -> Path:
    return root / "nights" / ".lock"


def _read(file: Path) -> dict[str, NightRow]:
    return _rows(file.read_text(errors="replace")) if file.exists() else {}


def _rows(text: str) -> dict[str, NightRow]:
    """Rows of a file; a line that was being written when the machine died, or is another version's, is left out."""
    rows = {}
    for line in text.splitlines():
        try:
            row = NightRow.model_validate_json(line)
        except ValidationError:
            continue
        rows[row.recording] = row
    return rows

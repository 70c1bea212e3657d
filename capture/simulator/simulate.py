"""`maepose simulate`: a whole data set, in parallel, resumable, with a card that says what it is."""

import multiprocessing
import os
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numba

from capture.simulator.datasets import SIMULATOR_VERSION, SimulationRequest, Take, data_set, takes, waveform_of
from capture.simulator.person import person
from capture.simulator.take import make_take, shown
from pipeline.catalogue import update_catalogue
from pipeline.errors import PipelineError
from pipeline.files import free_bytes, write_atomic
from pipeline.labels import labels_path
from pipeline.recording import read_recording, recordings_folder

RESERVE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class SimulationResult:
    """What a data set came to: recordings in order, how many of them were made now, and the card's path."""

    recordings: tuple[str, ...]
    made: int
    frames: int
    card: Path


def simulate(
    root: Path,
    request: SimulationRequest,
    *,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SimulationResult:
    """Make every recording of `request` under `root` that is not there yet, `jobs` at a time (None: one a core).

    `on_progress` is given the recordings that are there and how many there will be. Raises PipelineError for an unknown set or
    waveform and for too little disk; what was made before a failure stays, and the next call goes on from there.
    """
    wanted, waveform = takes(request), waveform_of(request)
    missing = [take for take in wanted if not _there(root, request, take)]
    _check_disk(root, sum(take.frames for take in missing) * waveform.frame_bytes)
    workers = max(1, min(jobs or os.cpu_count() or 1, len(missing) or 1))
    done = len(wanted) - len(missing)
    on_progress(done, len(wanted))
    for _ in _made(root, request, missing, workers):
        done += 1
        on_progress(done, len(wanted))
    update_catalogue(root)
    card = write_card(root, request, wanted)
    return SimulationResult(
        tuple(take.recording_id for take in wanted), len(missing), sum(take.frames for take in wanted), card
    )


def _made(root: Path, request: SimulationRequest, missing: list[Take], workers: int) -> Iterator[None]:
    """Make the takes, `workers` at a time, and say each time when one is there."""
    if workers == 1:
        for take in missing:
            make_take(root, request, take)
            yield
        return
    # Spawned, not forked: compiled kernels and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = [pool.submit(make_take, root, request, take) for take in missing]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BrokenProcessPool:
            raise PipelineError(
                "A process that simulated was killed, perhaps for want of memory; what was made stays: start again, with fewer "
                "--jobs if it comes back."
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def write_card(root: Path, request: SimulationRequest, wanted: list[Take]) -> Path:
    """`datasets/<name>/card.md`: what is in the set, how it was made, and what it cannot tell."""
    chosen = data_set(request.name)
    folder = root / "datasets" / request.name
    people = {take.participant: take.piece.actor if take.piece else person(take.person_seed) for take in wanted}
    waveform = waveform_of(request)
    frames = sum(take.frames for take in wanted)
    lines = [
        f"# {chosen.name} (simulated)",
        "",
        "Nobody was in front of a radar: people, room, echoes and labels come from this project's simulator, version "
        f"{SIMULATOR_VERSION}. Results on it are simulated results.",
        "",
        f"- **Size**: {frames} frames in {len(wanted)} recordings, {frames * waveform.frame_period_s / 60:.1f} minutes at "
        f"{1 / waveform.frame_period_s:g} Hz"
        + ("." if chosen.recorded else f"; the paper's set of that kind has {chosen.paper_frames}."),
        _motion_line(request, wanted),
        f"- **Place**: {chosen.room} (seed {chosen.room_seed}), placement `{request.placement}`"
        + (", a bystander walks about." if chosen.bystander else "."),
        f"- **Waveform**: preset `{request.waveform}`.",
        "- **Labels**: the simulator's truth at the middle of each frame: 13 joints in the image of a D455-like camera above the "
        "radar, and in metres. They lie in the flesh, where a labeller would put them; a labeller's own go beside them.",
        "- **Wires**: "
        + (
            "recorded through the simulated radar and card; times are this machine's."
            if request.wires
            else "none; packets and times are those of a card that loses nothing."
        ),
        f"- **Made by**: `{_command(request, frames, len(people))}`; the same command makes the same samples.",
        "",
        "| participant | seed | height m | mass kg | handed |",
        "|---|---|---|---|---|",
    ]
    for participant, one in sorted(people.items()):
        handed = "as recorded" if chosen.recorded else "left" if one.manner.left_handed else "right"
        lines.append(f"| {participant} | {one.seed} | {one.height_m:.2f} | {one.mass_kg:.0f} | {handed} |")
    lines += ["", "What the simulator leaves out is written in `docs/simulator.md`.", ""]
    path = folder / "card.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "request.json", request.model_dump_json(indent=2) + "\n")
        write_atomic(path, "\n".join(lines))
    except OSError as error:
        raise PipelineError(f"{folder} cannot be written: {error.strerror}.") from error
    return path


def _motion_line(request: SimulationRequest, wanted: list[Take]) -> str:
    if request.motion is None:
        return f"- **Actions**: {', '.join(dict.fromkeys(take.action for take in wanted))}."
    files = {take.piece.file_sha256 for take in wanted if take.piece}
    return (
        f"- **Motion**: recorded, {request.motion} (from {len(files)} of its files, cut where takes meet and into pieces of at "
        "most 20 s; smoothed below 6 Hz or 0.3 of its rate). One participant a recorded person; bones as recorded"
        + (", all of a body scaled by up to 12 %" if request.seed else "")
        + ", flesh drawn from the seed. Whose motion that is, and on what terms, is for the folder it comes from to say."
    )


def _command(request: SimulationRequest, frames: int, people: int) -> str:
    words = [
        "maepose simulate",
        request.name,
        f"--frames {frames}",
        f"--people {people}",
        f"--waveform {request.waveform}",
    ]
    words += [f"--placement {request.placement}", f"--seed {request.seed}"]
    words += [f"--motion {shlex.quote(str(request.motion))}"] if request.motion else []
    return " ".join([*words, *(["--wires"] if request.wires else [])])


def _there(root: Path, request: SimulationRequest, take: Take) -> bool:
    """Whether a take is made; PipelineError where one of that name was made for another request."""
    folder = recordings_folder(root) / take.recording_id
    if not folder.exists():
        return False
    recording = read_recording(folder)
    waveform = waveform_of(request, take.frames)
    if recording.frame_count != take.frames or recording.waveform != waveform:
        raise PipelineError(
            f"{take.recording_id} is there already with {recording.frame_count} frames of waveform {recording.waveform.name}, "
            f"not {take.frames} of {request.waveform}; use another data root, or another --seed."
        )
    made_of, facts = recording.manifest.rig, shown(take)
    if other := [name for name in facts if made_of.get(name) != facts[name]]:
        raise PipelineError(
            f"{take.recording_id} is there already, simulated otherwise: its {other[0].replace('_', ' ')} is "
            f"{made_of.get(other[0])!r}, not {facts[other[0]]!r}; use another data root."
        )
    return labels_path(root, take.recording_id).exists()


def _check_disk(root: Path, needed_bytes: int) -> None:
    free = free_bytes(root)
    if free < needed_bytes + RESERVE_BYTES:
        raise PipelineError(
            f"{needed_bytes / 1e9:.1f} GB are needed under {root} and {free / 1e9:.1f} GB are free; free some space, ask for "
            "fewer --frames, or use the waveform preset `light`."
        )


def _one_thread() -> None:
    numba.set_num_threads(1)

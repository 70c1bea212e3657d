"""`maepose simulate`: a whole data set, in parallel, resumable, with a card that says what it is."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numba

from capture.simulator.datasets import SIMULATOR_VERSION, SimulationRequest, Take, data_set, takes
from capture.simulator.person import person
from capture.simulator.take import make_take
from pipeline.catalogue import update_catalogue
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.labels import labels_path
from pipeline.recording import read_recording, recordings_folder
from pipeline.waveform import PRESETS

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
    if request.waveform not in PRESETS:
        raise PipelineError(f"There is no waveform preset {request.waveform!r}; the presets are {', '.join(PRESETS)}.")
    wanted = takes(request)
    waveform = PRESETS[request.waveform]
    missing = [take for take in wanted if not _there(root, request, take)]
    _check_disk(root, sum(take.frames for take in missing) * waveform.frame_bytes)
    workers = max(1, min(jobs or os.cpu_count() or 1, len(missing) or 1))
    done = len(wanted) - len(missing)
    on_progress(done, len(wanted))
    if missing:
        # Spawned, not forked: compiled kernels and their threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
            futures = [pool.submit(make_take, root, request, take) for take in missing]
            try:
                for future in as_completed(futures):
                    future.result()
                    done += 1
                    on_progress(done, len(wanted))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    update_catalogue(root)
    card = write_card(root, request, wanted)
    return SimulationResult(
        tuple(take.recording_id for take in wanted), len(missing), sum(take.frames for take in wanted), card
    )


def write_card(root: Path, request: SimulationRequest, wanted: list[Take]) -> Path:
    """`datasets/<name>/card.md`: what is in the set, how it was made, and what it cannot tell."""
    chosen = data_set(request.name)
    folder = root / "datasets" / request.name
    people = sorted({(take.participant, take.person_seed) for take in wanted})
    waveform = PRESETS[request.waveform]
    frames = sum(take.frames for take in wanted)
    lines = [
        f"# {chosen.name} (simulated)",
        "",
        "Nobody was in front of a radar: people, room, echoes and labels come from this project's simulator, version "
        f"{SIMULATOR_VERSION}. Results on it are simulated results.",
        "",
        f"- **Size**: {frames} frames in {len(wanted)} recordings, {frames * waveform.frame_period_s / 60:.1f} minutes at "
        f"{1 / waveform.frame_period_s:g} Hz; the paper's set of that kind has {chosen.paper_frames}.",
        f"- **Actions**: {', '.join(dict.fromkeys(take.action for take in wanted))}.",
        f"- **Place**: {chosen.room} (seed {chosen.room_seed}), placement `{request.placement}`"
        + (", a bystander walks about." if chosen.bystander else "."),
        f"- **Waveform**: preset `{request.waveform}`.",
        "- **Labels**: the simulator's truth at the middle of each frame: 13 joints in the image of a D455-like camera above the "
        "radar, and in metres. They lie in the flesh, where a labeller would put them; a labeller's own go beside them.",
        f"- **Made by**: `maepose simulate {request.name} --frames {frames} --waveform {request.waveform} --placement "
        f"{request.placement} --seed {request.seed}`; the same command makes the same samples.",
        "",
        "| participant | seed | height m | mass kg | handed |",
        "|---|---|---|---|---|",
    ]
    for participant, seed in people:
        one = person(seed)
        handed = "left" if one.manner.left_handed else "right"
        lines.append(f"| {participant} | {seed} | {one.height_m:.2f} | {one.mass_kg:.0f} | {handed} |")
    lines += ["", "What the simulator leaves out is written in `docs/simulator.md`.", ""]
    path = folder / "card.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "request.json", request.model_dump_json(indent=2) + "\n")
        write_atomic(path, "\n".join(lines))
    except OSError as error:
        raise PipelineError(f"{folder} cannot be written: {error.strerror}.") from error
    return path


def _there(root: Path, request: SimulationRequest, take: Take) -> bool:
    """Whether a take is made; PipelineError where one of that name was made for another request."""
    folder = recordings_folder(root) / take.recording_id
    if not folder.exists():
        return False
    recording = read_recording(folder)
    waveform = PRESETS[request.waveform].model_copy(update={"frames": take.frames})
    if recording.frame_count != take.frames or recording.waveform != waveform:
        raise PipelineError(
            f"{take.recording_id} is there already with {recording.frame_count} frames of waveform {recording.waveform.name}, "
            f"not {take.frames} of {request.waveform}; use another data root, or another --seed."
        )
    return labels_path(root, take.recording_id).exists()


def _check_disk(root: Path, needed_bytes: int) -> None:
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes + RESERVE_BYTES:
        raise PipelineError(
            f"{needed_bytes / 1e9:.1f} GB are needed under {root} and {free / 1e9:.1f} GB are free; free some space, ask for "
            "fewer --frames, or use the waveform preset `light`."
        )


def _one_thread() -> None:
    numba.set_num_threads(1)

"""Named simulated data sets: who does what, where, for how long - every part of it from the set's seed.

| set           | people | actions                        | room                       | paper's frames |
|---------------|--------|--------------------------------|----------------------------|----------------|
| sim-tryon     | 8      | A1-A11, try-on                 | laboratory                 | 40,600         |
| sim-move      | 9      | A1-A10, movement               | studio                     | 43,900         |
| sim-yoga      | same 9 | A12-A20, yoga                  | studio                     | 23,700         |
| sim-bystander | same 9 | A1-A10, somebody else about    | studio, furniture moved    | 6,040          |
| sim-mars      | as recorded | recorded motion (`motion_source`) | laboratory         | none           |
| sim-dev       | 9      | A1-A10, movement               | studio                     | none           |

A recording is one take: one person, one action, a few seconds. People of different sets have different seeds, except that
sim-move, sim-yoga and sim-bystander share theirs, as in the paper. sim-dev is for choosing settings: whoever is in it is in no
study, so that nobody a study reports has decided anything.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from capture.simulator.actions import MOVE, TRYON_MOVE, YOGA
from capture.simulator.motion_source import SIZES, Piece, another_body, pieces, read_subjects
from capture.simulator.room import Room, lab_room, studio_room
from pipeline.errors import PipelineError
from pipeline.waveform import PRESETS, Waveform

SIMULATOR_VERSION = "2"
"""Raised whenever the same seed would give other samples or other labels."""

LEAST_FRAMES = 20  # a recording shorter than a clip trains nothing
MOST_FRAMES = 200  # 20 s at 10 Hz: a take, not a session
MOST_SUBJECTS = 1000  # of recorded people; their seeds of one --seed have so much room
FIRST_BYSTANDER, BYSTANDERS = 9000, 50
"""Seeds of people who are never participants."""

Placement = Literal["spot", "anywhere"]


@dataclass(frozen=True)
class DataSet:
    """A named set. `first_person` is the seed of participant 1; the others follow.

    Of a `recorded` one the motion says how many people there are and for how long; `first_person` holds for --seed 0, and
    every further seed begins MOST_SUBJECTS later.
    """

    name: str
    people: int
    first_person: int
    actions: tuple[str, ...]
    room: Literal["lab", "studio"]
    room_seed: int
    paper_frames: int
    bystander: bool = False
    recorded: bool = False
    letter: str = "m"
    """What the names of participants begin with."""

    def place(self) -> Room:
        """The room of the set."""
        return lab_room(self.room_seed) if self.room == "lab" else studio_room(self.room_seed)


DATA_SETS: dict[str, DataSet] = {
    one.name: one
    for one in (
        DataSet("sim-tryon", 8, 1000, TRYON_MOVE, "lab", 1, 40_600, letter="t"),
        DataSet("sim-move", 9, 2000, MOVE, "studio", 2, 43_900),
        DataSet("sim-yoga", 9, 2000, YOGA, "studio", 2, 23_700),
        DataSet("sim-bystander", 9, 2000, MOVE, "studio", 3, 6_040, bystander=True),
        DataSet("sim-mars", 0, 100_000, ("recorded",), "lab", 4, 0, recorded=True),
        DataSet("sim-dev", 9, 5000, MOVE, "studio", 2, 9000, letter="d"),
    )
}


class SimulationRequest(BaseModel):
    """Which set, how much of it, and how people stand. The same request makes the same recordings, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    frames: int | None = Field(
        None, ge=LEAST_FRAMES, description="over all recordings; None: as many as the paper's set, or were recorded"
    )
    people: int | None = Field(None, ge=1, description="None: as many as the set has")
    placement: Placement = "spot"
    waveform: str = Field("paper", description="waveform preset")
    seed: int = Field(
        0,
        ge=0,
        description="another seed is another day: other takes by the same people, or other bodies in recorded motion",
    )
    motion: Path | None = Field(None, description="of sim-mars: folder or file of recorded motion")
    wires: bool = Field(False, description="through the simulated card and radar, at the pace of the radar's own clock")


@dataclass(frozen=True)
class Take:
    """One recording of a set; `piece` is the motion to show where it was recorded."""

    recording_id: str
    participant: str
    person_seed: int
    action: str
    repetition_seed: int
    frames: int
    piece: Piece | None = None


def data_set(name: str) -> DataSet:
    """The set called `name`; PipelineError naming those there are."""
    if name not in DATA_SETS:
        raise PipelineError(f"There is no data set {name!r}; the data sets are {', '.join(DATA_SETS)}.")
    return DATA_SETS[name]


def waveform_of(request: SimulationRequest, frames: int = 0) -> Waveform:
    """The request's waveform, to end by itself after `frames` (0: never); PipelineError where there is no such preset."""
    if request.waveform not in PRESETS:
        raise PipelineError(f"There is no waveform preset {request.waveform!r}; the presets are {', '.join(PRESETS)}.")
    return PRESETS[request.waveform].model_copy(update={"frames": frames})


def takes(request: SimulationRequest) -> list[Take]:
    """Every recording of a request, in the order they are made: people vary fastest, so that a part is a fair sample.

    `frames` is shared out evenly, at least 20 and at most 200 a recording; the total is met exactly (of recorded motion, in
    pieces of its own lengths, to within 19). Raises PipelineError for an unknown set or waveform, for more people or frames
    than there are, and for motion that cannot be read.
    """
    chosen, waveform = data_set(request.name), waveform_of(request)
    if chosen.recorded:
        return _recorded_takes(chosen, request, waveform)
    if request.motion is not None:
        raise PipelineError(f"{chosen.name} makes its own motion; recorded motion (--motion) is for sim-mars.")
    people = _people_asked(chosen.name, request, chosen.people)
    frames = request.frames or chosen.paper_frames
    combinations = people * len(chosen.actions)
    rounds = math.ceil(frames / (combinations * MOST_FRAMES))
    count = min(combinations * rounds, frames // LEAST_FRAMES)
    found = []
    for index in range(count):
        person, action = index % people, index // people % len(chosen.actions)
        repetition = index // combinations
        participant = f"{chosen.letter}{person + 1:02d}"
        found.append(
            Take(
                recording_id=f"{_prefix(request)}-{participant}-{chosen.actions[action]}-{repetition}",
                participant=participant,
                person_seed=chosen.first_person + person,
                action=chosen.actions[action],
                repetition_seed=request.seed * 10_000 + repetition,
                frames=frames // count + (index < frames % count),
            )
        )
    return found


def _recorded_takes(chosen: DataSet, request: SimulationRequest, waveform: Waveform) -> list[Take]:
    if request.motion is None:
        raise PipelineError(f"{chosen.name} shows recorded motion: name its folder or file with --motion.")
    subjects = read_subjects(request.motion)
    if len(subjects) > MOST_SUBJECTS:
        raise PipelineError(
            f"{request.motion} holds {len(subjects)} people; {MOST_SUBJECTS} are the most a set can have."
        )
    period_s = waveform.frame_period_s
    queues: list[list[tuple[str, int, Piece]]] = []  # a participant's pieces each
    for index, subject in enumerate(subjects[: _people_asked(str(request.motion), request, len(subjects))]):
        seed = chosen.first_person + request.seed * MOST_SUBJECTS + index
        size = float(np.random.default_rng([0x512E, seed]).uniform(*SIZES)) if request.seed else 1.0
        actor = another_body(subject, seed, size)
        cut = pieces(subject, actor, MOST_FRAMES * period_s, LEAST_FRAMES * period_s)
        queues.append([(subject.name, number, piece) for number, piece in enumerate(cut)])
    rounds = max((len(queue) for queue in queues), default=0)
    order = [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]
    longest = [min(MOST_FRAMES, int(piece.duration_s / period_s + 1e-9)) for _, _, piece in order]
    there = sum(longest)
    wanted = there if request.frames is None else request.frames
    if wanted > there:
        raise PipelineError(
            f"{request.motion} holds {there} frames of motion, not {wanted}; ask for fewer, or make more of it by other bodies "
            "with another --seed."
        )
    return [
        Take(
            recording_id=f"{_prefix(request)}-{name}-{number:03d}",
            participant=name,
            person_seed=piece.actor.seed,
            action=chosen.actions[0],
            repetition_seed=request.seed * 10_000 + number,
            frames=frames,
            piece=piece,
        )
        for (name, number, piece), frames in zip(order, _shared_out(wanted, longest, len(queues)), strict=False)
    ]


def _shared_out(total: int, longest: list[int], people: int) -> list[int]:
    """`total` frames shared evenly, as far as their lengths allow, among the first recordings: one for each of `people`, or
    as many as are needed.
    """
    ends = np.cumsum(longest)
    count = max(int(np.searchsorted(ends, total)) + 1, min(people, total // LEAST_FRAMES))
    if total < LEAST_FRAMES * count:  # the last one would be too short
        count, total = count - 1, int(ends[count - 2])
    shares, left = [0] * count, total
    for done, number in enumerate(
        sorted(range(count), key=lambda index: longest[index])
    ):  # what is short gives way first
        shares[number] = min(longest[number], left // (count - done))
        left -= shares[number]
    return shares


def _people_asked(where: str, request: SimulationRequest, there: int) -> int:
    people = request.people or there
    if people > there:
        raise PipelineError(f"{where} has {there} people, not {people}.")
    return people


def _prefix(request: SimulationRequest) -> str:
    """How the ids of a request's recordings begin."""
    where = "-anywhere" if request.placement == "anywhere" else ""
    return f"{request.name}{where}{f'-s{request.seed}' if request.seed else ''}"

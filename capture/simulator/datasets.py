"""Named simulated data sets: who does what, where, for how long - every part of it from the set's seed.

| set           | people | actions                        | room                       | paper's frames |
|---------------|--------|--------------------------------|----------------------------|----------------|
| sim-tryon     | 8      | A1-A11, try-on                 | laboratory                 | 40,600         |
| sim-move      | 9      | A1-A10, movement               | studio                     | 43,900         |
| sim-yoga      | same 9 | A12-A20, yoga                  | studio                     | 23,700         |
| sim-bystander | same 9 | A1-A10, somebody else about    | studio, furniture moved    | 6,040          |

A recording is one take: one person, one action, a few seconds. People of different sets have different seeds, except that
sim-move, sim-yoga and sim-bystander share theirs, as in the paper.
"""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from capture.simulator.actions import MOVE, TRYON_MOVE, YOGA
from capture.simulator.room import Room, lab_room, studio_room
from pipeline.errors import PipelineError

SIMULATOR_VERSION = "1"
"""Raised whenever the same seed would give other samples or other labels."""

LEAST_FRAMES = 20  # a recording shorter than a clip trains nothing
MOST_FRAMES = 200  # 20 s at 10 Hz: a take, not a session

Placement = Literal["spot", "anywhere"]


@dataclass(frozen=True)
class DataSet:
    """A named set. `first_person` is the seed of participant 1; the others follow."""

    name: str
    people: int
    first_person: int
    actions: tuple[str, ...]
    room: Literal["lab", "studio"]
    room_seed: int
    paper_frames: int
    bystander: bool = False

    def place(self) -> Room:
        """The room of the set."""
        return lab_room(self.room_seed) if self.room == "lab" else studio_room(self.room_seed)


DATA_SETS: dict[str, DataSet] = {
    one.name: one
    for one in (
        DataSet("sim-tryon", 8, 1000, TRYON_MOVE, "lab", 1, 40_600),
        DataSet("sim-move", 9, 2000, MOVE, "studio", 2, 43_900),
        DataSet("sim-yoga", 9, 2000, YOGA, "studio", 2, 23_700),
        DataSet("sim-bystander", 9, 2000, MOVE, "studio", 3, 6_040, bystander=True),
    )
}


class SimulationRequest(BaseModel):
    """Which set, how much of it, and how people stand. The same request makes the same recordings, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    frames: int | None = Field(
        None, ge=LEAST_FRAMES, description="over all recordings; None: as many as the paper's set"
    )
    people: int | None = Field(None, ge=1, description="None: as many as the set has")
    placement: Placement = "spot"
    waveform: str = Field("paper", description="waveform preset")
    seed: int = Field(0, ge=0, description="another seed is another day: other takes by the same people")


@dataclass(frozen=True)
class Take:
    """One recording of a set."""

    recording_id: str
    participant: str
    person_seed: int
    action: str
    repetition_seed: int
    frames: int


def data_set(name: str) -> DataSet:
    """The set called `name`; PipelineError naming those there are."""
    if name not in DATA_SETS:
        raise PipelineError(f"There is no data set {name!r}; the data sets are {', '.join(DATA_SETS)}.")
    return DATA_SETS[name]


def takes(request: SimulationRequest) -> list[Take]:
    """Every recording of a request, in the order they are made: people vary fastest, so that a part is a fair sample.

    `frames` is shared out evenly, at least 20 and at most 200 a recording; the total is met exactly.
    """
    chosen = data_set(request.name)
    people = request.people or chosen.people
    if people > chosen.people:
        raise PipelineError(f"{chosen.name} has {chosen.people} people, not {people}.")
    frames = request.frames or chosen.paper_frames
    combinations = people * len(chosen.actions)
    rounds = math.ceil(frames / (combinations * MOST_FRAMES))
    count = min(combinations * rounds, frames // LEAST_FRAMES)
    found = []
    for index in range(count):
        person, action = index % people, index // people % len(chosen.actions)
        repetition = index // combinations
        share = frames // count + (index < frames % count)
        participant = f"{'t' if chosen.name == 'sim-tryon' else 'm'}{person + 1:02d}"
        day = f"-s{request.seed}" if request.seed else ""
        where = "-anywhere" if request.placement == "anywhere" else ""
        found.append(
            Take(
                recording_id=f"{chosen.name}{where}{day}-{participant}-{chosen.actions[action]}-{repetition}",
                participant=participant,
                person_seed=chosen.first_person + person,
                action=chosen.actions[action],
                repetition_seed=request.seed * 10_000 + repetition,
                frames=share,
            )
        )
    return found

"""The verb that needs no rig: simulate."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root


def simulate(
    name: Annotated[
        str, typer.Argument(metavar="SET", help="sim-tryon, sim-move, sim-yoga, sim-bystander, sim-mars or sim-dev.")
    ],
    frames: Annotated[
        int | None,
        typer.Option(min=20, help="Frames in all; default: as many as the paper's set, or as were recorded."),
    ] = None,
    people: Annotated[int | None, typer.Option(min=1, help="How many people; default: all of the set.")] = None,
    placement: Annotated[
        Literal["spot", "anywhere"],
        typer.Option(help="On one spot as in the paper, or 1.5 to 5 m away, off axis, turned."),
    ] = "spot",
    waveform: Annotated[str, typer.Option(help="Waveform preset: paper or light.")] = "paper",
    motion: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Of sim-mars: a folder with a folder (or file) of BVH, AMC or Kinect CSV a person."
        ),
    ] = None,
    wires: Annotated[
        bool, typer.Option("--wires", help="Record every take through the simulated radar and card, in real time.")
    ] = False,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Another seed: other takes by the same people; of sim-mars, other bodies in the same motion."
        ),
    ] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Recordings made at a time; default: one a core.")] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a whole data set of simulated people, with labels. What is there already is left alone, so it can be broken off."""
    from capture.simulator.datasets import SimulationRequest
    from capture.simulator.simulate import simulate as make

    request = SimulationRequest(
        name=name,
        frames=frames,
        people=people,
        placement=placement,
        waveform=waveform,
        seed=seed,
        motion=motion.resolve() if motion else None,
        wires=wires,
    )
    with progress_bar(name) as bar:
        result = make(
            resolved_root(root),
            request,
            jobs=jobs,
            on_progress=lambda done, total: bar(done, total, f"{done} of {total} recordings"),
        )
    Answer(as_json).give(
        {
            "set": name,
            "simulated": True,
            "recordings": len(result.recordings) if not as_json else result.recordings,
            "made": result.made,
            "frames": result.frames,
            "card": result.card,
        }
    )

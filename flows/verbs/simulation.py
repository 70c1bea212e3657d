"""The verb that needs no rig: simulate."""

from typing import Annotated, Literal

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root


def simulate(
    name: Annotated[str, typer.Argument(metavar="SET", help="sim-tryon, sim-move, sim-yoga or sim-bystander.")],
    frames: Annotated[
        int | None, typer.Option(min=20, help="Frames in all; default: as many as the paper's set.")
    ] = None,
    people: Annotated[int | None, typer.Option(min=1, help="How many people; default: all of the set.")] = None,
    placement: Annotated[
        Literal["spot", "anywhere"],
        typer.Option(help="On one spot as in the paper, or 1.5 to 5 m away, off axis, turned."),
    ] = "spot",
    waveform: Annotated[str, typer.Option(help="Waveform preset: paper or light.")] = "paper",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another day: other takes by the same people.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Recordings made at a time; default: one a core.")] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a whole data set of simulated people, with labels. What is there already is left alone, so it can be broken off."""
    from capture.simulator.datasets import SimulationRequest
    from capture.simulator.simulate import simulate as make

    request = SimulationRequest(
        name=name, frames=frames, people=people, placement=placement, waveform=waveform, seed=seed
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

"""Verbs about cubes: process, view."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root, table
from flows.verbs.recordings import IdArgument
from pipeline.cube_config import PRESETS
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from flows.products import Products

SHOWN = ("recording", "frames", "frames_with_loss", "made", "quality")
"""Columns of the answer about several recordings."""


def process(
    recordings: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Recordings, by name or by pattern: 'sim-move-*'.")
    ],
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help=f"How to make the cube: {' or '.join(PRESETS)}; default: as it was made before, new ones by the preset default.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make everything anew even where it is current.")] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make cubes, quality reports and pictures of recordings; what is current already is left alone."""
    from flows.products import config_for, make_products
    from pipeline.recording import matching

    if preset_name is not None and preset_name not in PRESETS:
        raise typer.BadParameter(f"there is no preset {preset_name!r}; choose {' or '.join(PRESETS)}")
    where = resolved_root(root)
    names = matching(where, recordings)
    made: list[Products] = []
    failed: list[str] = []
    with progress_bar(names[0]) as bar:
        for number, name in enumerate(names):
            place = f"recording {number + 1} of {len(names)}, " if len(names) > 1 else ""

            def on_progress(done: int, frames: int, place: str = place) -> None:
                bar(done, frames, f"{place}{done} of {frames} frames")

            try:
                config = config_for(where, name, preset_name)
                made.append(make_products(where, name, config, force=force, on_progress=on_progress))
            except PipelineError as error:
                if len(names) == 1:
                    raise
                failed.append(f"{name}: {error}")
    answers = [_answer(products) for products in made]
    if len(names) == 1:
        Answer(as_json).give(answers[0], _lines(made[0]))
    elif made:
        rows = [tuple(answer[column] for column in SHOWN) for answer in answers]
        Answer(as_json).give({"recordings": answers, "failed": failed}, [table(SHOWN, rows)])
    if failed:
        raise PipelineError(f"{len(failed)} of {len(names)} recordings could not be processed. {' '.join(failed)}")


def _answer(products: "Products") -> dict[str, Any]:
    return products.rows() | {
        "reasons": products.quality.reasons,
        "pictures": [str(path) for path in products.pictures],
        "key": products.cube.key,
        "frames_made": products.cube.frames_made,
        "rebuilt": products.cube.rebuilt,
        "seconds": round(products.cube.seconds, 3),
    }


def _lines(products: "Products") -> list[str]:
    lines = [f"{name:<17}{value}" for name, value in products.rows().items()]
    lines += [f"                 {sentence}" for sentence in products.quality.reasons]
    return lines + [f"picture          {path}" for path in products.pictures]


def view(recording_id: IdArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Draw a processed recording, and say where the pictures lie."""
    from flows.products import draw_pictures
    from pipeline.recording import open_recording
    from processing.quality import make_quality

    where = resolved_root(root)
    quality = make_quality(open_recording(where, recording_id), where)
    pictures = [str(path) for path in draw_pictures(where, recording_id, quality)]
    Answer(as_json).give({"recording": recording_id, "pictures": pictures}, pictures)

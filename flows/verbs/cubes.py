"""Verbs about cubes: process, view."""

from typing import Annotated

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root
from flows.verbs.recordings import IdArgument
from pipeline.cube_config import PRESETS


def process(
    recording_id: IdArgument,
    preset_name: Annotated[
        str, typer.Option("--preset", help=f"How to make the cube: {' or '.join(PRESETS)}.", show_default=True)
    ] = "default",
    force: Annotated[bool, typer.Option("--force", help="Make everything anew even where it is current.")] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a recording's cube, quality report and pictures; what is current already is left alone."""
    from flows.products import make_products

    if preset_name not in PRESETS:
        raise typer.BadParameter(f"there is no preset {preset_name!r}; choose {' or '.join(PRESETS)}")
    where = resolved_root(root)
    with progress_bar(recording_id) as bar:
        products = make_products(
            where,
            recording_id,
            PRESETS[preset_name],
            force=force,
            on_progress=lambda done, frames: bar(done, frames, f"{done} of {frames} frames"),
        )
    rows = products.rows()
    answer = rows | {
        "reasons": products.quality.reasons,
        "pictures": [str(path) for path in products.pictures],
        "key": products.cube.key,
        "frames_made": products.cube.frames_made,
        "rebuilt": products.cube.rebuilt,
        "seconds": round(products.cube.seconds, 3),
    }
    lines = [f"{name:<17}{value}" for name, value in rows.items()]
    lines += [f"                 {sentence}" for sentence in products.quality.reasons]
    lines += [f"picture          {path}" for path in products.pictures]
    Answer(as_json).give(answer, lines)


def view(recording_id: IdArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Draw a processed recording, and say where the pictures lie."""
    from flows.products import draw_pictures
    from pipeline.recording import open_recording
    from processing.quality import make_quality

    where = resolved_root(root)
    quality = make_quality(open_recording(where, recording_id), where)
    pictures = [str(path) for path in draw_pictures(where, recording_id, quality)]
    Answer(as_json).give({"recording": recording_id, "pictures": pictures}, pictures)

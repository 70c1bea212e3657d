"""`maepose`: every verb of the pipeline at the command line, without any server.

Exit code 0: done. 1: failed, with one sentence on standard error. 2: wrong usage.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.verbs import archive, cubes, labels, models, recordings, retention, rig, server, simulation, studies
from pipeline.errors import PipelineError

app = typer.Typer(
    name="maepose",
    help="Radar recordings in, cubes, skeleton labels and predicted poses out. Every verb takes --root DIR (or MAEPOSE_ROOT, "
    "default ./data) and --json.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RIG, RECORDINGS, CUBES, LABELS = "The rig", "Recordings", "Cubes", "Labels"
MODELS, STUDIES, SERVER = "Networks", "Studies", "Prefect"
app.command("doctor", rich_help_panel=RIG)(rig.doctor)
app.command("capture", rich_help_panel=RIG)(rig.capture)
app.command("stop", rich_help_panel=RIG)(rig.stop)
app.command("config", rich_help_panel=RIG)(rig.config)
app.command("import", rich_help_panel=RECORDINGS)(recordings.import_)
app.command("list", rich_help_panel=RECORDINGS)(recordings.list_)
app.command("verify", rich_help_panel=RECORDINGS)(recordings.verify_)
app.command("simulate", rich_help_panel=RECORDINGS)(simulation.simulate)
app.command("mix", rich_help_panel=RECORDINGS)(recordings.mix)
app.command("recover", rich_help_panel=RECORDINGS)(recordings.recover_)
app.command("export", rich_help_panel=RECORDINGS)(recordings.export)
app.command("prune", rich_help_panel=RECORDINGS)(retention.prune)
app.command("upload", rich_help_panel=RECORDINGS)(archive.upload)
app.command("fetch", rich_help_panel=RECORDINGS)(archive.fetch)
app.command("process", rich_help_panel=CUBES)(cubes.process)
app.command("view", rich_help_panel=CUBES)(cubes.view)
app.command("label", rich_help_panel=LABELS)(labels.label)
app.command("train-labeller", rich_help_panel=LABELS)(labels.train_labeller)
app.command("pretrain", rich_help_panel=MODELS)(models.pretrain)
app.command("finetune", rich_help_panel=MODELS)(models.finetune)
app.command("predict", rich_help_panel=MODELS)(models.predict)
app.command("live", rich_help_panel=MODELS)(models.live)
app.command("export-model", rich_help_panel=MODELS)(models.export_model)
app.command("study", rich_help_panel=STUDIES)(studies.study)
app.command("evaluate", rich_help_panel=STUDIES)(studies.evaluate)
app.command("report", rich_help_panel=STUDIES)(studies.report)
app.command("demo", rich_help_panel=SERVER)(server.demo)
app.command("up", rich_help_panel=SERVER)(server.up)
app.command("down", rich_help_panel=SERVER)(server.down)
app.command("deploy", rich_help_panel=SERVER)(server.deploy)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure (before or after the verb).")
    ] = False,
) -> None:
    """What holds for every verb; `main` reads it before the verb is known."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and exit: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    # A terminal that closes, or a supervisor that stops us, must unwind as Ctrl-C does: children are stopped, locks let go.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        app([word for word in words if word != "--debug"])
    except Exception as error:
        if debug:
            raise
        unexpected = (
            "" if isinstance(error, PipelineError) else f"{type(error).__name__}, which is a fault of this program: "
        )
        sys.stderr.write(f"maepose: {unexpected}{error}\n")
        sys.exit(1)


def _exit(number: int, _: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()

"""The verb about disk space: prune."""

from typing import Annotated

import typer
from rich.table import Table

from flows.console import Answer, JsonOption, RootOption, resolved_root, table, tell


def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without, it is only said what would go.")] = False,
    keep_days: Annotated[
        float | None,
        typer.Option(min=0, help="What was made or read within so many days stays; instead of the policy's."),
    ] = None,
    free_gb: Annotated[
        float | None, typer.Option(min=0.001, help="Stop once so many 10^9 bytes are free; instead of the policy's.")
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove derived data by the policy in retention.toml, longest unused first. Recordings and labels are never touched."""
    from flows.pruning import remove
    from flows.retention import plan
    from pipeline.errors import PipelineError
    from pipeline.settings import read_retention

    where = resolved_root(root)
    policy = read_retention(where)
    asked = {name: value for name, value in (("keep_days", keep_days), ("free_gb", free_gb)) if value is not None}
    policy = policy.model_copy(update=asked)
    if not policy.active:
        raise PipelineError(
            f"No policy says what may go: write keep_days or free_gb into {where / 'retention.toml'}, or give --keep-days or "
            "--free-gb."
        )
    planned = plan(where, policy)
    gone, busy = remove(planned) if yes else (planned.going, ())
    total = sum(one.bytes for one in gone)
    rows = [(one.kind, one.name, megabytes(one.bytes), f"{one.unused_days(planned.now_s):.1f}") for one in gone]
    word = "went" if yes else "would go"
    lines: list[str | Table] = [
        *([table(("kind", "name", "MB", "days unused"), rows)] if rows else []),
        f"{len(gone)} of {len(planned.going) + len(planned.kept)} {word}: {megabytes(total)} MB; "
        f"{planned.free_bytes / 1e9:.1f} GB {'were' if yes else 'are'} free.",
        *([] if yes or not rows else ["Nothing was removed; `maepose prune --yes` removes it."]),
    ]
    kept = [*planned.kept, *busy]
    if kept and not as_json:
        tell(f"{len(kept)} stay, among them {kept[-1][1]} ({kept[-1][2]}); --json names all.")
    Answer(as_json).give(
        {
            "removed": yes,
            "bytes": total,
            "free_bytes": planned.free_bytes,
            "items": [
                {"kind": one.kind, "name": one.name, "bytes": one.bytes,
                 "unused_days": round(one.unused_days(planned.now_s), 3)}
                for one in gone
            ],
            "kept": [{"kind": kind, "name": name, "why": why} for kind, name, why in kept],
        },
        lines,
    )  # fmt: skip


def megabytes(count: int) -> str:
    """Bytes as 10^6, for a table."""
    return f"{count / 1e6:.1f}"

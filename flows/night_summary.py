"""The summary of a night in Markdown: why cubes were rebuilt, what became otherwise, what still refers to the old ones."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from flows.nights import NightRow
from processing.cube_changes import ProductChange, Values

SHOWN_RECORDINGS = 200  # of the table of values; the rest lies in nights/

HEAD = (
    "| recording | product | frames compared | shape | mean | maximum | cells that differ | mean difference | largest |",
    "|---|---|---|---|---|---|---|---|---|",
)


def summary(rows: Sequence[NightRow], earlier: int) -> list[str]:
    """Paragraphs of the artifact; `earlier` of the rows come from nights that were cut short."""
    if not rows:
        return ["Every cube is current: nothing was made."]
    parts = []
    if earlier:
        parts.append(f"{earlier} of these {len(rows)} recordings were done in a night that was cut short.")
    parts += [
        _section("Why", _reasons(rows)),
        _section("What changed", _changes(rows)),
        _section("Predictions of other cubes", _predictions(rows)),
        _section("Failed", _failures(rows)),
    ]
    return [part for part in parts if part]


def _reasons(rows: Iterable[NightRow]) -> list[str]:
    """One line a reason, with the recordings it was the reason for."""
    reasons = [(reason_of(row), row.recording) for row in rows if row.made]
    groups = groupby(sorted(reasons), lambda pair: pair[0])
    return [f"- {reason}: {', '.join(recording for _, recording in group)}" for reason, group in groups]


def reason_of(row: NightRow) -> str:
    """Why a cube was made, and what it was made with before and after where that differs."""
    if row.change is None:
        return row.why
    said = row.change.reasons()
    if row.change.before is None:
        said.append("the old cube does not say what it was made with")
    return f"{row.why} ({'; '.join(said)})" if said else row.why


def _changes(rows: Sequence[NightRow]) -> list[str]:
    changed = [row for row in rows if row.change is not None]
    lines = []
    for row in changed[:SHOWN_RECORDINGS]:
        assert row.change is not None
        lines += [_line(row.recording, product) for product in row.change.products]
    unreadable = [
        f"- {row.recording}: {row.change.not_compared}" for row in changed if row.change and row.change.not_compared
    ]
    if len(changed) > SHOWN_RECORDINGS:
        unreadable.append(
            f"- {len(changed) - SHOWN_RECORDINGS} more recordings are in the folder `nights` of the data root."
        )
    table = [*HEAD, *lines] if lines else []
    return [*table, *([""] if table and unreadable else []), *unreadable]


def _line(recording: str, change: ProductChange) -> str:
    before, after = change.before, change.after
    unit = (after or before or Values(shape=(), unit="", mean=0, maximum=0)).unit
    unit = "" if unit == "1" else f" {unit}"
    cells = (
        recording,
        change.product,
        str(change.frames_compared),
        _pair(*("x".join(map(str, values.shape)) if values else "-" for values in (before, after))),
        _pair(*(_number(values.mean) if values else "-" for values in (before, after))),
        _pair(*(_number(values.maximum) if values else "-" for values in (before, after))),
        "not comparable" if change.share_changed is None else f"{100 * change.share_changed:.3g} %",
        "" if change.mean_difference is None else f"{_number(change.mean_difference)}{unit}",
        "" if change.largest_difference is None else f"{_number(change.largest_difference)}{unit}",
    )
    return f"| {' | '.join(cells)} |"


def _pair(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _predictions(rows: Iterable[NightRow]) -> list[str]:
    return [
        f"- {row.recording}: {', '.join(row.other_predictions)}; `maepose predict {row.recording} --model ...` makes them anew"
        for row in rows
        if row.other_predictions
    ]


def _failures(rows: Iterable[NightRow]) -> list[str]:
    kept = {False: "what was there before is still there", True: "its new cube is in place"}
    return [f"- {row.recording}, {kept[row.made]}: {row.failed}" for row in rows if row.failed]


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *lines]) if lines else ""

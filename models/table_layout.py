"""From a table's numbers to its cells of text."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.contests import MODALITY_TITLES, p_text
from models.evaluation import HIGH_IS_GOOD, Evaluation
from models.table_grid import Block, Cell, Grid, Line
from models.table_rows import in_order

TITLES = {
    "mpjpe_norm": "MPJPE", "pck_norm@0.05": "PCK@.05 (%)", "root_centred_norm": "root-centred", "explained_motion": "EV",
    "mpjpe_px": "MPJPE (px)", "pck_torso@0.2": "torso PCK@.2 (%)", "mpjpe_plane_m": "MPJPE in plane (m)",
    "pck_plane@0.05m": "PCK@5 cm in plane (%)",
}  # fmt: skip
DECIMALS = {"mpjpe_px": 1, "explained_motion": 2}
SPLITS = {"person": "person never seen", "inside": "split inside recordings (no result)"}


def lay_out(evaluation: Evaluation, rows: pd.DataFrame, measures: Sequence[str], across: str | None) -> Grid:
    """Blocks by contest, data set and modality; `across` (test_set, split) stands side by side instead."""
    columns = [TITLES[measure] for measure in measures]
    columns += [title for key, title in (("rise_percent", "rise (%)"), ("p_bonferroni", "p")) if key in rows]
    group_keys = ["trained_on", "test_set"] if across == "test_set" else [across] if across else []
    groups = list(rows[group_keys].drop_duplicates().itertuples(index=False)) if across else [()]
    down = [key for key in ("contest", "trained_on", "test_set", "modality") if key not in group_keys]
    order = rows.assign(_modality=rows["modality"].map(list(MODALITY_TITLES).index))
    order = order.sort_values("_modality", kind="stable") if across == "test_set" else order
    blocks = []
    for _, block in order.groupby(down, sort=False):
        first = block.iloc[0]
        names = in_order(block.drop_duplicates("method"), list(block["method"]))["method"]
        lines = []
        for method in names:
            cells: list[Cell] = []
            for group in groups:
                match = block[block["method"].eq(method)]
                for key, value in zip(group_keys, group, strict=True):
                    match = match[match[key].eq(value)]
                cells += _cells(match.iloc[0], measures, rows) if len(match) else [Cell("")] * len(columns)
            kind = block.loc[block["method"].eq(method), "kind"].iloc[0]
            lines.append(Line(line_title(evaluation, method), tuple(cells), kind))
        title = [MODALITY_TITLES[first["modality"]]]
        if across != "test_set":
            title.insert(0, evaluation.place(first["trained_on"], first["test_set"]))
        blocks.append(Block(" · ".join([*title, *([first["contest"]] if first["contest"] else [])]), tuple(lines)))
    heads = [_group_title(evaluation, across, group) for group in groups]
    return Grid("method", tuple((head, len(columns)) for head in heads), tuple(columns * len(groups)), tuple(blocks))


def _group_title(evaluation: Evaluation, across: str | None, group: tuple[str, ...]) -> str:
    if across == "test_set":
        return evaluation.place(*group)
    return SPLITS[group[0]] if group else ""


def _cells(row: pd.Series, measures: Sequence[str], rows: pd.DataFrame) -> list[Cell]:
    cells = [
        Cell(_value(measure, row), _gain(row[f"{measure}_gain_percent"], measure), bool(row[f"{measure}_best"]))
        for measure in measures
    ]
    if "rise_percent" in rows:
        cells.append(Cell(f"{row['rise_percent']:+.1f}".replace("-", "−") if np.isfinite(row["rise_percent"]) else ""))
    if "p_bonferroni" in rows:
        tested = row["kind"] in ("baseline", "floor", "ours") and np.isfinite(row["p_bonferroni"])
        cells.append(Cell(p_text(row["p_bonferroni"]) if tested else "—"))
    return cells


def _value(measure: str, row: pd.Series) -> str:
    mean, sd = row[measure], row[f"{measure}_sd"]
    if not np.isfinite(mean):
        return "–"
    share = measure.startswith("pck")
    scale, decimals = (100, 1) if share else (1, DECIMALS.get(measure, 4))
    spread = f" ± {scale * sd:.{decimals}f}" if np.isfinite(sd) else ""
    return f"{scale * mean:.{decimals}f}{spread}".replace("-", "−")


def _gain(percent: float, measure: str) -> str:
    """An arrow the way the value went, and by how much."""
    if not np.isfinite(percent):
        return ""
    up = (percent > 0) == (measure in HIGH_IS_GOOD)
    return f"{'↑' if up else '↓'}{abs(percent):.1f} %"


def line_title(evaluation: Evaluation, method: str) -> str:
    """A row's name, with what it is if it is no network."""
    kind = str(evaluation.methods.at[method, "kind"])
    if kind in ("floor", "oracle"):
        return f"{method.replace('-', ' ')} ({kind})"
    return f"{method} (ours)" if method == evaluation.ours else method

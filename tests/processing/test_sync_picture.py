import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.picture_style import ALARM
from pipeline.sync import COLUMNS, ClockFit, SyncReport
from processing.sync_picture import draw_sync


def table_of(rows: int) -> pd.DataFrame:
    index = np.arange(rows)
    columns = {
        "run": 1, "pulse": index, "time_ns": 10**12 + index * 10**8, "radar_frame": np.where(index % 9 == 4, -1, index),
        "missing_bytes": 0, "color_frame": np.where(index % 7 == 3, -1, 3 * index), "depth_frame": 3 * index,
        "radar_offset_s": np.where(index % 9 == 4, np.nan, 1e-4 * np.sin(index)),
        "color_offset_s": np.where(index % 7 == 3, np.nan, 0.004), "depth_offset_s": 0.001,
        "status": np.where(index % 9 == 4, "no-radar", np.where(index % 7 == 3, "no-camera", "ok")),
    }  # fmt: skip
    return pd.DataFrame(columns, index=index).astype(COLUMNS)


def report_of(**changes) -> SyncReport:
    clock = ClockFit(drift_ppm=21.5, offset_s=30.0, residual_ms=0.3, worst_ms=1.0, readings=60, late_ms=33.0)
    fields = {
        "mode": "board", "verdict": "look", "reasons": ("Camera frames stop 3.2 s before the radar's end.",),
        "algorithm_version": "1", "radar_pulse_offset": 0, "radar_latency_ms": 0.6, "clocks": {"board": clock, "color": clock},
        "counts": {"rows": 60, "ok": 40, "ambiguous": 2, "color_frames": 180, "color_dropped": 9, "color_frozen": 3},
    }  # fmt: skip
    return SyncReport(**{**fields, **changes})


def test_a_sheet_says_what_it_shows_and_what_is_missing(tmp_path):
    path = draw_sync(table_of(60), report_of(), tmp_path / "sync.png", recording="p01-lunge", simulated=True)
    with Image.open(path) as image:
        assert image.text["Title"] == "SIMULATED · Alignment of p01-lunge"
    red = np.array([int(ALARM[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    lanes = imread(path)[-220:]
    assert (np.abs(lanes[..., :3] - red).max(axis=-1) < 0.15).sum() > 100
    whole = draw_sync(table_of(3), report_of(), tmp_path / "whole.png")  # nothing is missing in its first three rows
    lanes = imread(whole)[-220:]
    assert (np.abs(lanes[..., :3] - red).max(axis=-1) < 0.15).sum() == 0


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("verdict", ["failed", "ambiguous", "aligned"])
def test_hardly_anything_to_draw(rows, verdict, tmp_path):
    report = report_of(mode="host", verdict=verdict, reasons=(), clocks={}, counts={})
    assert draw_sync(table_of(rows), report, tmp_path / "few.png").stat().st_size > 10_000


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"):
        draw_sync(table_of(5), report_of(), tmp_path / "file" / "sync.png")

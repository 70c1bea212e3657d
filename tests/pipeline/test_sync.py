import numpy as np
import pandas as pd
import pytest

from pipeline.errors import PipelineError
from pipeline.sync import COLUMNS, ClockFit, SyncReport, color_frame_of, read_sync, write_sync

CLOCK = ClockFit(drift_ppm=-3.25, offset_s=12.5, residual_ms=0.25, worst_ms=1.5, readings=7, late_ms=33.3)
REPORT = SyncReport(
    mode="board", verdict="look", reasons=("One.", "Two."), algorithm_version="1", radar_pulse_offset=2,
    gap_signature=True, other_offsets=(-1, 4), radar_latency_ms=0.6, middle_offset_s=0.02, clocks={"board": CLOCK},
    counts={"rows": 4},
)  # fmt: skip


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": 1, "pulse": [0, 1, 2, 3], "time_ns": [1, 2, 3, 4], "radar_frame": [0, -1, 1, 2], "missing_bytes": 0,
            "color_frame": [5, 6, 7, -1], "depth_frame": -1, "radar_offset_s": [0.0, np.nan, 1e-4, 0.0],
            "color_offset_s": [0.01, 0.01, 0.01, np.nan], "depth_offset_s": np.nan,
            "status": ["ok", "no-radar", "ambiguous", "no-camera"],
        }
    ).astype(COLUMNS)  # fmt: skip


def test_what_is_written_is_read_back(tmp_path):
    write_sync(tmp_path, rows(), REPORT)
    table, report = read_sync(tmp_path)
    pd.testing.assert_frame_equal(table, rows())
    assert report == REPORT


def test_only_sure_rows_give_a_radar_frame_its_picture():
    assert color_frame_of(rows(), 5).tolist() == [5, -1, -1, -1, -1]


def test_no_table_and_no_alignment_table(tmp_path):
    with pytest.raises(PipelineError, match=r"no sync\.parquet"):
        read_sync(tmp_path)
    rows().to_parquet(tmp_path / "sync.parquet")
    with pytest.raises(PipelineError, match="not an alignment table"):
        read_sync(tmp_path)
    (tmp_path / "sync.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(PipelineError, match="not an alignment table"):
        read_sync(tmp_path)

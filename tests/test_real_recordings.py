"""Real captured bytes, from the file a lab has to the cube: import, process, open, look where the echoes are."""

from pathlib import Path

import numpy as np
import pytest

from capture.importers import import_recording
from pipeline.cfg_text import write_cfg
from pipeline.cube import open_cube
from pipeline.cube_config import CubeConfig
from pipeline.sealing import verify
from pipeline.waveform import PRESETS, Waveform
from processing.cubes import process_recording
from processing.quality import measure_quality


def _profile(path: Path, **changes: object) -> Path:
    waveform = Waveform.model_validate(PRESETS["light"].model_dump() | {"name": path.name, **changes})
    path.write_text(write_cfg(waveform))
    return path


def _local_peaks(profile: np.ndarray, count: int) -> list[int]:
    inner = np.flatnonzero((profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])) + 1
    return inner[np.argsort(profile[inner])[::-1]][:count].tolist()


def test_a_sniffed_session_of_an_iwr1843(shared_data, tmp_path):
    """iwr1843_dca1000_pcap: 12 packets, 16,384 bytes, Q first; NOTE.md infers 16 chirps x 1 TX x 1 RX x 256 samples."""
    config = _profile(tmp_path / "one.cfg", loops=16, tx_order=(1,), rx_channels=(1,))
    recording = import_recording(tmp_path, shared_data / "iwr1843_dca1000_pcap" / "test_one_frame.pcap", [config])
    assert (len(recording.packets), recording.stream_bytes, recording.frame_count) == (12, 16_384, 1)
    assert recording.waveform.sample_order == "q-first"
    assert not recording.manifest.simulated
    report = verify(recording)
    assert report.ok
    assert report.missing_bytes == 0
    process_recording(recording, tmp_path, CubeConfig(clutter_removal=False, range_window="hann"))
    profile = open_cube(tmp_path, recording.id).rd(0).sum(axis=1)
    first, second = _local_peaks(profile[10:], 2)
    assert first + 10 == 59
    assert second + 10 in (38, 39)  # the echo lies half-way between the two bins
    assert profile[[59, 38]].min() > 100 * np.median(profile)
    assert measure_quality(recording).order.found == "q-first"


def test_two_people_moving_apart_at_the_same_range(shared_data, tmp_path):
    """openradar_8virt_frame, written as the card would have streamed it and imported as a lab's .bin."""
    path = shared_data / "openradar_8virt_frame" / "doppler_example_1.npy"
    stored = np.load(path)  # loop, virtual antenna, sample
    i, q = (part.astype(np.uint16).view(np.int16) for part in (stored.real, stored.imag))  # NOTE.md's repair
    words = np.stack([i.reshape(-1, 2), q.reshape(-1, 2)], axis=1).astype("<i2")
    (tmp_path / "adc_data.bin").write_bytes(words.tobytes())
    config = _profile(
        tmp_path / "openradar.cfg",
        start_frequency_ghz=77.4201,
        slope_mhz_per_us=60.0,
        sample_rate_ksps=2500,
        samples=128,
        idle_time_us=30.0,
        ramp_end_time_us=62.0,
        loops=128,
        sample_order="i-first",
    )
    recording = import_recording(tmp_path, tmp_path / "adc_data.bin", [config])
    assert recording.frame_count == 1
    assert recording.waveform.sample_order == "i-first"
    process_recording(recording, tmp_path, CubeConfig(dtype="float32", azimuth_bins=256, clutter_removal=False))
    cube = open_cube(tmp_path, recording.id)
    rad, azimuth_deg = cube.rad(0), cube.axes.azimuth_deg
    middle = rad.shape[2] // 2
    for range_bin, doppler, expected_deg in ((60, +7, 7.0), (61, -6, -16.0)):
        moving = rad[range_bin].max(axis=0)
        moving[middle - 2 : middle + 3] = 0
        side = slice(middle, None) if doppler > 0 else slice(0, middle)
        assert int(np.argmax(moving[side])) + (side.start or 0) - middle == doppler
        assert azimuth_deg[rad[range_bin, :, middle + doppler].argmax()] == pytest.approx(expected_deg, abs=1.5)
    still = rad[:, :, middle].sum(axis=1)
    assert int(np.argmax(still[90:120])) + 90 == 107
    assert cube.axes.range_m[60] == pytest.approx(2.93, abs=0.02)

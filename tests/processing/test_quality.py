"""Each measure of the quality report, on recordings with that one defect put in."""

import json

import numpy as np
import pytest
from echoes import SMALL, Echo, record, samples_of, scene, words_of

from pipeline.errors import PipelineError
from pipeline.sealing import seal
from processing.quality import FRAMES_LOOKED_AT, QualityReport, make_quality, measure_quality, quality_path

STATIC = [Echo(5, 0, 0.1, 900), Echo(19, 0, -0.3, 700), Echo(26, 0, 0.5, 500)]


def _frames(
    count: int = 4, change=lambda samples, frame: samples, echoes=STATIC, noise: float = 5.0
) -> list[np.ndarray]:
    return [words_of(change(samples_of(SMALL, echoes, noise=noise, seed=frame), frame)) for frame in range(count)]


def _report(tmp_path, frames, **kwargs) -> QualityReport:
    return measure_quality(record(tmp_path, "r", SMALL, frames, **kwargs))


def test_a_clean_recording_is_good(tmp_path):
    report = _report(tmp_path, scene(count=40))
    assert report.verdict == "good", report.reasons
    assert report.reasons == ("Nothing stands out.",)
    assert (report.frames, report.frames_looked_at, report.simulated) == (40, FRAMES_LOOKED_AT, True)
    assert report.loss.missing_bytes == report.interference.chirps == report.timing.gaps == 0
    assert report.order.found == report.order.expected == "q-first"
    assert report.timing.period_ms == pytest.approx(100.0)


def test_range_profile_and_noise_floor_are_in_decibels_of_full_scale(tmp_path):
    tone = [Echo(20, 0, 0.0, 32768 / 10)]
    report = _report(tmp_path, _frames(echoes=tone, noise=8.0))
    assert int(np.argmax(report.range_profile_dbfs)) == 20
    assert max(report.range_profile_dbfs) == pytest.approx(-20.0, abs=0.1)
    assert report.range_m[20] == pytest.approx(20 * SMALL.range_resolution_m, abs=1e-3)
    # Complex noise of 8 counts in each of I and Q, spread over the bins by a Hann window: |w|^2 sum / (w sum)^2 = 1.5 / n.
    expected = 10 * np.log10(2 * 8**2 * 1.5 / SMALL.samples / 32768**2)
    assert report.noise_floor_dbfs == pytest.approx(expected, abs=0.3)


def test_loss_is_counted_and_does_not_touch_the_other_measures(tmp_path):
    frames = _frames(10)
    clean = _report(tmp_path / "clean", frames)
    start = SMALL.frame_bytes * 3 - 700
    report = _report(tmp_path / "lossy", frames, lost=[(start, start + 1400)])
    assert report.loss.known
    assert report.loss.missing_bytes % 1456 == 0
    assert report.loss.longest_hole_bytes == report.loss.missing_bytes
    assert report.loss.frames == 2
    assert report.loss.share == pytest.approx(report.loss.missing_bytes / (10 * SMALL.frame_bytes))
    assert report.verdict == "bad"
    assert "never arrived, in 2 of 10 frames" in report.reasons[0]
    assert report.range_profile_dbfs == pytest.approx(clean.range_profile_dbfs, abs=0.5)
    assert report.static_skirt_ratio == pytest.approx(clean.static_skirt_ratio, abs=1e-4)
    assert report.interference.chirps == 0


def test_without_packets_loss_is_unknown_and_zero_chirps_are_said(tmp_path):
    frames = _frames(3)
    hole = 2 * SMALL.rx_count * SMALL.samples
    frames[1][4 * hole : 7 * hole] = 0
    report = _report(tmp_path, frames, packets=False)
    assert not report.loss.known
    assert report.loss.zero_chirps == 3
    assert report.verdict == "look"
    assert "3 chirps" in report.reasons[0]
    assert not report.timing.known


def test_saturation_is_a_share_for_each_receiver(tmp_path):
    def clip(samples, frame):
        samples = samples.copy()
        samples[:, :, 2] *= 50
        return samples

    report = _report(tmp_path, _frames(change=clip))
    shares = [receiver.saturated_share for receiver in report.receivers]
    assert shares[2] > 0.1
    assert shares[0] == shares[1] == shares[3] == 0
    assert report.verdict == "bad"
    assert any("Receiver 3 saturates" in reason for reason in report.reasons)


def test_dc_of_each_receiver_in_counts(tmp_path):
    offsets = np.array([0, 1500 - 900j, 0, 0])

    report = _report(tmp_path, _frames(change=lambda samples, frame: samples + offsets[None, None, :, None]))
    assert report.receivers[1].dc_i == pytest.approx(1500, abs=5)
    assert report.receivers[1].dc_q == pytest.approx(-900, abs=5)
    assert report.receivers[0].dc_i == pytest.approx(0, abs=5)
    assert any("Receiver 2 has a DC offset of (15" in reason for reason in report.reasons)
    assert report.receivers[1].rms == pytest.approx(report.receivers[0].rms, rel=0.02)


def test_a_weak_and_a_silent_receiver(tmp_path):
    gains = np.array([1, 0.4, 0, 1])
    report = _report(tmp_path, _frames(change=lambda samples, frame: samples * gains[None, None, :, None]))
    assert report.receivers[1].imbalance_db == pytest.approx(20 * np.log10(0.4), abs=0.2)
    assert report.receivers[2].rms == 0
    assert report.receivers[2].imbalance_db == 0
    assert "Receiver 3 is silent" in " ".join(report.reasons)
    assert report.verdict == "bad"


def test_exchanged_i_and_q_are_told(tmp_path):
    echoes = [Echo(4, 0, 0.1, 900), Echo(7, 0, 0.1, 700), Echo(12, 0, 0.2, 400)]
    frames = [words_of(samples_of(SMALL, echoes, seed=seed), "i-first") for seed in range(4)]
    report = _report(tmp_path, frames)
    assert (report.order.expected, report.order.found) == ("q-first", "i-first")
    assert report.verdict == "bad"
    assert "the range axis is mirrored" in " ".join(report.reasons)
    assert "--sample-order i-first" in " ".join(report.reasons)


def test_interleaved_samples_are_told(tmp_path):
    frames = [words_of(samples_of(SMALL, STATIC, seed=seed), "interleaved") for seed in range(4)]
    report = _report(tmp_path, frames)
    assert report.order.found == "interleaved"
    assert "up to four times" in " ".join(report.reasons)


def test_a_stream_off_its_alignment_is_told(tmp_path):
    stream = np.concatenate(_frames(5))
    words = SMALL.frame_bytes // 2
    report = _report(tmp_path, list(stream[2 : 2 + 4 * words].reshape(4, words)))
    assert report.order.byte_shift == 4
    assert report.verdict == "bad"


@pytest.mark.parametrize(("wobble_rad", "verdict"), [(0.0, "good"), (0.012, "good"), (0.15, "bad")])
def test_phase_noise_widens_static_echoes(tmp_path, wobble_rad, verdict):
    """A slow phase wobble a puts (a/2)^2 of the energy on each side of zero Doppler."""
    loop = np.arange(SMALL.loops)
    wobble = np.exp(1j * wobble_rad * np.sin(2 * np.pi * 2 * loop / SMALL.loops))[:, None, None, None]
    report = _report(tmp_path, _frames(change=lambda samples, frame: samples * wobble))
    assert report.static_skirt_ratio == pytest.approx(wobble_rad**2 / 2, rel=0.1, abs=3e-5)
    assert report.verdict == verdict, report.reasons


def test_a_walker_does_not_count_as_phase_noise(tmp_path):
    walker = Echo(13, 3, 0.2, 800)
    report = _report(tmp_path, _frames(echoes=[*STATIC, walker]))
    assert report.static_skirt_ratio < 2e-4


def test_noise_alone_has_no_skirt_and_no_order(tmp_path):
    report = _report(tmp_path, _frames(echoes=[], noise=30))
    assert report.static_skirt_ratio is None
    assert report.order.found is None
    assert report.verdict == "look"


@pytest.mark.parametrize("strength", [300.0, 20000.0])
def test_interfered_chirps_are_counted_one_by_one(tmp_path, strength):
    hit = [(0, 3, 1), (0, 4, 1), (2, 0, 0), (3, 31, 1)]

    def sweep(samples, frame):
        samples = samples.copy()
        t = np.arange(20)
        for _, loop, slot in [place for place in hit if place[0] == frame]:
            samples[loop, slot, :, 10:30] += strength * np.exp(1j * np.pi * 0.05 * (t - 10 + 2 * loop) ** 2)
        return samples

    report = _report(tmp_path, _frames(change=sweep, echoes=[*STATIC, Echo(13, 5, 0.2, 800)]))
    assert report.interference.chirps == len(hit)
    assert report.interference.share == pytest.approx(len(hit) / (4 * SMALL.chirps_per_frame))
    assert "another radar" in " ".join(report.reasons)


def test_frame_times_gaps_and_jitter(tmp_path):
    rng = np.random.default_rng(0)
    number = np.arange(30)
    number[12:] += 3
    times = (10**12 + number * 100_000_000 + rng.normal(0, 2e6, 30).astype(np.int64)).tolist()
    report = _report(tmp_path, _frames(30), frame_times_ns=times)
    assert report.timing.period_ms == pytest.approx(100, abs=2)
    assert (report.timing.gaps, report.timing.missed_frames) == (1, 3)
    assert report.timing.longest_gap_ms == pytest.approx(400, abs=12)
    assert 2 < report.timing.jitter_ms < 10
    assert any("about 3 frames missing" in reason for reason in report.reasons)


def test_a_wrong_period_is_said(tmp_path):
    times = [10**12 + frame * 125_000_000 for frame in range(8)]
    report = _report(tmp_path, _frames(8), frame_times_ns=times)
    assert "Frames come every 125.00 ms, configured are 100.00 ms." in report.reasons


def test_a_real_frame_of_a_board_in_order_is_good(tmp_path, shared_data):
    """Two people in front of an 8-element row (NOTE.md beside the file; int16 stored as if unsigned)."""
    stored = np.load(shared_data / "openradar_8virt_frame" / "doppler_example_1.npy")
    i, q = (part.astype(np.uint16).view(np.int16).astype(float) for part in (stored.real, stored.imag))
    waveform = SMALL.model_copy(
        update={
            "samples": 128,
            "loops": 128,
            "sample_rate_ksps": 2500,
            "slope_mhz_per_us": 60.0,
            "ramp_end_time_us": 62.0,
        }
    )
    words = words_of((i + 1j * q).reshape(128, 2, 4, 128))
    report = measure_quality(record(tmp_path, "real", waveform, [words], packets=False, simulated=False))
    assert report.verdict == "good", report.reasons
    assert report.order.found == "q-first"
    assert report.static_skirt_ratio < 2e-4
    assert not report.simulated
    profile = np.array(report.range_profile_dbfs)
    assert {60, 107} <= set(np.flatnonzero((profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])) + 1)


def test_odd_shapes_are_measured(tmp_path):
    waveform = SMALL.model_copy(update={"samples": 50, "loops": 1, "tx_order": (1, 2, 3), "rx_channels": (1, 3)})
    frames = [words_of(samples_of(waveform, STATIC, seed=seed)) for seed in range(2)]
    report = measure_quality(record(tmp_path, "odd", waveform, frames))
    assert [receiver.rx for receiver in report.receivers] == [1, 3]
    assert report.noise_floor_dbfs is None
    assert report.static_skirt_ratio is None
    assert len(report.range_profile_dbfs) == 50


def test_a_recording_of_zeros_is_bad(tmp_path):
    report = _report(tmp_path, [np.zeros(SMALL.frame_bytes // 2, np.int16)] * 2)
    assert report.verdict == "bad"
    assert report.loss.zero_chirps == 2 * SMALL.chirps_per_frame


def test_how_it_ended_is_said(tmp_path):
    recording = record(tmp_path, "r", SMALL, _frames(2), sealed=False)
    report = measure_quality(seal(recording.folder, status="abort", reason="The disk was full."))
    assert report.verdict == "look"
    assert report.reasons == ("It ended as abort: The disk was full.",)


def test_no_whole_frame_is_a_sentence(tmp_path):
    with pytest.raises(PipelineError, match="r has no whole frame"):
        _report(tmp_path, [np.zeros(10, np.int16)])


def test_the_report_is_stored_and_measured_again_only_when_it_must(tmp_path):
    recording = record(tmp_path, "r", SMALL, _frames(2))
    report = make_quality(recording, tmp_path)
    path = quality_path(tmp_path, "r")
    assert QualityReport.model_validate_json(path.read_bytes()) == report
    before = path.stat().st_mtime_ns
    assert make_quality(recording, tmp_path) == report
    assert path.stat().st_mtime_ns == before
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"raw_digest": "of other samples", "verdict": "bad"}))
    assert make_quality(recording, tmp_path) == report
    path.write_text("torn")
    assert make_quality(recording, tmp_path) == report
    make_quality(recording, tmp_path, force=True)
    assert path.stat().st_mtime_ns > before


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    recording = record(tmp_path, "r", SMALL, _frames(2))
    (tmp_path / "quality").write_text("in the way")
    with pytest.raises(PipelineError, match=r"report .*quality.* cannot be written"):
        make_quality(recording, tmp_path)

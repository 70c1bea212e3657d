"""Lines between clocks: known drift and offset come back, under jitter, delays and readings that are plainly wrong."""

import numpy as np
import pytest

from capture.clock_fit import fit_clock, fit_latency_floor
from pipeline.errors import PipelineError

BOOT_S = 123_456.0  # a host that has been up for a day and a half


def clocks(seconds: float, every_s: float, drift_ppm: float, offset_s: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Readings of a device that runs `drift_ppm` too fast, and the host times at which they were true."""
    host = BOOT_S + np.arange(0, seconds, every_s)
    return offset_s + (host - BOOT_S) * (1 + drift_ppm * 1e-6), host


@pytest.mark.parametrize("drift_ppm", [-200.0, 0.0, 35.0, 200.0])
def test_an_exact_line_comes_back_to_the_nanosecond(drift_ppm):
    device, host = clocks(600, 1, drift_ppm)
    line = fit_clock(device, host)
    np.testing.assert_allclose(line.host_s(device), host, atol=1e-9, rtol=0)
    np.testing.assert_allclose(line.device_s(host), device, atol=1e-9, rtol=0)
    assert line.drift_ppm == pytest.approx(drift_ppm, abs=1e-3)
    assert line.readings == 600
    report = line.report()
    assert report.offset_s == pytest.approx(device[300] - host[300], abs=0.6 * 2e-4)
    assert report.residual_ms < 1e-5


def test_uncertain_readings_count_less_and_wrong_ones_not_at_all():
    rng = np.random.default_rng(1)
    device, host = clocks(120, 1, 200)
    round_trip = 200e-6 + rng.exponential(1e-3, host.size)  # one way of an answer may take it all
    middle = host + rng.uniform(-0.5, 0.5, host.size) * (round_trip - 200e-6)
    wrong = rng.choice(host.size, 12, replace=False)
    middle[wrong] += 3.0
    line = fit_clock(device, middle, round_trip / 2)
    assert np.abs(line.host_s(device) - host).max() < 100e-6
    assert line.drift_ppm == pytest.approx(200, abs=2)
    assert line.worst_s < 3e-3
    assert line.readings <= host.size - wrong.size


def test_a_rig_at_another_speed_has_another_slope():
    device, host = clocks(60, 1, 0)
    line = fit_clock(device * 20, host)
    assert line.scale == pytest.approx(1 / 20, rel=1e-9)


def test_few_readings_still_make_a_line():
    one = fit_clock(np.array([5.0]), np.array([9.0]))
    assert (one.scale, one.host_s(6.0), one.readings) == (1.0, 10.0, 1)
    two = fit_clock(np.array([5.0, 6.0]), np.array([9.0, 10.001]))
    assert two.host_s(7.0) == pytest.approx(11.002)
    assert fit_latency_floor(np.array([5.0]), np.array([9.0])).offset_s == 4.0
    assert fit_latency_floor(np.array([5.0, 6.0]), np.array([9.0, 10.0])).host_s(7.0) == pytest.approx(11.0)


@pytest.mark.parametrize("fit", [fit_clock, fit_latency_floor])
def test_readings_that_make_no_line_are_refused(fit):
    with pytest.raises(PipelineError, match="no reading"):
        fit(np.zeros(0), np.zeros(0))
    with pytest.raises(PipelineError, match="no time passing"):
        fit(np.full(3, 7.0), np.arange(3.0))
    with pytest.raises(PipelineError, match="not a number"):
        fit(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


@pytest.mark.parametrize("drift_ppm", [-200.0, 200.0])
def test_delays_do_not_lift_the_latency_floor(drift_ppm):
    rng = np.random.default_rng(2)
    device, host = clocks(60, 1 / 30, drift_ppm)
    latency = 4e-3 + rng.exponential(1e-3, host.size) + (rng.random(host.size) < 0.1) * rng.uniform(0, 0.2, host.size)
    latency[600:900] += 0.05  # ten seconds in which everything comes late
    line = fit_latency_floor(device, host + latency)
    assert np.abs(line.host_s(device) - host - 4e-3).max() < 0.5e-3
    assert line.drift_ppm == pytest.approx(drift_ppm, abs=10)
    assert line.worst_s < 2e-3


def test_one_early_reading_does_not_pull_the_floor_down_and_order_does_not_matter():
    rng = np.random.default_rng(3)
    device, host = clocks(60, 1 / 30, 50)
    arrived = host + 4e-3 + rng.exponential(1e-3, host.size)
    arrived[700] -= 0.5
    line = fit_latency_floor(device, arrived)
    assert np.abs(line.host_s(device) - host - 4e-3).max() < 0.5e-3
    order = rng.permutation(host.size)
    shuffled = fit_latency_floor(device[order], arrived[order])
    assert shuffled.host_s(40.0) == pytest.approx(line.host_s(40.0), abs=1e-9)


def test_a_short_recording_has_the_line_under_all_its_readings():
    device, host = clocks(0.4, 1 / 30, 0)
    latency = np.full(host.size, 5e-3)
    latency[[2, 9]] = 2e-3
    line = fit_latency_floor(device, host + latency)
    assert (host + latency - line.host_s(device)).min() == pytest.approx(0, abs=1e-9)
    assert line.readings == 2

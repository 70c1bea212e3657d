"""Small synthetic recordings with known echoes and known defects, written as a recorder writes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.manifest import RecordingManifest
from pipeline.packets import PACKET_RECORD
from pipeline.recording import Recording, create_recording
from pipeline.sealing import seal
from pipeline.waveform import Waveform

SMALL = Waveform(
    name="small",
    start_frequency_ghz=77.0,
    idle_time_us=60.0,
    adc_start_time_us=6.0,
    ramp_end_time_us=60.0,
    slope_mhz_per_us=65.998,
    samples=64,
    sample_rate_ksps=4800,
    tx_order=(1, 3),
    loops=32,
    period_ms=100.0,
)


@dataclass(frozen=True)
class Echo:
    """A point: range in bins, velocity in Doppler bins of `loops`, sine of azimuth, amplitude in counts."""

    range_bin: float
    doppler_bin: float = 0.0
    sine: float = 0.0
    amplitude: float = 1000.0


def samples_of(waveform: Waveform, echoes: Iterable[Echo], *, noise: float = 5.0, seed: int = 0) -> np.ndarray:
    """Complex samples `[loop, tx_slot, rx, sample]` of one frame, receding and rightward as positive frequencies."""
    loops, slots, _, count = waveform.frame_shape
    rng = np.random.default_rng(seed)
    out = noise * (rng.normal(size=waveform.frame_shape) + 1j * rng.normal(size=waveform.frame_shape))
    column_of_tx = {1: 0, 2: 2, 3: 4}
    columns = np.array([[column_of_tx[tx] + rx - 1 for rx in waveform.rx_channels] for tx in waveform.tx_order])
    chirp = np.arange(loops * slots).reshape(loops, slots) / (loops * slots)
    for echo in echoes:
        fast = np.exp(2j * np.pi * echo.range_bin * np.arange(count) / count)
        slow = np.exp(2j * np.pi * echo.doppler_bin * chirp)
        space = np.exp(1j * np.pi * echo.sine * columns)
        out += echo.amplitude * slow[:, :, None, None] * space[None, :, :, None] * fast
    return out


def words_of(samples: np.ndarray, order: str = "q-first") -> np.ndarray:
    """int16 words of one frame as they lie on the wire."""
    i = np.clip(np.round(samples.real), -32768, 32767).astype(np.int16).reshape(-1, 2)
    q = np.clip(np.round(samples.imag), -32768, 32767).astype(np.int16).reshape(-1, 2)
    groups = {
        "q-first": (q[:, 0], q[:, 1], i[:, 0], i[:, 1]),
        "i-first": (i[:, 0], i[:, 1], q[:, 0], q[:, 1]),
        "interleaved": (i[:, 0], q[:, 0], i[:, 1], q[:, 1]),
    }
    return np.stack(groups[order], axis=1).reshape(-1)


def record(
    root: Path,
    recording_id: str,
    waveform: Waveform,
    frames: Sequence[np.ndarray],
    *,
    lost: Sequence[tuple[int, int]] = (),
    frame_times_ns: Sequence[int] | None = None,
    packets: bool = True,
    simulated: bool = True,
    payload: int = 1456,
    trailing: bytes = b"",
    sealed: bool = True,
) -> Recording:
    """A recording folder under `root` whose stream is `frames` (words) one after another.

    Packets that touch a `lost` byte range are left out whole, and their bytes zeroed, as on a real wire.
    """
    manifest = RecordingManifest(id=recording_id, simulated=simulated, waveform=waveform, status="recording")
    folder = create_recording(root, manifest)
    stream = bytearray(b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames) + trailing)
    times = frame_times_ns or [10**12 + round(number * waveform.period_ms * 1e6) for number in range(len(frames) + 1)]
    offsets = np.arange(0, len(stream), payload)
    rows = np.zeros(len(offsets), PACKET_RECORD)
    rows["byte_offset"] = offsets
    rows["length"] = np.minimum(payload, len(stream) - offsets)
    rows["sequence"] = np.arange(1, len(offsets) + 1)
    frame_of = np.minimum((offsets + rows["length"] - 1) // waveform.frame_bytes, len(times) - 1)
    rows["monotonic_ns"] = np.asarray(times)[frame_of]
    rows["kernel_time_ns"] = rows["monotonic_ns"]
    keep = np.ones(len(rows), bool)
    for start, stop in lost:
        hit = (offsets < stop) & (offsets + rows["length"] > start)
        keep &= ~hit
        for row in rows[hit]:
            begin, length = int(row["byte_offset"]), int(row["length"])
            stream[begin : begin + length] = bytes(length)
    (folder / "adc.bin").write_bytes(stream)
    if packets:
        (folder / "packets.bin").write_bytes(rows[keep].tobytes())
    (folder / "radar.cfg").write_text("% a line of the profile\nsensorStart\n")
    if not sealed:
        from pipeline.recording import read_recording

        return read_recording(folder)
    return seal(folder)


def scene(waveform: Waveform = SMALL, count: int = 3, **kwargs: float) -> list[np.ndarray]:
    """Words of `count` frames: a static echo, a walker to the right going away, one to the left coming closer."""
    echoes = [
        Echo(5, 0, 0.1, 900),
        Echo(waveform.samples * 0.3, 6, 0.4, 400),
        Echo(waveform.samples * 0.45, -5, -0.5, 300),
    ]
    return [words_of(samples_of(waveform, echoes, seed=seed, **kwargs), waveform.sample_order) for seed in range(count)]

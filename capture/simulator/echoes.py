"""FMCW TDM-MIMO echoes of a scene for any waveform: the words a DCA1000 would stream, and the plain sum that defines them.

With `t` from a ramp's start, f(t) = f0 + S t, and tau(t) the exact two-way delay transmitter -> scatterer -> receiver
at that moment, the beat signal (I + jQ) is

    s(t) = sum over scatterers of  A exp(j 2 pi (f(t) tau(t) - S tau(t)^2 / 2))
    A = gain * amplitude * g_tx g_rx / (R_tx R_rx)

where g are the antennas' field factors towards the scatterer (`antenna_pattern`). What the board does to that sum is in
`impairments`. So a receding target has positive Doppler, and range migration, Doppler inside the chirp, TDM timing, near-field
geometry and two-way loss need no further terms. Antennas: `pipeline.antennas` puts columns where a target to the right
advances the phase, which places column k at x = -k/2 wavelengths (seen from behind the radar).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Complex128, Float32, Float64, Int16, Int64

from capture.simulator import echoes_kernels as kernels
from capture.simulator.antenna_pattern import AntennaKind, field_factor
from capture.simulator.clock import DeviceClock
from capture.simulator.impairments import IDEAL, Board, Impairments, board
from capture.simulator.scene import Scene, paths_at
from pipeline.antennas import TX_COLUMN, TX_ROW
from pipeline.errors import PipelineError
from pipeline.waveform import SPEED_OF_LIGHT_MPS, Waveform

GAIN_LSB_M = 1500.0
"""ADC counts of a 1 m^2 scatterer at 1 m: 12 dBm, 9 dBi antennas and 30 dB receiver gain, about 27 dB below full scale."""
_KNOT_SPACING_S = 2.5e-3  # cubic interpolation then errs by under 1e-4 rad for a limb swinging 0.3 m at 2 Hz
_NOISE_BANK = 1 << 19  # fresh Gaussian noise would cost more than all echoes together
_ORDER_CODES = {"i-first": kernels.I_FIRST, "q-first": kernels.Q_FIRST, "interleaved": kernels.INTERLEAVED}


def element_positions(
    waveform: Waveform,
) -> tuple[Float64[np.ndarray, "tx_slot 3"], Float64[np.ndarray, "rx 3"]]:
    """Where the transmitter of every slot and every receiver sits, metres (x right, y forward, z up)."""
    half_m = waveform.wavelength_m / 2
    tx = [(-TX_COLUMN[tx] * half_m, 0.0, TX_ROW[tx] * half_m) for tx in waveform.tx_order]
    rx = [(-(rx - 1) * half_m, 0.0, 0.0) for rx in waveform.rx_channels]
    return np.array(tx, np.float64), np.array(rx, np.float64)


def window_start_s(waveform: Waveform) -> Float64[np.ndarray, "loop tx_slot"]:
    """When each chirp's first sample is taken, seconds after the frame's start."""
    chirps = np.arange(waveform.chirps_per_frame) * waveform.chirp_period_s
    return (chirps + waveform.idle_time_s + waveform.adc_start_time_s).reshape(waveform.loops, waveform.tx_slots)


def direct_sum(
    scene: Scene,
    waveform: Waveform,
    start_s: float = 0.0,
    gain: float = GAIN_LSB_M,
    *,
    impairments: Impairments = IDEAL,
    seed: int = 0,
    index: int = 0,
) -> Complex128[np.ndarray, "loop tx_slot rx sample"]:
    """The equation above, term by term, for the frame that starts at `start_s`: slow, without noise or quantisation.

    Of `impairments`, everything linear is here; `seed` and `index` pick the frame's phase noise.
    """
    w = waveform
    sample_s = np.arange(w.samples) / w.sample_rate_hz
    frame = np.zeros(w.frame_shape, np.complex128)
    for loop, slot in np.ndindex(w.loops, w.tx_slots):
        times_s = start_s + window_start_s(w)[loop, slot] + sample_s
        frame[loop, slot] = _plain_chirp(*paths_at(scene, times_s), w, slot, gain, impairments.antenna)
    frame += _static_chirps(scene, w, gain, impairments.antenna)
    made = board(impairments, w, seed)
    factors = made.factors(index, start_s).astype(np.complex128).reshape(w.loops, w.tx_slots, w.rx_count, 1)
    return factors * frame + made.added


def _plain_chirp(
    sent_m: Float64[np.ndarray, "sample path 3"],
    heard_m: Float64[np.ndarray, "sample path 3"],
    amplitude: Float64[np.ndarray, "sample path"],
    waveform: Waveform,
    slot: int,
    gain: float,
    antenna: AntennaKind,
) -> Complex128[np.ndarray, "rx sample"]:
    """One chirp's echoes, given where everything is at each of its samples."""
    w = waveform
    ramp_hz = w.start_frequency_hz + w.slope_hz_per_s * (w.adc_start_time_s + np.arange(w.samples) / w.sample_rate_hz)
    tx_elements, rx_elements = element_positions(w)
    level = gain * amplitude * field_factor(sent_m, antenna) * field_factor(heard_m, antenna)
    tx_m = np.linalg.norm(sent_m - tx_elements[slot], axis=2)
    out = np.empty((w.rx_count, w.samples), np.complex128)
    for rx, element in enumerate(rx_elements):
        rx_m = np.linalg.norm(heard_m - element, axis=2)
        delay_s = (tx_m + rx_m) / SPEED_OF_LIGHT_MPS
        turns = ramp_hz[:, None] * delay_s - 0.5 * w.slope_hz_per_s * delay_s**2
        out[rx] = (level / (tx_m * rx_m) * np.exp(2j * np.pi * turns)).sum(axis=1)
    return out


def _static_chirps(
    scene: Scene, waveform: Waveform, gain: float, antenna: AntennaKind
) -> Complex128[np.ndarray, "tx_slot rx sample"]:
    """What the room adds to every chirp: the same sum, its delays the same for every sample."""
    w = waveform
    ramp_hz = w.start_frequency_hz + w.slope_hz_per_s * (w.adc_start_time_s + np.arange(w.samples) / w.sample_rate_hz)
    fixed_m, amplitude = scene.room()
    level = gain * amplitude * field_factor(fixed_m, antenna) ** 2
    tx_elements, rx_elements = element_positions(w)
    out = np.empty((w.tx_slots, w.rx_count, w.samples), np.complex128)
    for slot, rx in np.ndindex(w.tx_slots, w.rx_count):
        tx_m = np.linalg.norm(fixed_m - tx_elements[slot], axis=1)
        rx_m = np.linalg.norm(fixed_m - rx_elements[rx], axis=1)
        delay_s = (tx_m + rx_m) / SPEED_OF_LIGHT_MPS
        turns = np.outer(ramp_hz, delay_s) - 0.5 * w.slope_hz_per_s * delay_s**2
        out[slot, rx] = np.exp(2j * np.pi * turns) @ (level / (tx_m * rx_m))
    return out


def _static_chirps_by_blocks(
    scene: Scene, waveform: Waveform, gain: float, antenna: AntennaKind
) -> Complex128[np.ndarray, "tx_slot rx sample"]:
    """`_static_chirps`, with sines for one block of samples and for the turn to each other: a product of two matrices."""
    w, lanes = waveform, kernels.LANES
    fixed_m, amplitude = scene.room()
    level = gain * amplitude * field_factor(fixed_m, antenna) ** 2
    tx_elements, rx_elements = element_positions(w)
    tx_m = np.linalg.norm(fixed_m - tx_elements[:, None], axis=2)[:, None]
    rx_m = np.linalg.norm(fixed_m - rx_elements[:, None], axis=2)
    delay_s = ((tx_m + rx_m) / SPEED_OF_LIGHT_MPS).reshape(w.tx_slots * w.rx_count, 1, -1)
    first_hz = w.start_frequency_hz + w.slope_hz_per_s * w.adc_start_time_s
    samples = np.arange(lanes)[:, None] / w.sample_rate_hz
    turns = (first_hz + w.slope_hz_per_s * samples) * delay_s - 0.5 * w.slope_hz_per_s * delay_s**2
    first = np.exp(2j * np.pi * turns) * (level / (tx_m * rx_m)).reshape(delay_s.shape)
    blocks = np.arange(-(-w.samples // lanes))[:, None] * lanes / w.sample_rate_hz
    on = np.exp(2j * np.pi * w.slope_hz_per_s * blocks * delay_s)
    out: Complex128[np.ndarray, "channel block lane"] = on @ first.transpose(0, 2, 1)
    return out.reshape(w.tx_slots, w.rx_count, -1)[:, :, : w.samples]


class EchoSynthesiser:
    """Frames of one scene as one waveform sees it, as wire words; the same frame for the same seed, always.

    `threads` share a frame's chirps. Raises PipelineError for an odd number of samples, which no wire order can carry.
    """

    def __init__(
        self,
        scene: Scene,
        waveform: Waveform,
        seed: int = 0,
        *,
        impairments: Impairments = IDEAL,
        gain: float = GAIN_LSB_M,
        threads: int = 1,
    ) -> None:
        w = waveform
        if w.samples % 2:
            raise PipelineError(f"{w.name}: {w.samples} samples per chirp is odd; LVDS carries them in pairs.")
        self.scene, self.waveform, self.seed, self.gain = scene, waveform, seed, gain
        self._tx, self._rx = element_positions(w)
        self._first_s = float(window_start_s(w)[0, 0])
        length_s = w.chirps_per_frame * w.chirp_period_s
        self._knots = max(4, int(np.ceil(length_s / _KNOT_SPACING_S)) + 1)
        self._knot_step_s = length_s / (self._knots - 1)
        # Knot 0 is the first chirp's mid-window; later ones cover the last chirp's.
        self._chirp_time_s = np.arange(w.chirps_per_frame) * w.chirp_period_s
        self._middle_s = self._first_s + w.samples / w.sample_rate_hz / 2
        self._beat = np.array([1 / SPEED_OF_LIGHT_MPS, w.centre_frequency_hz, w.slope_hz_per_s, 1 / w.sample_rate_hz])
        self._board = board(impairments, w, seed)
        self._clutter = _lanes(_static_chirps_by_blocks(scene, w, gain, impairments.antenna))
        self._added = _lanes(self._board.added)
        words = self._clutter.shape[2] * self._clutter.shape[3]
        bank = np.random.default_rng(seed).standard_normal(max(_NOISE_BANK, 4 * words), np.float32)
        self._noise: Float32[np.ndarray, " word"] = np.float32(impairments.noise_lsb) * bank
        self._noise_span = len(bank) - words
        self._chunks = np.linspace(0, w.chirps_per_frame, threads + 1).astype(int).tolist()
        self._pool = ThreadPoolExecutor(threads, "echoes") if threads > 1 else None

    def frame(self, index: int, start_s: float) -> Int16[np.ndarray, " word"]:
        """Frame number `index` (which picks its noise) of the scene as it is from `start_s` on."""
        w = self.waveform
        knots_s = start_s + self._middle_s + np.arange(self._knots) * self._knot_step_s
        sent, heard, amplitude = _whole_groups(*_audible(*paths_at(self.scene, knots_s)))
        antenna = self._board.impairments.antenna
        level = (self.gain * amplitude * field_factor(sent, antenna) * field_factor(heard, antenna)).astype(np.float32)
        tx_m = self._distances(sent, self._tx)
        rx_m = self._distances(heard, self._rx)
        factors = _factor_table(self._board, index, start_s)
        noise_start = self._noise_starts(index)
        out = np.empty(w.frame_bytes // 2, np.int16)

        def chirps(first: int, last: int) -> None:
            kernels.add_echoes(
                tx_m, rx_m, level, self._clutter, factors, self._added, self._noise, noise_start, self._chirp_time_s,
                self._knot_step_s, self._beat, w.samples, _ORDER_CODES[w.sample_order], first, last, out.view(np.int32),
            )  # fmt: skip

        if self._pool is None:
            chirps(0, w.chirps_per_frame)
        else:
            for _ in self._pool.map(chirps, self._chunks[:-1], self._chunks[1:]):
                pass
        return out

    def _distances(
        self, positions: Float64[np.ndarray, "knot scatterer 3"], elements: Float64[np.ndarray, "element 3"]
    ) -> Float64[np.ndarray, "element knot scatterer"]:
        out = np.empty((len(elements), *positions.shape[:2]))
        kernels.knot_distances(np.ascontiguousarray(positions), elements, out)
        return out

    def _noise_starts(self, index: int) -> Int64[np.ndarray, "chirp rx"]:
        rows = (self.waveform.chirps_per_frame, self.waveform.rx_count)
        return np.random.default_rng([self.seed, index]).integers(0, self._noise_span + 1, rows)


def _lanes(
    chirps: Complex128[np.ndarray, "tx_slot rx sample"],
) -> Float32[np.ndarray, "tx_slot rx block lanes"]:
    """Samples padded to whole blocks, each block's real parts before its imaginary ones: what the kernel adds up in."""
    slots, receivers, samples = chirps.shape
    padded = np.pad(chirps, ((0, 0), (0, 0), (0, -samples % kernels.LANES)))
    blocks = padded.reshape(slots, receivers, -1, kernels.LANES)
    return np.concatenate([blocks.real, blocks.imag], axis=3).astype(np.float32)


def _audible(
    sent: Float64[np.ndarray, "knot path 3"],
    heard: Float64[np.ndarray, "knot path 3"],
    amplitude: Float64[np.ndarray, "knot path"],
) -> tuple[Float64[np.ndarray, "knot kept 3"], Float64[np.ndarray, "knot kept 3"], Float64[np.ndarray, "knot kept"]]:
    """Only what reflects at all in this frame: of a body's scatterers half are turned away or hidden."""
    loudest = np.abs(amplitude).max(axis=0)
    keep = np.flatnonzero(loudest > 1e-5 * loudest.max(initial=0.0))
    return sent[:, keep], heard[:, keep], amplitude[:, keep]


def _whole_groups(
    sent: Float64[np.ndarray, "knot path 3"],
    heard: Float64[np.ndarray, "knot path 3"],
    amplitude: Float64[np.ndarray, "knot path"],
) -> tuple[
    Float64[np.ndarray, "knot padded 3"], Float64[np.ndarray, "knot padded 3"], Float64[np.ndarray, "knot padded"]
]:
    """Fill the last group of scatterers up with ones 1 m away that reflect nothing."""
    missing = -amplitude.shape[1] % kernels.GROUP
    more = (0, 0), (0, missing), (0, 0)
    return (
        np.pad(sent, more, constant_values=1.0),
        np.pad(heard, more, constant_values=1.0),
        np.pad(amplitude, more[:2]),
    )


def _factor_table(made: Board, index: int, start_s: float) -> Float32[np.ndarray, "chirp rx 4"]:
    """The board's factors as the kernel takes them: magnitude, turns, real part, imaginary part."""
    factors = made.factors(index, start_s)
    return np.stack([np.abs(factors), np.angle(factors) / np.float32(2 * np.pi), factors.real, factors.imag], axis=2)


def frame_start_s(waveform: Waveform, index: int, clock: DeviceClock | None = None) -> float:
    """True seconds after the first frame's start at which frame `index` starts, by the radar's own `clock`."""
    return (clock or DeviceClock()).true_duration_s(index * waveform.frame_period_s)


def simulate_frames(
    scene: Scene,
    waveform: Waveform,
    frames: int,
    seed: int = 0,
    *,
    impairments: Impairments = IDEAL,
    clock: DeviceClock | None = None,
    threads: int = 1,
) -> Int16[np.ndarray, "frame word"]:
    """The words of `frames` frames, the first at scene time 0: exactly what the simulated card streams, without wires."""
    echoes = EchoSynthesiser(scene, waveform, seed, impairments=impairments, threads=threads)
    out = np.empty((frames, waveform.frame_bytes // 2), np.int16)
    for index in range(frames):
        out[index] = echoes.frame(index, frame_start_s(waveform, index, clock))
    return out

"""Which sample layout a recording has, and whether its bytes are aligned: judged from the samples alone.

Two facts tell the layouts apart, and they are measured separately.

**Pairing.** Decoded rightly, a chirp is a few tones: its power spectrum has few peaks. Decoded with I and Q taken from the
wrong words, every tone comes out as up to four of the same total power. So the sum over the range bins that stand out of the
noise of ln(power / noise) - the `spread` - is smallest for the right decode; this is a likelihood ratio (Whittle's), and zero
for noise. The same figure finds a stream that was cut off its alignment, by trying every byte shift.

**Mirror.** I and Q exchanged turn range bin k into n - k: leakage and near echoes, the strongest of a scene, then lie in the
far half. A lone echo in the far half is no proof of that, so such a verdict is likely, not certain.

Layouts are those of `pipeline.cube_config.SampleOrder` and one more: `interleaved-q-first` is what TI's recorder makes of a
Q-first stream with `reorderEnable` (`ReorderAlgorithm` in its source exchanges the two middle words of each group of four).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Complex64, Float64, Int16, UInt8

from pipeline.cube_config import SampleOrder
from pipeline.waveform import Waveform

Pairing = Literal["grouped", "adjacent"]
Layout = SampleOrder | Literal["interleaved-q-first"]

Spectra = dict[tuple[Pairing, int], Float64[np.ndarray, " range"]]

LAYOUT_OF: dict[tuple[Pairing, bool], Layout] = {
    ("grouped", True): "i-first",
    ("grouped", False): "q-first",
    ("adjacent", True): "interleaved",
    ("adjacent", False): "interleaved-q-first",
}
SAMPLES_JUDGED = 2**20  # more change no verdict
MIRROR_RATIO = 4.0  # one side's energy over the other's that says which is near: 12 to 20 on real recordings


@dataclass(frozen=True)
class LayoutFigures:
    """What one way of reading the words gives; `bins` range bins stand out of the noise.

    `spread` is the sum of ln(power / noise) over those bins: least for the right pairing and shift, equal for a layout and its
    mirror. `far_over_near` is the energy above noise in the far half of range over that in the near half (inf or nan where
    nothing stands out there): about 0.05 when right, far above 1 when mirrored.
    """

    layout: Layout
    byte_shift: int
    bins: int
    spread: float
    far_over_near: float

    @property
    def pairing(self) -> Pairing:
        return pairing_of(self.layout)


@dataclass(frozen=True)
class OrderVerdict:
    """What the samples say. `layout` is None where they are too weak or too few to say anything.

    `byte_shift` bytes (0-7) must be skipped to reach the first whole group of four words (of two when interleaved): 0 when
    aligned. `mirror_certain` tells whether I and Q are told apart beyond doubt; `layout` is then fully proven, else only its
    pairing is. `margin` is the runner-up's spread over the winner's, in units of the gap at which a verdict is given.
    """

    layout: Layout | None
    byte_shift: int
    mirror_certain: bool
    margin: float
    sentence: str
    figures: tuple[LayoutFigures, ...]


def measure_orders(words: Int16[np.ndarray, " word"], waveform: Waveform) -> tuple[LayoutFigures, ...]:
    """Figures of the four layouts, aligned, over whole chirps.

    `words` are int16 words of chirps of `waveform.samples` complex samples, in wire order; chirps with a run of zeros (lost
    bytes) are left out. Without a usable chirp the tuple is empty.
    """
    samples = waveform.samples
    spectra = _spectra(_usable(words, samples), samples, {"grouped": 1, "adjacent": 1})
    return _figures(*spectra) if spectra else ()


def detect_sample_order(words: Int16[np.ndarray, " word"], waveform: Waveform) -> OrderVerdict:
    """Judge layout, I/Q order and byte alignment of whole chirps of `waveform.samples` complex samples in wire order.

    Give it a few hundred chirps where there are so many, of several frames and every receiver; 16 chirps of a real scene are
    enough. Noise alone, or nothing but zeros, gives `layout` None.
    """
    samples = waveform.samples
    if samples < 16:
        return OrderVerdict(None, 0, False, 0.0, f"Chirps of {samples} samples are too short to judge their order.", ())
    spectra = _spectra(_usable(words, samples), samples, {"grouped": 8, "adjacent": 4})
    if spectra is None:
        sentence = "Every chirp looked at is empty or was lost, so the sample order cannot be told from the data."
        return OrderVerdict(None, 0, False, 0.0, sentence, ())
    powers, chirps = spectra
    figures = _figures(powers, chirps)
    best, *others = sorted(figures, key=lambda figure: figure.spread)
    runner_up = next(f for f in others if (f.pairing, f.byte_shift) != (best.pairing, best.byte_shift))
    # Four deviations of what chance does to bins that stand out; a stream said to be misaligned needs plainer proof.
    threshold = max(3.0 if best.byte_shift == 0 else 10.0, 4 * np.sqrt(2 * runner_up.bins / chirps))
    margin = float((runner_up.spread - best.spread) / threshold)
    if margin < 1:
        sentence = (
            f"No echo stands out of the noise in {chirps} chirps, so the sample order cannot be told from the data."
        )
        return OrderVerdict(None, 0, False, margin, sentence, figures)
    i_first, certain = _judge_mirror(powers[best.pairing, best.byte_shift], chirps, waveform)
    layout = LAYOUT_OF[best.pairing, i_first]
    figure = next(f for f in figures if f.layout == layout and f.byte_shift == best.byte_shift)
    sentence = _sentence(layout, best.byte_shift, certain, figure.far_over_near)
    return OrderVerdict(layout, best.byte_shift, certain, margin, sentence, figures)


def detect_chirp_start(words: Int16[np.ndarray, " word"], waveform: Waveform, verdict: OrderVerdict) -> int | None:
    """How many samples into each block of `waveform.samples` the chirps begin: 0 when aligned, None where it does not show.

    Echoes run on smoothly within a chirp and jump where the next one begins, so the error of a short linear predictor, folded
    to one chirp, peaks there; two samples are told apart, one is not. `words` must be contiguous in time, or cut at multiples of
    whole chirps.
    """
    samples = waveform.samples
    if verdict.layout is None or samples < 4 * _PREDICTOR:
        return None
    stream = _decode(_usable(words, samples, keep_order=True), pairing_of(verdict.layout), verdict.byte_shift)
    count = len(stream) // samples * samples
    if count < 4 * samples:
        return None
    error = _prediction_error(stream[:count]).reshape(-1, samples).mean(axis=0)
    middle = np.median(error)
    stands_out = error - middle > 15 * np.median(np.abs(error - middle))
    before = np.maximum(np.roll(error, 1), np.roll(error, 2))
    rise = error / np.maximum(before, 1e-9)  # most at the first sample of the jump
    start = int(np.argmax(np.where(stands_out, rise, 0)))
    # A jump may happen to be small in its first sample, and aligned chirps begin with a whole pair.
    return start - start % 2 if stands_out[start] and rise[start] > 1.2 else None


def pairing_of(layout: Layout) -> Pairing:
    """Which words belong together: `adjacent` for the interleaved layouts, else `grouped` in fours."""
    return "adjacent" if layout.startswith("interleaved") else "grouped"


# --- decoding --------------------------------------------------------------------------------------------------------


def _usable(words: Int16[np.ndarray, " word"], samples: int, *, keep_order: bool = False) -> UInt8[np.ndarray, " byte"]:
    """Bytes of the whole chirps that no loss touched, at most `SAMPLES_JUDGED` samples of them, evenly chosen."""
    chirps = words[: len(words) // (2 * samples) * 2 * samples].reshape(-1, 2 * samples)
    most = max(4, SAMPLES_JUDGED // samples)
    if len(chirps) > most:
        # Blocks of neighbours keep a byte shift visible: it moves words from one chirp into the next.
        blocks = max(1, min(16, most // 16))
        starts = np.linspace(0, len(chirps) - most // blocks, blocks).astype(int)
        chirps = np.concatenate([chirps[start : start + most // blocks] for start in starts])
    if len(chirps) and not keep_order:
        run = min(16, 2 * samples)
        blocks_of_run = chirps[:, : 2 * samples // run * run].reshape(len(chirps), -1, run)
        lost = np.any(~np.any(blocks_of_run, axis=2), axis=1)
        chirps = chirps[~lost]
    return np.ascontiguousarray(chirps).view(np.uint8).reshape(-1)


def _decode(stream: UInt8[np.ndarray, " byte"], pairing: Pairing, shift: int) -> Complex64[np.ndarray, " sample"]:
    """I + jQ of the words from byte `shift` on, read I first."""
    words = np.frombuffer(stream[shift : shift + (len(stream) - shift) // 8 * 8].tobytes(), "<i2")
    group = words.reshape(-1, 2, 2)
    samples = np.empty((len(group), 2), np.complex64)
    first, second = (group[:, 0], group[:, 1]) if pairing == "grouped" else (group[:, :, 0], group[:, :, 1])
    samples.real, samples.imag = first, second
    return samples.reshape(-1)


# --- figures ---------------------------------------------------------------------------------------------------------


def _range_power(stream: Complex64[np.ndarray, " sample"], samples: int) -> Float64[np.ndarray, " range"]:
    """Mean Hann-windowed power of each range bin over all whole chirps."""
    chirps = stream[: len(stream) // samples * samples].reshape(-1, samples)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)).astype(np.float32)
    spectrum = np.fft.fft(chirps * window, axis=1)
    return (spectrum.real**2 + spectrum.imag**2).mean(axis=0).astype(np.float64)


def _spectra(
    stream: UInt8[np.ndarray, " byte"], samples: int, shifts: dict[Pairing, int]
) -> tuple[Spectra, int] | None:
    """Spectrum of every pairing at every byte shift below `shifts[pairing]`, and the chirps averaged; None without chirps."""
    chirps = len(stream) // (samples * 4)
    if chirps == 0:
        return None
    padded = np.concatenate([stream, np.zeros(8, np.uint8)])  # a shift moves the last chirp past the end
    powers = {
        (pairing, shift): _range_power(_decode(padded, pairing, shift), samples)
        for pairing, count in shifts.items()
        for shift in range(count)
    }
    return powers, chirps


def _figures(powers: Spectra, chirps: int) -> tuple[LayoutFigures, ...]:
    noise = min(_noise(power, chirps) for power in powers.values())  # the right decode's: wrong ones raise the floor
    figures = []
    for (pairing, shift), power in powers.items():
        over = power / noise
        out = over[over > _stands_out(chirps)]
        spread = float(np.log(out).sum())
        near, far = _energies(power, chirps)
        figures.append(LayoutFigures(LAYOUT_OF[pairing, True], shift, len(out), spread, _ratio(far, near)))
        figures.append(LayoutFigures(LAYOUT_OF[pairing, False], shift, len(out), spread, _ratio(near, far)))
    return tuple(figures)


def _stands_out(chirps: int) -> float:
    """Power over mean noise that chance alone does not reach in any bin (about e**-20) when `chirps` are averaged."""
    return max(2.0, 1 + np.sqrt(40 / chirps) + 20 / chirps)


def _noise(power: Float64[np.ndarray, " range"], chirps: int) -> float:
    """Mean noise power of a bin: from the spectrum's 30 % quantile, and no less than rounding to whole numbers leaves."""
    quantile = (1 - 1 / (9 * chirps) - 0.524 / (3 * np.sqrt(chirps))) ** 3  # of a mean of exponentials: Wilson-Hilferty
    return max(float(np.quantile(power, 0.3)) / quantile, len(power) * 3 / 8 / 6)


def _excess(power: Float64[np.ndarray, " range"], chirps: int) -> Float64[np.ndarray, " range"]:
    """Power of the bins that stand out; those at and beside zero hold the receivers' constant offset and say nothing."""
    noise = _noise(power, chirps)
    above = np.where(power > _stands_out(chirps) * noise, power - noise, 0)
    above[[0, 1, -1]] = 0
    return above


def _energies(power: Float64[np.ndarray, " range"], chirps: int) -> tuple[float, float]:
    above = _excess(power, chirps)
    return float(above[: (len(power) + 1) // 2].sum()), float(above[len(power) // 2 + 1 :].sum())


def _ratio(far: float, near: float) -> float:
    if near == 0:
        return float("inf") if far else float("nan")
    return far / near


def _judge_mirror(power: Float64[np.ndarray, " range"], chirps: int, waveform: Waveform) -> tuple[bool, bool]:
    """(read I first?, certain?) from the spectrum decoded I first.

    Leakage from transmitter to receiver fills the bins beside zero on one side only and is proof alone. Without it (a
    simulation) the energy of the halves and of the outer quarters must say the same, and the echoes must be of a plausible size.
    """
    above, bins = _excess(power, chirps), len(power)
    leak, image = float(above[2:5].sum()), float(above[-4:-1].sum())
    by_leakage = _side(leak, image, MIRROR_RATIO) if max(leak, image) > 100 * _noise(power, chirps) else 0
    near, far = _energies(power, chirps)
    by_energy = _side(near, far, MIRROR_RATIO)
    by_quarters = _side(float(above[: bins // 4].sum()), float(above[-(bins // 4) :].sum()), 10.0)
    votes = {by_leakage, by_energy, by_quarters} - {0}
    if len(votes) != 1:
        return by_leakage > 0 or (by_leakage == 0 and near >= far), False
    (vote,) = votes
    return vote > 0, by_leakage != 0 or vote * _size_plausibility(power, chirps, waveform) >= 3


def _size_plausibility(power: Float64[np.ndarray, " range"], chirps: int, waveform: Waveform) -> float:
    """How much likelier the echoes' radar cross-sections are where they lie than mirrored, in nats (log likelihood ratio).

    The radar equation turns power over noise and range into a cross-section. What radars like these see measures -15 dBsm,
    give or take 12 dB: limbs, furniture, people.
    """
    bins, noise = len(power), _noise(power, chirps)
    bandwidth_db = 10 * np.log10(waveform.sample_rate_hz / 1e6)
    # One sample of 1 m^2 at 1 m: 12 dBm and twice 9 dBi at 3.9 mm against 15 dB over thermal noise in 1 MHz.
    one_square_metre_db = 12 + 18 + 20 * np.log10(waveform.wavelength_m) - 30 * np.log10(4 * np.pi) - (-174 + 60 + 15)
    total = 0.0
    for k in range(2, bins - 1):
        neighbours = power[max(2, k - 8) : min(bins - 1, k + 9)]
        is_peak = power[k - 1] <= power[k] > power[k + 1] and power[k] > 3e-3 * neighbours.max()  # no sidelobe
        if not is_peak or power[k] < 3 * _stands_out(chirps) * noise:
            continue
        echo_db = 10 * np.log10(power[k] / noise / (bins * 2 / 3)) - one_square_metre_db + bandwidth_db
        here, mirrored = (
            (echo_db + 40 * np.log10(waveform.range_max_m * part / bins) + 15) / 12 for part in (k, bins - k)
        )
        total += float(np.clip((mirrored**2 - here**2) / 2, -3, 3))
    return total


def _side(near: float, far: float, ratio: float) -> int:
    """1 where `near` is at least `ratio` times `far`, -1 the other way round, else 0."""
    if near == far:
        return 0
    return 1 if near >= ratio * far else -1 if far >= ratio * near else 0


_PREDICTOR = 6


def _prediction_error(stream: Complex64[np.ndarray, " sample"]) -> Float64[np.ndarray, " sample"]:
    """Squared error of the best linear predictor from the last `_PREDICTOR` samples; 0 for the first ones."""
    lags = np.stack([stream[_PREDICTOR - 1 - lag : len(stream) - 1 - lag] for lag in range(_PREDICTOR)], axis=1)
    target = stream[_PREDICTOR:]
    gram = (lags.conj().T @ lags).astype(np.complex128)
    gram += np.eye(_PREDICTOR) * (1e-6 * np.trace(gram).real / _PREDICTOR + 1e-9)
    weights = np.linalg.solve(gram, (lags.conj().T @ target).astype(np.complex128)).astype(np.complex64)
    error = np.zeros(len(stream))
    error[_PREDICTOR:] = np.abs(target - lags @ weights) ** 2
    return error


_WORDS_OF: dict[Layout, str] = {
    "i-first": "[I0 I1 Q0 Q1]",
    "q-first": "[Q0 Q1 I0 I1]",
    "interleaved": "[I0 Q0 I1 Q1]",
    "interleaved-q-first": "[Q0 I0 Q1 I1]",
}


def _sentence(layout: Layout, shift: int, certain: bool, far_over_near: float) -> str:
    pairing = f"The samples lie as {layout} {_WORDS_OF[layout]}"
    proof = f"far over near range energy {far_over_near:.2g}"
    doubt = "" if certain else ", though too few echoes stand out to be sure that I and Q are not exchanged"
    if shift == 0:
        return f"{pairing} ({proof}{doubt})."
    return (
        f"The stream is {shift} bytes off its alignment: from byte {shift} on it reads as {layout} {_WORDS_OF[layout]} "
        f"({proof}{doubt}), so its beginning was cut or something was put before it."
    )

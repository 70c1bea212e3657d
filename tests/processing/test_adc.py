"""Words to complex samples: made-up words, and real ones whose echoes are known."""

import dpkt
import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.sample_order import detect_sample_order
from pipeline.waveform import PRESETS, Waveform
from processing.adc import decode

LIGHT = PRESETS["light"]


def waveform(**changes) -> Waveform:
    return Waveform(**{**LIGHT.model_dump(), **changes})


def words_of(samples: np.ndarray, order: str) -> np.ndarray:
    """Words on the wire, written out sample by sample from hardware.md, section 1."""
    words = []
    chirps = samples.reshape(-1, samples.shape[-1])
    for chirp in chirps:
        if order == "interleaved":
            for sample in chirp:
                words += [sample.real, sample.imag]
        else:
            for a, b in zip(chirp[::2], chirp[1::2], strict=True):
                i, q = [a.real, b.real], [a.imag, b.imag]
                words += i + q if order == "i-first" else q + i
    return np.array(words, np.int16)


@pytest.mark.parametrize("order", ["i-first", "q-first", "interleaved"])
@pytest.mark.parametrize("shape", [{"samples": 2, "loops": 1}, {"samples": 10, "loops": 3, "tx_order": (2, 1, 3)}])
def test_every_order_decodes_to_the_same_samples(order, shape):
    config = waveform(**shape)
    rng = np.random.default_rng(3)
    i, q = rng.integers(-32768, 32768, (2, *config.frame_shape))
    samples = i + 1j * q
    decoded = decode(words_of(samples, order), config, order)
    assert decoded.dtype == np.complex64
    np.testing.assert_array_equal(decoded, samples)


def test_the_waveform_names_the_order_unless_told():
    config = waveform(samples=4, loops=1, tx_order=(1,), rx_channels=(1,), sample_order="q-first")
    words = np.arange(8, dtype=np.int16)
    np.testing.assert_array_equal(decode(words, config).ravel(), [2 + 0j, 3 + 1j, 6 + 4j, 7 + 5j])
    np.testing.assert_array_equal(decode(words, config, "i-first").ravel(), [0 + 2j, 1 + 3j, 4 + 6j, 5 + 7j])
    np.testing.assert_array_equal(decode(words, config, "interleaved").ravel(), [0 + 1j, 2 + 3j, 4 + 5j, 6 + 7j])


def test_pairs_need_an_even_number_of_samples():
    config = waveform(samples=5, loops=1)
    words = np.zeros(config.frame_bytes // 2, np.int16)
    for order in ("i-first", "q-first"):
        with pytest.raises(PipelineError, match=r"5 samples a chirp is odd.*even number"):
            decode(words, config, order)
    assert decode(words, config, "interleaved").shape == config.frame_shape


@pytest.mark.parametrize("wrong", [-2, 2])
def test_a_frame_of_another_size_is_refused(wrong):
    config = waveform(loops=1)
    with pytest.raises(PipelineError, match=r"a frame has 4096 words.*were given"):
        decode(np.zeros(config.frame_bytes // 2 + wrong, np.int16), config)


def test_a_memory_mapped_frame_decodes(tmp_path):
    config = waveform(loops=2)
    words = np.arange(config.frame_bytes // 2 * 2, dtype=np.int16)
    words.tofile(tmp_path / "adc.bin")
    mapped = np.memmap(tmp_path / "adc.bin", np.int16, "r")
    half = config.frame_bytes // 2
    np.testing.assert_array_equal(decode(mapped[half:], config), decode(words[half:], config))


def test_a_real_capture_has_its_two_echoes(shared_data):
    with (shared_data / "iwr1843_dca1000_pcap" / "test_one_frame.pcap").open("rb") as file:
        datagrams = [dpkt.ethernet.Ethernet(data).data.data for _, data in dpkt.pcap.Reader(file)]
    payloads = [bytes(datagram.data)[10:] for datagram in datagrams if (datagram.sport, datagram.dport) == (1024, 4098)]
    assert len(payloads) == 12
    words = np.frombuffer(b"".join(payloads), np.int16)
    config = waveform(loops=16, tx_order=(1,), rx_channels=(1,))
    order = detect_sample_order(words, config).layout
    assert order == "q-first"
    samples = decode(words, config, order)
    profile = np.abs(np.fft.fft(samples[:, 0, 0] * np.hanning(256))).mean(axis=0)
    peaks = [k for k in np.argsort(profile)[::-1] if k > 5 and profile[k] == profile[k - 2 : k + 3].max()]
    assert peaks[0] == 59
    assert peaks[1] in (38, 39)  # the echo lies half-way between: 27.8 k and 29.1 k counts
    assert profile[38:40].min() > 0.9 * profile[peaks[1]]
    assert profile[peaks[1]] > 100 * np.median(profile)
    mirrored = profile[[-59 % 256, -38 % 256]]
    assert mirrored.max() < 0.02 * profile[59]

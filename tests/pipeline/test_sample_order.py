"""Sample layouts are told from the samples: made-up scenes in every layout, and real recordings."""

import dpkt
import numpy as np
import pytest
from sample_streams import LAYOUTS, ROOM, as_words, echoes

from pipeline.sample_order import detect_chirp_start, detect_sample_order, measure_orders, pairing_of
from pipeline.waveform import PRESETS


def radar(samples):
    """A waveform with so many samples; nothing else of it matters but the scale of its range axis."""
    return PRESETS["light"].model_copy(update={"samples": samples})


@pytest.fixture(scope="module")
def pcap_words(shared_data):
    """Real samples, Q first: 16 chirps of 256."""
    with (shared_data / "iwr1843_dca1000_pcap" / "test_one_frame.pcap").open("rb") as file:
        packets = [dpkt.ethernet.Ethernet(data).data.data for _, data in dpkt.pcap.Reader(file)]
    stream = b"".join(bytes(packet.data)[10:] for packet in packets if packet.dport == 4098)
    return np.frombuffer(stream, "<i2")


@pytest.fixture(scope="module")
def misaligned_words(shared_data):
    """A real AWR1843BOOST frame as it lay in the file, in stream order: 128 chirps, 3 TX, 4 RX, 128 samples."""
    stored = np.fromfile(shared_data / "awr1843boost_3tx_frames" / "frame_1.bin", np.complex128)
    return as_words(stored.reshape(128, 128, 4, 3).transpose(1, 3, 2, 0).reshape(-1), "i-first")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("samples", [64, 100, 256, 512])
@pytest.mark.parametrize("chirps", [8, 300])
def test_every_layout_of_a_scene_is_told(layout, samples, chirps):
    verdict = detect_sample_order(as_words(echoes((chirps, samples), seed=samples + chirps), layout), radar(samples))
    assert (verdict.layout, verdict.byte_shift, verdict.mirror_certain) == (layout, 0, True)
    assert verdict.margin > 1
    right = next(f for f in verdict.figures if (f.layout, f.byte_shift) == (layout, 0))
    assert right.far_over_near < 0.25
    assert layout in verdict.sentence


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cut", [2, 4, 6])
def test_a_cut_stream_is_told_to_the_byte(layout, cut):
    words = as_words(echoes((64, 128)), layout)[cut // 2 :]
    verdict = detect_sample_order(words, radar(128))
    expected = -cut % (4 if layout.startswith("interleaved") else 8)
    assert (verdict.layout, verdict.byte_shift) == (layout, expected)
    assert ("off its alignment" in verdict.sentence) == (expected != 0)


def test_a_stream_cut_within_a_word_is_told():
    stream = as_words(echoes((64, 128)), "q-first").tobytes()[3:]
    verdict = detect_sample_order(np.frombuffer(stream[: len(stream) // 2 * 2], "<i2"), radar(128))
    assert (verdict.layout, verdict.byte_shift) == ("q-first", 5)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("chirps", "noise"), [(1, 30.0), (16, 3.0), (500, 0.4)])
def test_noise_alone_is_left_undecided(seed, chirps, noise):
    verdict = detect_sample_order(as_words(echoes((chirps, 64), (), noise, seed), LAYOUTS[seed % 4]), radar(64))
    assert verdict.layout is None
    assert "cannot be told" in verdict.sentence


@pytest.mark.parametrize("words", [np.zeros(0, np.int16), np.zeros(2 * 64 * 10, np.int16), np.full(40, 7, np.int16)])
def test_nothing_to_judge_is_said(words):
    assert detect_sample_order(words, radar(64)).layout is None
    assert measure_orders(words, radar(64)) == ()


def test_chirps_too_short_to_judge_are_left_undecided():
    verdict = detect_sample_order(as_words(echoes((500, 8)), "q-first"), radar(8))
    assert (verdict.layout, verdict.sentence) == (None, "Chirps of 8 samples are too short to judge their order.")


def test_one_far_echo_is_no_proof_of_a_mirror():
    far = as_words(echoes((200, 256), ((170.0, 300.0, 0.1),)), "q-first")
    verdict = detect_sample_order(far, radar(256))
    assert pairing_of(verdict.layout) == "grouped"
    assert not verdict.mirror_certain


def test_lost_chirps_do_not_count():
    words = as_words(echoes((200, 128)), "q-first").reshape(200, -1).copy()
    words[50:150, 20:200] = 0
    verdict = detect_sample_order(words.reshape(-1), radar(128))
    assert (verdict.layout, verdict.byte_shift, verdict.mirror_certain) == ("q-first", 0, True)


def test_hundreds_of_random_scenes_are_never_told_wrongly():
    generator = np.random.default_rng(5)
    decided = 0
    for number in range(200):
        samples, chirps = int(generator.choice([32, 64, 96, 128, 256])), int(generator.choice([2, 4, 16, 64]))
        noise = float(generator.choice([0.3, 3, 40]))
        targets = [
            (
                generator.uniform(1, 0.45 * samples),
                noise * 10 ** generator.uniform(0, 2.5),
                generator.uniform(-0.5, 0.5),
            )
            for _ in range(generator.integers(1, 8))
        ]
        layout = LAYOUTS[number % 4]
        verdict = detect_sample_order(
            as_words(echoes((chirps, samples), targets, noise, number), layout), radar(samples)
        )
        if verdict.layout is not None:
            decided += 1
            assert (pairing_of(verdict.layout), verdict.byte_shift) == (pairing_of(layout), 0)
            assert verdict.layout == layout or not verdict.mirror_certain
    assert decided > 170


def test_real_q_first_recording(pcap_words):
    verdict = detect_sample_order(pcap_words, radar(256))
    assert (verdict.layout, verdict.byte_shift, verdict.mirror_certain) == ("q-first", 0, True)
    assert detect_chirp_start(pcap_words, radar(256), verdict) == 0
    figures = {figure.layout: figure for figure in measure_orders(pcap_words, radar(256))}
    assert figures["q-first"].far_over_near < 0.05
    assert figures["i-first"].far_over_near > 20
    assert figures["interleaved"].spread > 1.5 * figures["q-first"].spread


def test_two_chirps_of_a_real_recording_are_enough(pcap_words):
    verdict = detect_sample_order(pcap_words[: 2 * 2 * 256], radar(256))
    assert (verdict.layout, verdict.byte_shift) == ("q-first", 0)


def test_real_misaligned_recording(misaligned_words):
    verdict = detect_sample_order(misaligned_words, radar(128))
    assert (verdict.layout, verdict.byte_shift, verdict.mirror_certain) == ("i-first", 4, True)
    assert "4 bytes off" in verdict.sentence
    # Four zero bytes before it bring I and Q together; its chirps then still begin 34 samples late, a second defect.
    repaired = np.concatenate([np.zeros(2, np.int16), misaligned_words[:-2]])
    again = detect_sample_order(repaired, radar(128))
    assert (again.layout, again.byte_shift, again.mirror_certain) == ("i-first", 0, True)
    assert detect_chirp_start(repaired, radar(128), again) == 34


@pytest.mark.parametrize("late", [0, 2, 18, 98])
def test_where_chirps_begin_is_found(late):
    signal = echoes((4, 50, 128), seed=3).reshape(-1)[(-late) % 128 :]
    words = as_words(signal[: len(signal) // 2 * 2], "q-first")
    assert detect_chirp_start(words, radar(128), detect_sample_order(words, radar(128))) == late


def test_where_chirps_begin_is_left_open_where_nothing_shows():
    words = as_words(echoes((40, 128), (), 20.0), "q-first")
    verdict = detect_sample_order(as_words(echoes((40, 128), ROOM), "q-first"), radar(128))
    assert detect_chirp_start(words, radar(128), verdict) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_real_frame_with_its_strongest_echo_far_away(shared_data, layout):
    """OpenRadar's frame: static return in bin 107 of 128, so that only the leakage in bins 1-3 tells the mirror."""
    stored = np.load(shared_data / "openradar_8virt_frame" / "doppler_example_1.npy")
    real, imag = (part.astype(np.int64).astype(np.uint16).view(np.int16) for part in (stored.real, stored.imag))
    words = as_words(real + 1j * imag, layout)
    verdict = detect_sample_order(words, radar(128))
    assert (verdict.layout, verdict.byte_shift, verdict.mirror_certain) == (layout, 0, True)
    assert detect_chirp_start(words, radar(128), verdict) == 0

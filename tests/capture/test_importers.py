"""Recordings of other tools brought in: TI's recorders and mmWave Studio, in pieces, with headers, in every layout."""

import json
import shutil
import struct
from itertools import pairwise

import numpy as np
import pytest
from card_packets import SMALL, packets_of, small_cfg
from sample_streams import as_words, echoes

from capture.importers import import_recording
from capture.simulator.echoes import simulate_frames
from capture.simulator.scene import default_scene
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.recording import open_recording
from pipeline.sealing import verify
from pipeline.waveform import PRESETS

FRAME = SMALL.frame_bytes
SIGNAL = echoes((5, *SMALL.frame_shape))
STREAM = as_words(SIGNAL, "q-first").tobytes()


@pytest.fixture
def bring_in(tmp_path):
    """Import a source with the small configuration into a root of the test's own."""

    def run(source, *, configs=None, **options):
        configs = [small_cfg(tmp_path)] if configs is None else configs
        return import_recording(tmp_path / "data", source, configs, **options)

    return run


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def adc(recording):
    return (recording.folder / "adc.bin").read_bytes()


def noted(recording, text):
    return any(text in note for note in recording.manifest.notes)


# --- plain files -----------------------------------------------------------------------------------------------------


def test_a_plain_file_is_kept_as_it_is(bring_in, tmp_path):
    recording = bring_in(
        put(tmp_path / "walk.bin", STREAM), recording_id="walk", participant="P1", action="walk", room="lab"
    )
    assert adc(recording) == STREAM
    assert (recording.frame_count, recording.trailing_bytes, recording.packets) == (5, 0, None)
    manifest = recording.manifest
    assert (manifest.id, manifest.status, manifest.origin, manifest.simulated) == (
        "walk",
        "success",
        "DCA1000 .bin",
        False,
    )
    assert (manifest.participant, manifest.room, manifest.segments[0].action) == ("P1", "lab", "walk")
    assert (recording.folder / "radar.cfg").read_text() == write_cfg(SMALL)
    assert (recording.folder / "source" / "small.cfg").read_text() == write_cfg(SMALL)
    assert noted(recording, "lost packets are unknown")
    assert verify(recording).ok
    assert open_recording(tmp_path / "data", "walk").raw_digest == recording.raw_digest
    assert all(path.stat().st_mode & 0o222 == 0 for path in recording.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", ["i-first", "q-first", "interleaved"])
def test_the_layout_is_told_from_the_samples(bring_in, tmp_path, layout):
    stream = as_words(SIGNAL, layout).tobytes()
    recording = bring_in(put(tmp_path / "a.bin", stream))
    assert recording.waveform.sample_order == layout
    assert adc(recording) == stream
    assert noted(recording, "the samples say otherwise and were believed") == (layout != "q-first")
    assert noted(recording, f"The samples lie as {layout}")


@pytest.mark.parametrize("layout", ["i-first", "interleaved"])
def test_the_layout_of_simulated_echoes_is_told(bring_in, tmp_path, layout):
    """Echoes by the radar equation, without the leakage that real radars have: two metres of a furnished room with a walker."""
    waveform = PRESETS["light"].model_copy(update={"loops": 16, "sample_order": layout})
    stream = simulate_frames(default_scene(), waveform, 2).tobytes()
    configs = [small_cfg(tmp_path, waveform.model_copy(update={"sample_order": "q-first"}))]
    recording = bring_in(put(tmp_path / "a.bin", stream), configs=configs)
    assert recording.waveform.sample_order == layout
    assert noted(recording, "The configuration says q-first; the samples say otherwise and were believed.")


def test_a_reordered_q_first_stream_is_put_back(bring_in, tmp_path):
    recording = bring_in(put(tmp_path / "a.bin", as_words(SIGNAL, "interleaved-q-first").tobytes()))
    assert recording.waveform.sample_order == "q-first"
    assert adc(recording) == STREAM
    assert noted(recording, "that was undone")


def test_toggled_top_bits_are_put_back(bring_in, tmp_path):
    toggled = (as_words(SIGNAL, "interleaved").view("<u2") ^ 0x8000).tobytes()
    recording = bring_in(put(tmp_path / "a.bin", toggled))
    assert recording.waveform.sample_order == "interleaved"
    assert adc(recording) == as_words(SIGNAL, "interleaved").tobytes()
    assert noted(recording, "Every sample's top bit was toggled")


@pytest.mark.parametrize("asked", ["i-first", "q-first", "interleaved"])
def test_a_layout_that_is_asked_for_is_taken(bring_in, tmp_path, asked):
    recording = bring_in(put(tmp_path / "a.bin", STREAM), sample_order=asked)
    assert recording.waveform.sample_order == asked
    assert adc(recording) == STREAM
    assert noted(recording, f"Sample order {asked} was asked for and taken, but:") == (asked != "q-first")


def test_noise_keeps_the_configured_layout(bring_in, tmp_path):
    noise = as_words(echoes((5, *SMALL.frame_shape), ()), "i-first").tobytes()
    recording = bring_in(put(tmp_path / "a.bin", noise))
    assert recording.waveform.sample_order == "q-first"
    assert noted(recording, "Sample order q-first is what the configuration says. No echo stands out")


def test_one_far_echo_does_not_turn_the_layout_around(bring_in, tmp_path):
    far = as_words(echoes((5, *SMALL.frame_shape), ((0.6 * SMALL.samples, 300.0, 0.1),)), "q-first").tobytes()
    recording = bring_in(put(tmp_path / "a.bin", far))
    assert recording.waveform.sample_order == "q-first"
    assert noted(recording, "import again with --sample-order i-first")


def test_a_misaligned_file_is_refused_with_the_way_out(bring_in, tmp_path):
    source = put(tmp_path / "a.bin", STREAM[4:])
    with pytest.raises(PipelineError, match=r"4 bytes off its alignment.*--realign pairs"):
        bring_in(source)
    taken = bring_in(source, sample_order="q-first")
    assert adc(taken) == STREAM[4:]
    assert noted(taken, "4 bytes off its alignment")


@pytest.mark.parametrize("cut", [2, 3, 4, 6])
def test_realigning_puts_back_the_bytes_that_were_cut(bring_in, tmp_path, cut):
    recording = bring_in(put(tmp_path / "a.bin", STREAM[cut:]), realign="pairs")
    assert adc(recording) == bytes(cut) + STREAM[cut:]
    assert noted(recording, f"Repaired: {cut} zero bytes were put before the stream")
    assert not noted(recording, "Chirps begin")


@pytest.mark.parametrize("extra", [2, 4, 5])
def test_realigning_takes_off_what_was_put_before(bring_in, tmp_path, extra):
    recording = bring_in(put(tmp_path / "a.bin", b"\x11" * extra + STREAM), realign="pairs")
    assert adc(recording) == STREAM
    assert noted(recording, f"first {extra} bytes were taken off")


def test_realigning_chirps_too(bring_in, tmp_path):
    cut = 4 * 20 + 4
    recording = bring_in(put(tmp_path / "a.bin", STREAM[cut:]), realign="chirps")
    assert adc(recording) == bytes(cut) + STREAM[cut:]
    pairs = bring_in(put(tmp_path / "a.bin", STREAM[cut:]), realign="pairs")
    assert noted(pairs, "Chirps begin 44 samples into where small.cfg has them begin")


def test_chirps_of_another_length_are_noticed(bring_in, tmp_path):
    late = bring_in(put(tmp_path / "a.bin", STREAM[8 * 5 :]))
    assert noted(late, "Chirps begin 54 samples into where small.cfg has them begin")


def test_real_misaligned_frame(shared_data, tmp_path):
    stored = np.fromfile(shared_data / "awr1843boost_3tx_frames" / "frame_1.bin", np.complex128)
    words = as_words(stored.reshape(128, 128, 4, 3).transpose(1, 3, 2, 0).reshape(-1), "i-first")
    waveform = SMALL.model_copy(update={"samples": 128, "loops": 128, "tx_order": (1, 2, 3), "period_ms": 100.0})
    source = put(tmp_path / "frame.bin", words.tobytes())
    configs = [small_cfg(tmp_path, waveform)]
    with pytest.raises(PipelineError, match=r"4 bytes off its alignment: from byte 4 on it reads as i-first"):
        import_recording(tmp_path / "data", source, configs)
    recording = import_recording(tmp_path / "data", source, configs, realign="pairs")
    assert recording.waveform.sample_order == "i-first"
    assert noted(recording, "Chirps begin 34 samples into")
    group = recording.frame_words(0).reshape(-1, 4).astype(float)
    samples = (group[:, :2] + 1j * group[:, 2:]).reshape(-1, 128)
    power = (np.abs(np.fft.fft(samples * np.hanning(129)[:-1], axis=1)) ** 2).mean(0)
    peaks = [b for b in range(3, 64) if power[b] > max(power[b - 1], power[b + 1])]
    assert sorted(peaks, key=lambda b: -power[b])[:3] == [49, 27, 24]


# --- pieces, headers, logs -------------------------------------------------------------------------------------------


def test_pieces_are_put_together_in_their_order(bring_in, tmp_path):
    bounds = [*range(0, len(STREAM), 1456 * 5), len(STREAM)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        put(tmp_path / "take" / f"adc_data_Raw_{number}.bin", STREAM[start:stop])
    assert len(bounds) > 11  # _10 comes after _9, not after _1
    recording = bring_in(tmp_path / "take" / "adc_data_Raw_0.bin")
    assert adc(recording) == STREAM
    assert noted(recording, f"The recording was in {len(bounds) - 1} pieces: adc_data_Raw_0.bin, adc_data_Raw_1.bin")
    assert adc(bring_in(tmp_path / "take")) == STREAM
    with pytest.raises(PipelineError, match=r"is not the recording's first piece; name adc_data_Raw_0\.bin"):
        bring_in(tmp_path / "take" / "adc_data_Raw_3.bin")
    (tmp_path / "take" / "adc_data_Raw_4.bin").unlink()
    with pytest.raises(PipelineError, match=r"adc_data_Raw_4\.bin is missing"):
        bring_in(tmp_path / "take" / "adc_data_Raw_0.bin")


def headed(packets):
    """TI's record of each packet: sequence, size, byte count, payload."""
    return b"".join(payload[:4] + struct.pack("<I", len(payload) - 10) + payload[4:] for _, payload in packets)


@pytest.mark.parametrize("payload", [1456, 500])
def test_packet_headers_give_the_exact_losses(bring_in, tmp_path, payload):
    packets = packets_of(STREAM, payload=payload)
    kept = [packet for number, packet in enumerate(packets) if number not in (0, 7, 8, 20)]
    kept.insert(9, kept.pop(4))
    half = len(kept) // 2
    put(tmp_path / "take" / "adc_data_Raw_0.bin", headed(kept[:half]))
    put(tmp_path / "take" / "adc_data_Raw_1.bin", headed(kept[half:]))
    recording = bring_in(tmp_path / "take" / "adc_data_Raw_0.bin")
    expected = bytearray(STREAM)
    for number in (0, 7, 8, 20):
        expected[number * payload : (number + 1) * payload] = bytes(payload)
    assert adc(recording) == expected
    lost = [[0, payload], [7 * payload, 9 * payload], [20 * payload, 21 * payload]]
    assert recording.missing_ranges().tolist() == lost
    assert recording.manifest.origin == "DCA1000 .bin with packet headers"
    assert recording.frame_time_ns().tolist() == [0] * 5
    assert verify(recording).ok


def test_a_headed_file_that_ends_in_a_packet(bring_in, tmp_path):
    data = headed(packets_of(STREAM))
    recording = bring_in(put(tmp_path / "a_Raw_0.bin", data[:-300]))
    assert adc(recording) == STREAM[:-300]
    assert noted(recording, "ends in the middle of packet")
    recording = bring_in(put(tmp_path / "b_Raw_0.bin", data + data[:5]))
    assert adc(recording) == STREAM
    assert noted(recording, "5 bytes of an incomplete packet header")


def test_a_damaged_headed_file(bring_in, tmp_path):
    data = bytearray(headed(packets_of(STREAM)))
    data[20 * 1470 + 4 : 20 * 1470 + 8] = b"\xff" * 4
    with pytest.raises(PipelineError, match=f"damaged at byte {20 * 1470}: a packet of 4294967295 bytes"):
        bring_in(put(tmp_path / "a.bin", bytes(data)))


LOG = """Start record configuration :
Log mode : Raw
LVDS lane mode : 2 lane
,*DT 1,
{rows}
Raw Data :
Out of sequence count - {out}
Out of sequence seen from 0 to 0
First Packet ID - 1
Last Packet ID - {last}
Number of received packets - {received}
Number of zero filled packets - {filled}
Number of zero filled bytes - {filled_bytes}
Duration(sec) - 17"""


def log_text(lost, packets, **changes):
    values = {
        "rows": "\n".join(f",{number * 1456},1456," for number in lost),
        "out": len(lost),
        "last": packets,
        "received": packets - len(lost),
        "filled": len(lost),
        "filled_bytes": 1456 * len(lost),
    }
    return LOG.format(**{**values, **changes}).encode()


@pytest.mark.parametrize("lost", [(), (3,), (0, 10, 11)])
def test_the_recorders_log_gives_the_exact_losses(bring_in, tmp_path, lost):
    data = bytearray(STREAM)
    for number in lost:
        data[number * 1456 : (number + 1) * 1456] = bytes(1456)
    source = put(tmp_path / "take" / "adc_data_Raw_0.bin", bytes(data))
    put(tmp_path / "take" / "adc_data_LogFile.csv", log_text(lost, -(-len(STREAM) // 1456)))
    recording = bring_in(source)
    assert adc(recording) == data
    missing = sorted(
        set(range(len(STREAM))) & {at for number in lost for at in range(number * 1456, number * 1456 + 1456)}
    )
    assert [at for start, stop in recording.missing_ranges() for at in range(start, stop)] == missing
    assert recording.manifest.counters["log_received"] == len(recording.packets)
    assert "source/adc_data_LogFile.csv" in recording.manifest.sources
    assert verify(recording).ok


@pytest.mark.parametrize("changes", [{"last": 9999}, {"filled": 5, "filled_bytes": 5 * 1456}, {"filled_bytes": 7}])
def test_a_log_that_does_not_fit_leaves_losses_unknown(bring_in, tmp_path, changes):
    source = put(tmp_path / "take" / "adc_data.bin", STREAM)
    put(tmp_path / "take" / "adc_data_LogFile.csv", log_text((), -(-len(STREAM) // 1456), **changes))
    recording = bring_in(source)
    assert recording.packets is None
    assert noted(recording, "does not fit the file to the byte")


def test_a_log_of_something_else_is_passed_over(bring_in, tmp_path):
    source = put(tmp_path / "take" / "adc_data.bin", STREAM)
    put(tmp_path / "take" / "adc_data_LogFile.csv", b"\xff\xfehello")
    assert noted(bring_in(source), "lost packets are unknown")


# --- configurations --------------------------------------------------------------------------------------------------


def studio_json(shared_data, **changes):
    content = json.loads((shared_data / "iwr6843isk_mmwave_studio" / "mmwaveDevice.mmwave.json").read_bytes())
    rf = content["mmWaveDevices"][0]["rfConfig"]
    rf["rlFrameCfg_t"] |= changes
    return content


def test_mmwave_studio_folder(shared_data, tmp_path):
    """Studio's own three files with a recording of their geometry (I first, 3 TX): the folder alone is enough."""
    folder = tmp_path / "PostProc"
    shutil.copytree(shared_data / "iwr6843isk_mmwave_studio", folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    (folder / "mmwaveDevice.mmwave.json").write_text(json.dumps(studio_json(shared_data, numLoops=4)))
    signal = echoes((2, 4, 3, 4, 512))
    put(folder / "adc_data.bin", as_words(signal, "i-first").tobytes())
    recording = import_recording(tmp_path / "data", folder)
    assert recording.frame_count == 2
    assert recording.waveform.frame_shape == (4, 3, 4, 512)
    assert recording.waveform.sample_order == "i-first"
    assert not (recording.folder / "radar.cfg").exists()
    assert noted(recording, "found beside the source: CaptureSetup.setup.json, mmwaveDevice.mmwave.json")
    assert noted(recording, "The configuration asks for 100 frames; 2 whole ones are here.")
    assert noted(recording, "does not fit the file to the byte")  # the log is of the original recording
    assert set(recording.manifest.sources) == {
        "source/CaptureSetup.setup.json",
        "source/mmwaveDevice.mmwave.json",
        "source/adc_data_LogFile.csv",
    }


def test_the_processed_file_is_taken_before_the_raw_one_it_was_made_of(bring_in, tmp_path):
    put(tmp_path / "take" / "adc_data_Raw_0.bin", STREAM)
    put(tmp_path / "take" / "adc_data.bin", STREAM[:FRAME])
    assert bring_in(tmp_path / "take").frame_count == 1


def test_but_a_raw_file_with_headers_is_better(bring_in, tmp_path):
    put(tmp_path / "take" / "adc_data_Raw_0.bin", headed(packets_of(STREAM)))
    put(tmp_path / "take" / "adc_data.bin", STREAM)
    recording = bring_in(tmp_path / "take")
    assert (adc(recording), len(recording.packets)) == (STREAM, -(-len(STREAM) // 1456))


def test_pieces_that_the_capture_setup_lists(bring_in, tmp_path):
    put(tmp_path / "take" / "one.bin", STREAM[: 2 * FRAME])
    put(tmp_path / "take" / "two.bin", STREAM[2 * FRAME :])
    files = [{"processedFileName": name} for name in ("one.bin", "two.bin")]
    setup = {"captureHardware": "DCA1000", "capturedFiles": {"files": files}}
    put(tmp_path / "take" / "a.setup.json", json.dumps(setup).encode())
    configs = [small_cfg(tmp_path), tmp_path / "take" / "a.setup.json"]
    assert adc(bring_in(tmp_path / "take" / "one.bin", configs=configs)) == STREAM
    (tmp_path / "take" / "two.bin").unlink()
    with pytest.raises(PipelineError, match=r"two\.bin is missing: the capture set-up lists it"):
        bring_in(tmp_path / "take" / "one.bin", configs=configs)


def card_json(folder, **changes):
    card = {"dataLoggingMode": "raw", "dataTransferMode": "LVDSCapture", "lvdsMode": 2, "dataFormatMode": 3} | changes
    return put(folder / "cf.json", json.dumps({"DCA1000Config": card}).encode())


def test_the_cards_json_announces_reordering(bring_in, tmp_path):
    """In noise nothing but the files tells the layout: q-first of the .cfg, reordered by the recorder."""
    noise = echoes((5, *SMALL.frame_shape), ())
    cf = card_json(tmp_path, dataFormatConfig={"reorderEnable": 1})
    source = put(tmp_path / "a.bin", as_words(noise, "interleaved-q-first").tobytes())
    recording = bring_in(source, configs=[small_cfg(tmp_path), cf])
    assert recording.waveform.sample_order == "q-first"
    assert adc(recording) == as_words(noise, "q-first").tobytes()


def test_four_lanes_are_refused(bring_in, tmp_path):
    configs = [small_cfg(tmp_path), card_json(tmp_path, lvdsMode=1)]
    with pytest.raises(PipelineError, match=r"cf\.json: 16-bit samples on 4 LVDS lanes are not supported"):
        bring_in(put(tmp_path / "a.bin", STREAM), configs=configs)

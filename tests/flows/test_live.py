"""`maepose live` behind a recorder of the simulated rig and on a recording again; frames as they come, lost bytes counted."""

import json
import threading
import time

import numpy as np
import pytest
import torch

from capture.session import CaptureRequest, launch
from flows.cli import main
from flows.live import live
from flows.live_frames import PacketTail, frames_being_made, frames_replayed
from models.checkpoints import ModelCard, build_network, save_model
from models.config import ClipConfig, EncoderConfig, PoseConfig, TrainConfig
from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD
from pipeline.recording import open_recording

RIG = """
kind = "simulated"
waveform = "light"
reserve_bytes = 0
camera = {source = "none"}
trigger = {port = "none"}
"""
CLIP = ClipConfig(
    modalities=("rd", "ra"), frames=4, targets=(1, 3), range_bins=32, doppler_bins=32, azimuth_bins=32,
    window_db={"rd": (-100.0, -50.0), "ra": (-100.0, -50.0)}, first_range_m=1.0,
)  # fmt: skip
POSE = PoseConfig(encoder=EncoderConfig(patch=(2, 8, 8), dim=16, depth=1, heads=2), width=8, heatmap_cells=16)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A data root with an untrained model, and a capture that was followed from its begin to its end."""
    root = tmp_path_factory.mktemp("lab")
    (root / "rig.toml").write_text(RIG)
    card = ModelCard(clip=CLIP, network=POSE, training=TrainConfig())
    torch.manual_seed(0)
    save_model(root / "experiments" / "tiny" / "model.safetensors", build_network(card), card)
    handle = launch(root, CaptureRequest(participant="p01", seconds=3.0))
    files = {"video": root / "live.mkv", "picture": root / "live.png"}
    times = live(root, root / "experiments" / "tiny" / "model.safetensors", **files)
    handle.wait(60.0)
    return root, handle.recording_id, times


def test_a_running_capture_is_followed_to_its_end(lab):
    root, recording_id, times = lab
    recording = open_recording(root, recording_id)
    assert times.recording == recording_id
    assert times.simulated
    # it may begin at the newest frame, and a busy machine may spare the network some; the last frame is always seen
    assert 10 <= times.frames <= recording.frame_count
    assert times.frames_with_loss == 0
    assert times.poses + times.frames_skipped >= times.frames - CLIP.frames + 1
    assert times.poses > 0
    assert len(times.latency_ms) == times.poses
    assert min(times.latency_ms) > 0
    rows = times.rows()
    assert rows["latency_ms"] <= rows["latency_95_ms"]
    assert (root / "live.png").read_bytes().startswith(b"\x89PNG")


def test_the_video_shows_every_picture_that_was_drawn(lab):
    import av

    root, _, times = lab
    with av.open(str(root / "live.mkv")) as film:
        pictures = sum(1 for _ in film.decode(video=0))
    assert times.poses <= pictures <= times.frames


def test_a_recording_is_replayed_at_its_own_pace(lab, capsys):
    root, recording_id, _ = lab
    recording = open_recording(root, recording_id)
    begin = time.monotonic()
    with pytest.raises(SystemExit):
        main(["live", "--replay", recording_id, "--model", "tiny", "--root", str(root), "--json", "--seconds", "60"])
    took_s = time.monotonic() - begin
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == recording.frame_count
    assert said["poses"] + said["frames_skipped"] >= recording.frame_count - CLIP.frames + 1
    assert took_s > (recording.frame_count - 1) * recording.frame_period_s
    assert said["latency_ms"] > 0


def test_replay_ends_when_it_is_told_to(lab):
    root, recording_id, _ = lab
    over = threading.Event()
    seen = []
    for frame in frames_replayed(open_recording(root, recording_id), over.is_set):
        seen.append(frame.index)
        if len(seen) == 3:
            over.set()
    assert seen[:3] == [0, 1, 2]
    assert len(seen) < 6


def test_frames_read_behind_a_recorder_are_those_of_the_recording(lab):
    """Once more from a recording that is done: nothing waits, so it is the newest frame alone."""
    root, recording_id, _ = lab
    recording = open_recording(root, recording_id)
    (last,) = frames_being_made(root, recording, lambda: False)
    assert last.index == recording.frame_count - 1
    assert np.array_equal(last.words, recording.frame_words(last.index))
    stop = (last.index + 1) * recording.waveform.frame_bytes
    inside = recording.packets["byte_offset"] < stop
    assert last.at_ns == recording.packets["monotonic_ns"][inside].max()
    assert last.missing_bytes == 0


def test_the_tail_of_packets_counts_what_never_came(tmp_path):
    path = tmp_path / "packets.bin"
    packets = np.zeros(6, PACKET_RECORD)
    packets["byte_offset"] = [0, 100, 300, 200, 400, 600]  # 300 came before 200; 500 never
    packets["length"], packets["monotonic_ns"] = 100, [1, 2, 3, 4, 5, 6]
    tail = PacketTail(path)
    path.write_bytes(packets[:4].tobytes())
    assert tail.frame(0, 250) == (0, 4)
    writer = threading.Timer(0.05, lambda: path.open("ab").write(packets[4:].tobytes()))
    writer.start()
    assert tail.frame(250, 550) == (50, 5)  # packets that come in a moment are waited for
    writer.join()
    assert tail.frame(550, 700) == (50, 6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("live", "--model", "tiny"), "none is running"),
        (("live", "{id}", "--model", "tiny"), "is not being recorded"),
        (("live", "--replay", "nobody", "--model", "tiny"), "There is no recording 'nobody'"),
        (("live", "--replay", "{id}", "--model", "nothing"), "There is no model 'nothing'"),
        (("predict", "{id}", "--model", "tiny"), "cube"),
        (("predict", "nobody", "--model", "tiny"), "nobody"),
        (("export-model", "--model", "nothing"), "There is no model 'nothing'"),
        (("pretrain", "--preset", "fancy"), "There is no model preset 'fancy'"),
        (("pretrain", "--hold-out", "p09"), "There is no recording of 'p09'"),
        (("pretrain", "--people", "p01,p07"), "There is no recording of p07"),
        (("finetune", "--encoder", "nothing", "--hold-out", "p01"), "p01"),
        (("finetune",), "too few to train"),
    ],
)
def test_a_failure_is_one_sentence(lab, capsys, words, sentence):
    root, recording_id, _ = lab
    with pytest.raises(SystemExit) as ended:
        main([word.format(id=recording_id) for word in words] + ["--root", str(root)])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    assert sentence in said.err
    assert said.err.splitlines()[-1].startswith("maepose: ")
    assert "fault of this program" not in said.err


def test_a_capture_or_a_replay_not_both(lab, capsys):
    root, recording_id, _ = lab
    with pytest.raises(SystemExit) as ended:
        main(["live", recording_id, "--replay", recording_id, "--model", "tiny", "--root", str(root)])
    assert ended.value.code == 2
    assert "not both" in capsys.readouterr().err


def test_a_model_that_lags_is_refused(lab, tmp_path):
    root, recording_id, _ = lab
    clip = CLIP.model_copy(update={"targets": (0, 2)})
    card = ModelCard(clip=clip, network=POSE, training=TrainConfig())
    save_model(tmp_path / "lag.safetensors", build_network(card), card)
    with pytest.raises(PipelineError, match="not the newest"):
        live(root, tmp_path / "lag.safetensors", recording_id, replay=True)

"""Two recordings summed: samples, losses, labels, who is in it, and what cannot be mixed."""

import numpy as np
import pytest
from echoes import SMALL, record, scene, words_of

from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, read_labels, write_labels
from pipeline.manifest import RecordingManifest, Segment
from pipeline.recording import Recording, open_recording, write_manifest
from pipeline.sealing import verify
from pipeline.splits import leave_one_out, people
from processing.adc import decode
from processing.mixing import mix

FRAME = SMALL.frame_bytes


def take(root, name: str, who: str, frames: int, seed: int, **kwargs) -> Recording:
    """A sealed recording of `who` with labels."""
    waveform = kwargs.pop("waveform", SMALL)
    words = scene(waveform, count=seed + frames)[seed:]
    recording = record(root, name, waveform, kwargs.pop("words", words), **kwargs)
    manifest = RecordingManifest(
        **recording.manifest.model_dump(exclude={"participant", "segments"}),
        participant=who,
        segments=(Segment(action="wave", stop_frame=2), Segment(action="bow", start_frame=2, stop_frame=frames)),
    )
    (recording.folder / "recording.json").chmod(0o644)
    recording.folder.chmod(0o755)
    write_manifest(recording.folder, manifest)
    uv = np.full((frames, 13, 2), seed / 100)
    write_labels(root, name, Labels(keypoint_table(uv, np.ones((frames, 13)), None, "none"), f"labeller of {who}"))
    return open_recording(root, name)


def test_samples_add_up_and_the_target_stays_whose_recording_it_is(tmp_path):
    first, second = take(tmp_path, "one", "a", 4, 0), take(tmp_path, "two", "b", 3, 5)
    mixed = mix(tmp_path, "one", "two", gain_db=-6.0)
    assert (mixed.id, mixed.frame_count, mixed.sealed) == ("one.with.two", 3, True)
    for frame in range(3):
        ours, a, b = (decode(one.frame_words(frame), SMALL) for one in (mixed, first, second))
        assert np.abs(ours - (a + 10 ** (-6 / 20) * b)).max() <= np.sqrt(0.5) + 1e-3
    about = mixed.manifest
    assert (about.participant, about.others, about.mixed_from) == ("a", ("b",), ("one", "two"))
    assert [(one.action, one.start_frame, one.stop_frame) for one in about.segments] == [("wave", 0, 2), ("bow", 2, 3)]
    assert about.simulated
    labels = read_labels(tmp_path, mixed.id)
    assert labels.labeller == "labeller of a"
    assert labels.table.equals(read_labels(tmp_path, "one").table)
    assert "Nobody was there together" in about.notes[0]
    report = verify(mixed)
    assert (report.ok, report.missing_bytes) == (True, 0)


def test_what_either_lost_is_lost(tmp_path):
    take(tmp_path, "one", "a", 4, 0, lost=[(FRAME + 3000, FRAME + 3001)])
    take(tmp_path, "two", "b", 4, 5, lost=[(2 * FRAME + 5000, 2 * FRAME + 9000)])
    mixed = mix(tmp_path, "one", "two")
    report = verify(mixed)
    assert (report.ok, report.frames_with_loss) == (True, 2)
    assert (mixed.frame_missing_bytes() > 0).tolist() == [False, True, True, False]
    lost = mixed.frame_missing_bytes()[2]
    assert 4000 <= lost <= 4000 + 4 * 1456


def test_without_packet_records_loss_stays_unknown(tmp_path):
    take(tmp_path, "one", "a", 3, 0, packets=False)
    take(tmp_path, "two", "b", 3, 5, lost=[(FRAME, FRAME + 10)])
    mixed = mix(tmp_path, "one", "two")
    assert mixed.packets is None
    assert not mixed.frame_words(1)[:5].any()
    assert mixed.frame_words(0)[:5].any()


def test_sums_saturate_and_say_so(tmp_path):
    loud = [words_of(np.full(SMALL.frame_shape, 30000 - 30000j)) for _ in range(2)]
    take(tmp_path, "one", "a", 2, 0, words=loud)
    take(tmp_path, "two", "b", 2, 0, words=loud)
    mixed = mix(tmp_path, "one", "two", recording_id="loud")
    samples = decode(mixed.frame_words(0), SMALL)
    assert set(samples.real.ravel()) == {32767}
    assert set(samples.imag.ravel()) == {-32768}
    assert mixed.manifest.counters["clipped_words"] == 2 * SMALL.frame_bytes // 2
    assert "cut to 16 bits" in mixed.manifest.notes[1]


def test_a_mixed_recording_is_in_nobodys_split_who_is_in_it(tmp_path):
    for number, who in enumerate("aabbcc"):
        take(tmp_path, f"{who}-{number}", who, 2, number)
    mix(tmp_path, "a-0", "b-2", recording_id="ab")
    table = people(tmp_path)
    for held_out in "ab":
        split = leave_one_out(table, held_out)
        assert "ab" not in {*split.train, *split.validation, *split.test}
    splits = [leave_one_out(table, "c", seed) for seed in range(12)]
    assert not any("ab" in {*split.validation, *split.test} for split in splits)
    for split in splits:
        assert ("ab" in split.train) == {"a-0", "b-2"}.issubset(split.train)
    assert any("ab" in split.train for split in splits)


def test_what_cannot_be_mixed_is_said(tmp_path):
    take(tmp_path, "one", "a", 2, 0)
    take(tmp_path, "again", "a", 2, 1)
    take(tmp_path, "other", "b", 2, 0, waveform=SMALL.model_copy(update={"slope_mhz_per_us": 50.0}))
    take(tmp_path, "fine", "b", 2, 0)
    record(tmp_path, "open", SMALL, scene(count=2), sealed=False)
    record(tmp_path, "bare", SMALL, scene(count=2))
    for target, bystander, sentence in (
        ("one", "again", "both show a, who cannot be their own bystander"),
        ("one", "other", r"recorded differently \(slope_mhz_per_us\)"),
        ("one", "open", "open is not sealed"),
        ("bare", "fine", "bare has no labels"),
        ("one", "nobody", "no recording 'nobody'"),
    ):
        with pytest.raises(PipelineError, match=sentence):
            mix(tmp_path, target, bystander)
    with pytest.raises(PipelineError, match="already a recording 'fine'"):
        mix(tmp_path, "one", "fine", recording_id="fine")
    with pytest.raises(PipelineError, match="is no name for a recording"):
        mix(tmp_path, "one", "fine", recording_id="x" * 101)
    assert sorted(path.name for path in (tmp_path / "recordings").iterdir()) == sorted(
        ["one", "again", "other", "fine", "open", "bare"]
    )

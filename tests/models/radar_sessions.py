"""Small recordings with cubes and labels: noise where only the order of things matters, people where physics does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.cube_config import CubeConfig
from pipeline.labels import Labels, keypoint_table, write_labels
from pipeline.manifest import RecordingManifest, Segment
from pipeline.packets import PACKET_RECORD
from pipeline.recording import Recording, create_recording
from pipeline.sealing import seal
from pipeline.skeleton import JOINTS
from pipeline.waveform import PRESETS, Waveform
from processing.cubes import process_recording

COARSE: Waveform = PRESETS["light"].model_copy(update={"name": "coarse", "samples": 64, "loops": 16})
"""64 range bins of 17 cm, 16 Doppler bins."""
MAPS = CubeConfig(products=("rd", "ra"))
PAYLOAD = 1456


def noise_words(frames: int, waveform: Waveform = COARSE, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 50, waveform.frame_bytes // 2).astype(np.int16) for _ in range(frames)]


def session(
    root: Path,
    recording_id: str,
    words: Sequence[np.ndarray],
    *,
    waveform: Waveform = COARSE,
    participant: str | None = "p01",
    segments: tuple[Segment, ...] = (),
    lost_frames: Sequence[int] = (),
    uv: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    cube: CubeConfig | None = MAPS,
    **manifest: object,
) -> Recording:
    """A sealed recording of `words`, its cube, and labels: joint j of frame f at u = f / 100, v = j / 100 unless given."""
    described = RecordingManifest(
        id=recording_id, simulated=True, waveform=waveform, participant=participant, segments=segments, **manifest
    )
    folder = create_recording(root, described)
    stream = bytearray(b"".join(np.ascontiguousarray(frame).tobytes() for frame in words))
    offsets = np.arange(0, len(stream), PAYLOAD)
    packets = np.zeros(len(offsets), PACKET_RECORD)
    packets["byte_offset"], packets["sequence"] = offsets, np.arange(1, len(offsets) + 1)
    packets["length"] = np.minimum(PAYLOAD, len(stream) - offsets)
    packets["monotonic_ns"] = 10**9 + offsets // waveform.frame_bytes * 10**8
    keep = np.ones(len(packets), bool)
    for frame in lost_frames:
        inside = np.flatnonzero(offsets // waveform.frame_bytes == frame)[1]
        keep[inside] = False
        stream[offsets[inside] : offsets[inside] + PAYLOAD] = bytes(PAYLOAD)
    (folder / "adc.bin").write_bytes(stream)
    (folder / "packets.bin").write_bytes(packets[keep].tobytes())
    recording = seal(folder)
    frames, joints = np.mgrid[: len(words), : len(JOINTS)]
    uv = np.stack([frames / 100, joints / 100], axis=-1) if uv is None else uv
    confidence = np.ones(uv.shape[:2]) if confidence is None else confidence
    write_labels(root, recording_id, Labels(keypoint_table(uv, confidence, None, "none"), "test"))
    if cube is not None:
        process_recording(recording, root, cube, threads=1)
    return recording

"""A study of noise that takes seconds: three people, networks of a few thousand weights, a few steps."""

from pathlib import Path

import numpy as np
import yaml
from radar_sessions import noise_words, session

from models.study import StudyConfig
from pipeline.manifest import Segment

PEOPLE = ("p01", "p02", "p03")
FRAMES = 24
ENCODER = {"patch": [2, 8, 8], "dim": 16, "depth": 1, "heads": 2}
SMALL = {
    "clip.frames": 4,
    "clip.targets": [1, 3],
    "clip.first_range_m": None,
    **{f"clip.{name}_bins": 16 for name in ("range", "doppler", "azimuth")},
    **{f"{part}.encoder.{name}": value for part in ("masked", "pose") for name, value in ENCODER.items()},
    "masked.decoder_dim": 16,
    "masked.decoder_heads": 2,
    "masked.mask_ratio": 0.5,
    "pose.width": 8,
    "pose.heatmap_cells": 8,
    **{
        f"{part}.{name}": value
        for part in ("pretraining", "finetuning")
        for name, value in (("steps", 4), ("batch", 4))
    },
}
STUDY = {
    "name": "small",
    "set": SMALL,
    "data_sets": {"walk": {"prefix": "walk-"}},
    "methods": [{"name": "MAEPose", "start": "pretrained"}, {"name": "CubeLearn", "method": "cubelearn"}],
    "modalities": ["rd"],
}


def record(
    root: Path, data_set: str = "walk", people: tuple[str, ...] = PEOPLE, takes: int = 2, **more: object
) -> None:
    """Recordings `<data set>-<person>-<take>` of noise, with cubes and labels that wander."""
    for person, who in enumerate(people):
        for take in range(takes):
            rng = np.random.default_rng([person, take, len(data_set)])
            uv = 0.5 + 0.3 * np.sin(np.arange(FRAMES)[:, None, None] / 4 + rng.uniform(0, 6, (1, 13, 2)))
            words = noise_words(FRAMES, seed=10 * person + take)
            whole = (Segment(action=f"action {take}", stop_frame=FRAMES),)
            session(root, f"{data_set}-{who}-{take}", words, participant=who, segments=whole, uv=uv, **more)


def study_file(folder: Path, **changes: object) -> Path:
    """The study as a file."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return path


def study_config(**changes: object) -> StudyConfig:
    return StudyConfig.model_validate(STUDY | changes)

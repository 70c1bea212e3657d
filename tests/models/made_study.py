"""A made-up study on disk, seconds to evaluate: people who move their arms or legs, and rows that are wrong by a known amount."""

from pathlib import Path

import numpy as np
import pandas as pd

from models.study import DataSetRule, StudyConfig, StudyMethod, ZeroShot, write_study
from models.study_store import Judged, TestedRecording, UnitMaking, write_predictions, write_truth
from models.study_units import Unit, asked, units
from pipeline.skeleton import JOINTS

STANDING = np.array(
    [
        [0.50, 0.25], [0.54, 0.35], [0.56, 0.45], [0.57, 0.54], [0.46, 0.35], [0.44, 0.45], [0.43, 0.54],
        [0.525, 0.55], [0.475, 0.55], [0.53, 0.69], [0.47, 0.69], [0.53, 0.83], [0.47, 0.83],
    ]
)  # fmt: skip
ACTIONS = ("arm raise", "stepping", "torso twist", "march")
ERRORS = {
    "MAEPose": 0.027, "MAEPose, random": 0.034, "MAEPose, MLP": 0.040, "MAEPose, GCN": 0.047,
    "CubeLearn": 0.035, "PoseFormer": 0.036, "HuPR": 0.038,
    "mean-pose": 0.06, "ridge": 0.045, "neighbours": 0.05, "own-mean-pose": 0.05, "nearest-pose": 0.015,
}  # fmt: skip
STILL = ("mean-pose", "own-mean-pose")
METHODS = (
    StudyMethod(name="MAEPose", start="pretrained"),
    StudyMethod(name="CubeLearn", method="cubelearn"),
    StudyMethod(name="PoseFormer", method="poseformer"),
    StudyMethod(name="HuPR", method="hupr"),
    StudyMethod(name="MAEPose, random", modalities=("dual",)),
    StudyMethod(name="MAEPose, MLP", start="pretrained", modalities=("dual",), set={"pose.head": "mlp"}),
    StudyMethod(name="MAEPose, GCN", start="pretrained", modalities=("dual",), set={"pose.head": "gcn"}),
)


FEW_METHODS = tuple(
    method for method in METHODS if method.name in ("MAEPose", "CubeLearn", "MAEPose, random", "MAEPose, MLP")
)


def small_config(people: int = 3, **changes: object) -> StudyConfig:
    """One data set and its zero-shot companion, Dual alone: what tests can evaluate in a second or two."""
    names = tuple(f"p{number}" for number in range(1, people + 1))
    sets = {name: DataSetRule(prefix=name, people=names, title=TITLES[name]) for name in ("move", "bystander")}
    values: dict[str, object] = {"data_sets": sets, "methods": FEW_METHODS, "modalities": ("dual",)}
    return made_config(people, **(values | changes))


def made_config(people: int = 8, **changes: object) -> StudyConfig:
    """Two data sets and one with a bystander, two modalities, two seeds; `changes` to that."""
    names = tuple(f"p{number}" for number in range(1, people + 1))
    sets = {name: DataSetRule(prefix=name, people=names, title=title) for name, title in TITLES.items()}
    values: dict[str, object] = {
        "name": "made", "title": "A made-up study", "data_sets": sets, "methods": METHODS, "modalities": ("rd", "dual"),
        "seeds": (1, 2), "people": names, "inside_split": True,
        "zero_shot": (ZeroShot(trained_on="move", tested_on="bystander"),),
    }  # fmt: skip
    return StudyConfig.model_validate(values | changes)


TITLES = {"move": "sim-move", "yoga": "sim-yoga", "bystander": "sim-bystander"}


def made_study(
    folder: Path, config: StudyConfig, frames: int = 12, metres: bool = True, errors: dict[str, float] = ERRORS
) -> Path:
    """Write a finished study; returns its folder."""
    write_study(folder / "study.yaml", config)
    truth = {}
    for number, name in enumerate(config.data_sets):
        rows, recordings = made_truth(name, config.data_sets[name].people, frames, number, metres)
        write_truth(folder, name, rows, recordings)
        truth[name] = rows
    for unit in units(config):
        write_unit(folder, config, unit, truth, errors)
    return folder


def write_unit(
    folder: Path, config: StudyConfig, unit: Unit, truth: dict[str, pd.DataFrame], errors: dict[str, float] = ERRORS
) -> None:
    """One unit's predictions: the share of the person's motion that a row follows, and an error about its own."""
    tested = config.tested_sets(unit.data_set) if unit.split == "person" else (unit.data_set,)
    parts = []
    for test_set in tested:
        rows = truth[test_set]
        part = rows[rows["person"] == unit.held_out] if unit.held_out else rows
        worse = 1.2 if test_set == "bystander" else 0.4 if unit.split == "inside" else 1.0
        rng = np.random.default_rng([ord(letter) for letter in unit.name + test_set])
        person = np.random.default_rng([ord(letter) for letter in f"{unit.held_out}{test_set}"])
        level = errors[unit.row] * worse * (1 + 0.15 * person.normal()) * (1 + 0.03 * rng.normal())
        level *= 1.2 if unit.modality == "rd" else 1.0
        places = part.groupby("joint")[["u", "v"]].transform("mean")
        share = 0.0 if unit.row in STILL else 0.7
        wrong = places + share * (part[["u", "v"]] - places) + rng.normal(0, level / 1.25, (len(part), 2))
        parts.append(part[["recording", "frame", "joint"]].assign(test_set=test_set, u=wrong["u"], v=wrong["v"]))
    steps = range(0, 500, 50)
    curve = tuple(
        Judged(step=s, loss=2 * np.exp(-s / 150), validation=errors[unit.row] * (1 + np.exp(-s / 100))) for s in steps
    )
    network = unit.kind == "network"
    making = UnitMaking(
        unit=unit,
        key="0" * 64,
        asked=asked(config, unit),
        simulated=True,
        parameters=1_200_000 if network else 0,
        seconds=60.0 if network else 2.0,
        pretraining_seconds=90.0 if unit.row == "MAEPose" else 0.0,
        history=curve if network else (),
        pretraining_history=curve if unit.row == "MAEPose" else (),
    )
    write_predictions(folder, making, pd.concat(parts))


def made_truth(
    data_set: str, people: tuple[str, ...], frames: int, seed: int, metres: bool = True
) -> tuple[pd.DataFrame, list[TestedRecording]]:
    """Each person does every action once: one recording a person and action; a joint in twenty is masked."""
    rng = np.random.default_rng(seed)
    parts, recordings = [], []
    for number, person in enumerate(people):
        height = 1 + 0.03 * rng.normal()
        for which, action in enumerate(ACTIONS):
            phase = np.linspace(0, 4 * np.pi, frames)[:, None]
            pose = np.repeat((STANDING * [1, height])[None], frames, axis=0)
            arms, legs = [2, 3, 5, 6], [9, 10, 11, 12]
            pose[:, arms if which % 2 == 0 else legs, 1] -= (0.05 + 0.05 * which) * (1 - np.cos(phase)) / 2
            pose[:, :, 0] += 0.02 * np.sin(phase / 2)
            name, depth_m = f"{data_set}-{person}-{which}", 2.0 + 0.15 * number + 0.2 * np.sin(phase)
            plane_m = (pose - 0.5) * [640, 480] * depth_m[..., None] / 600
            columns = {
                "recording": name, "person": person, "action": action, "frame": np.repeat(3 + 4 * np.arange(frames), len(JOINTS)),
                "joint": np.tile(np.arange(len(JOINTS)), frames), "u": pose[..., 0].ravel(), "v": pose[..., 1].ravel(),
                "confidence": (rng.random(frames * len(JOINTS)) > 0.05).astype(float),
                "x_m": plane_m[..., 0].ravel(), "y_m": plane_m[..., 1].ravel(), "z_m": np.repeat(depth_m, len(JOINTS)),
                "range_m": np.repeat(depth_m, len(JOINTS)), "scale_source": "simulator",
            }  # fmt: skip
            if not metres:
                columns |= dict.fromkeys(("x_m", "y_m", "z_m", "range_m"), np.nan) | {"scale_source": "none"}
            parts.append(pd.DataFrame(columns))
            recordings.append(
                TestedRecording(
                    recording=name,
                    person=person,
                    simulated=True,
                    frames=4 * frames + 10,
                    period_s=0.1,
                    width_px=640,
                    height_px=480,
                    fx_px=600,
                    fy_px=600,
                )
            )
    return pd.concat(parts, ignore_index=True), recordings

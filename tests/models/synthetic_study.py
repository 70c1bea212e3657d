"""A study's folder as `maepose study` leaves it, of made-up poses: for tests of what comes after the training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from models.config import FLOORS
from models.study import DataSetRule, StudyConfig, StudyMethod, ZeroShot, write_study
from models.study_store import Judged, TestedRecording, UnitMaking, write_predictions, write_truth
from models.study_units import asked, units
from pipeline.skeleton import JOINTS

PEOPLE = ("m01", "m02", "m03")
ACTIONS = ("arm-raise", "stepping")
NOISE = {"MAEPose": 0.02, "MAEPose at random": 0.03, "CubeLearn": 0.04, "PoseFormer": 0.045}
NOISE |= dict(zip(FLOORS, (0.07, 0.06, 0.05, 0.06, 0.015), strict=True))
"""Standard deviation of each row's error, shares of the picture; the person's own offset comes on top."""
METHODS = (
    StudyMethod(name="MAEPose", start="pretrained"),
    StudyMethod(name="MAEPose at random"),
    StudyMethod(name="CubeLearn", method="cubelearn"),
    StudyMethod(name="PoseFormer", method="poseformer", modalities=("rd",)),
)


def write_synthetic_study(
    folder: Path,
    *,
    people: Sequence[str] = PEOPLE,
    modalities: Sequence[str] = ("rd", "dual"),
    seeds: Sequence[int] = (1, 2),
    bystander: bool = True,
    inside_split: bool = True,
    metres: bool = True,
    missing: Sequence[str] = (),
    frames: int = 60,
) -> StudyConfig:
    """A finished study in `folder`: data sets `move`, `yoga`, and where `bystander` `crowd` that models of `move` are tested on.

    Units named in `missing` have no predictions. Without `metres` nothing has a scale.
    """
    rules = {name: DataSetRule(prefix=f"{name}-", people=tuple(people)) for name in ("move", "yoga")}
    if bystander:
        rules["crowd"] = DataSetRule(prefix="crowd-", title="Bystander", people=tuple(people))
    config = StudyConfig(
        name="synthetic",
        data_sets=rules,
        methods=METHODS,
        modalities=tuple(modalities),
        seeds=tuple(seeds),
        people=tuple(people),
        zero_shot=(ZeroShot(trained_on="move", tested_on="crowd"),) if bystander else (),
        inside_split=inside_split,
    )
    write_study(folder / "study.yaml", config)
    truth = {name: _truth(name, people, frames, metres) for name in rules}
    for name, table in truth.items():
        recordings = table.drop_duplicates("recording")[["recording", "person"]].to_dict("records")
        size = {"width_px": 640, "height_px": 360}
        focal = {"fx_px": 320.0, "fy_px": 320.0} if metres else {}
        described = [
            TestedRecording(**one, simulated=True, frames=frames, period_s=0.1, **size, **focal) for one in recordings
        ]
        write_truth(folder, name, table, described)
    for number, unit in enumerate(units(config)):
        if unit.name in missing:
            continue
        rng = np.random.default_rng([7, number])
        parts = []
        for test_set in config.tested_sets(unit.data_set) if unit.split == "person" else (unit.data_set,):
            table = truth[test_set]
            inside = unit.held_out is None
            rows = table[table["frame"] >= 0.8 * frames] if inside else table[table["person"] == unit.held_out]
            spread = NOISE[unit.row] * (0.3 if inside else 1.0) * (1.3 if test_set == "crowd" else 1.0)
            off = rng.normal(0, spread, (len(rows), 2)) + rng.normal(0, spread / 2, 2)
            parts.append(
                pd.DataFrame(
                    {
                        "test_set": test_set,
                        **{name: rows[name].to_numpy() for name in ("recording", "frame", "joint")},
                        "u": rows["u"].to_numpy() + off[:, 0],
                        "v": rows["v"].to_numpy() + off[:, 1],
                    }
                )
            )
        network = unit.kind == "network"
        history = tuple(Judged(step=step, loss=1 / step, validation=0.1 / step) for step in (10, 20, 30))
        making = UnitMaking(
            unit=unit,
            key=f"{number:064d}",
            asked=asked(config, unit),
            simulated=True,
            parameters=1000 if network else 0,
            seconds=12.0,
            run=f"{unit.name}-1a2b3c4d" if network else None,
            history=history if network else (),
        )
        write_predictions(folder, making, pd.concat(parts, ignore_index=True))
    return config


def _truth(name: str, people: Sequence[str], frames: int, metres: bool) -> pd.DataFrame:
    """Labels of every fourth frame: people of their own size and place that sway; the right ankle is hidden half the time."""
    tables = []
    at = np.arange(3, frames, 4)
    for person, who in enumerate(people):
        for take, action in enumerate(ACTIONS):
            rng = np.random.default_rng([3, person, take, len(name)])
            body = rng.uniform(0.3, 0.7, (len(JOINTS), 2))
            sway = 0.05 * np.sin(at[:, None, None] / 5 + rng.uniform(0, 6, (1, len(JOINTS), 2)))
            uv = body + sway
            confidence = np.ones(uv.shape[:2])
            confidence[::2, -1] = 0
            depth_m = 2.0 + 0.5 * take + 0.2 * np.sin(at / 7)
            xyz = np.stack(
                [(uv[..., 0] - 0.5) * 2 * depth_m[:, None], (uv[..., 1] - 0.5) * 1.125 * depth_m[:, None]], -1
            )
            xyz = np.concatenate([xyz, np.repeat(depth_m[:, None, None], len(JOINTS), axis=1)], axis=-1)
            xyz = xyz if metres else np.full_like(xyz, np.nan)
            columns = {
                "recording": f"{name}-{who}-{action}",
                "person": who,
                "action": action,
                "frame": np.repeat(at, len(JOINTS)),
                "joint": np.tile(np.arange(len(JOINTS)), len(at)),
                "u": uv[..., 0].ravel(),
                "v": uv[..., 1].ravel(),
                "confidence": confidence.ravel(),
                **{axis: xyz[..., number].ravel() for number, axis in enumerate(("x_m", "y_m", "z_m"))},
                "range_m": np.repeat(depth_m if metres else np.full(len(at), np.nan), len(JOINTS)),
                "scale_source": "simulator" if metres else "none",
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)

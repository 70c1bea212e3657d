"""What each of our own parts is worth to a pose network, one at a time, by validation recordings alone. Simulated results.

    python -m benchmarks.ablation [--root DIR] [--seeds 2] [--jobs 2] [--steps 500] [--only NAME ...]

Simulates `sim-dev` under DIR (kept: a second call goes on from there): people who are in no study, so that what is chosen by this
table is not chosen on anybody whose figures are reported. Every row is the plain network with one part switched on, trained as
long on the same recordings; its figures are those of its best weights on validation recordings.
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from benchmarks.pretraining import CPU, make_recordings
from models.finetuning import finetune
from models.presets import Preset
from models.pretraining import pretrain
from models.runs import History
from models.study import StudyConfig
from pipeline.splits import leave_one_out, people

OFF = {
    "pose.decode": "argmax",
    "finetuning.augment.mirror": 0.0,
    "finetuning.augment.reverse": 0.0,
    "finetuning.augment.jitter_frames": 0,
    "finetuning.augment.noise_db": 0.0,
    "finetuning.augment.level_db": 0.0,
}
"""What makes `tiny` plain."""

PARTS: dict[str, dict[str, object]] = {
    "plain": {},
    "sub-pixel decode": {"pose.decode": "subpixel"},
    "mirror and reversal": {"finetuning.augment.mirror": 0.5, "finetuning.augment.reverse": 0.5},
    "start jitter": {"finetuning.augment.jitter_frames": 1},
    "noise and level": {"finetuning.augment.noise_db": 1.0, "finetuning.augment.level_db": 3.0},
    "velocity loss": {"pose.decode": "subpixel", "pose.velocity_weight": 20.0},
    "bone loss": {"pose.decode": "subpixel", "pose.bone_weight": 20.0},
    "averaged weights": {"finetuning.ema": 0.99},
}
FROM_ENCODER: dict[str, dict[str, object]] = {
    "pre-trained": {},
    "pre-trained, layer decay .75": {"finetuning.layer_decay": 0.75},
    "pre-trained on symmetries": {"pretraining.augment.mirror": 0.5, "pretraining.augment.reverse": 0.5},
    "pre-trained, tube masks": {"masked.masking": "tube"},
    "pre-trained, energy-weighted": {"masked.energy_weighted": True},
    "pre-trained, 75 % hidden": {"masked.mask_ratio": 0.75},
}


def settings(name: str, seed: int, steps: int, pretraining_steps: int) -> Preset:
    """`tiny`, Dual, with one part on; a study's row, so that a switch here is a switch there."""
    parts = PARTS | FROM_ENCODER
    row = {"name": "row", "set": OFF | parts[name], "start": "pretrained" if name in FROM_ENCODER else "random"}
    lengths = {"finetuning.steps": steps, "finetuning.patience": None, "pretraining.steps": pretraining_steps}
    study = StudyConfig.model_validate(
        {"name": "ablation", "data_sets": {"any": {"prefix": "sim"}}, "methods": [row], "set": lengths}
    )
    return study.preset_of(study.methods[0], "dual", seed)


def one_row(root: Path, hold_out: str, name: str, seed: int, lengths: tuple[int, int]) -> dict[str, object]:
    """Best validation of one part with one seed."""
    torch.set_num_threads(1)
    split = leave_one_out(people(root), hold_out)
    chosen = settings(name, seed, *lengths)
    folder = root / "experiments" / f"ablation-{hold_out}-{seed}-{'-'.join(name.replace(',', '').split())}"
    encoder = None
    if name in FROM_ENCODER:
        masked = folder.with_name(f"{folder.name}-masked")
        encoder = pretrain(root, split, chosen, masked, name="tiny", held_out=hold_out, machine=CPU)
    path = finetune(root, split, chosen, folder, encoder=encoder, name="tiny", held_out=hold_out, machine=CPU)
    history = History.model_validate_json((path.parent / "history.json").read_bytes())
    best = min((line.metrics for line in history.judgements), key=lambda metrics: metrics["mpjpe_norm"])
    row = {"part": name, "seed": seed} | {
        key: best[key] for key in ("mpjpe_norm", "root_centred_norm", "explained_motion")
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data-ablation"))
    parser.add_argument("--frames", type=int, default=9000)
    parser.add_argument("--hold-out", default="d03", help="this person is left out")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--pretraining-steps", type=int, default=400)
    parser.add_argument("--only", nargs="*", choices=[*PARTS, *FROM_ENCODER], help="these rows alone")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    make_recordings(asked.root, asked.frames, "sim-dev")
    names = asked.only or [*PARTS, *FROM_ENCODER]
    lengths = (asked.steps, asked.pretraining_steps)
    with ProcessPoolExecutor(asked.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(one_row, asked.root, asked.hold_out, name, seed, lengths)
            for seed in range(asked.seeds)
            for name in names
        ]
        rows = pd.DataFrame([future.result() for future in futures])
    print(f"\nSimulated people, validation recordings, {asked.seeds} seeds, {asked.steps} steps.\n")
    print(rows.drop(columns="seed").groupby("part", sort=False).agg(["mean", "std"]).round(4).to_string())


if __name__ == "__main__":
    main()

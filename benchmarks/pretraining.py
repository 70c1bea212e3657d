"""What masked pre-training is worth on simulated people, beside random weights, floors and oracles. Simulated results.

    python -m benchmarks.pretraining [--root DIR] [--frames 9000] [--hold-out m03] [--seeds 3] [--jobs 2] [--preset tiny]

Simulates `sim-move` under DIR (kept: a second call goes on from there), makes its maps, leaves one person out of everything, and
says three things. Does the autoencoder rebuild hidden patches of the unseen person better than the mean patch of that place, and
than interpolation between the visible patches? Do networks from its encoder beat networks from random weights after equally many
steps, for more and less unlabelled and labelled data? Do both beat the floors? Weights are chosen on validation recordings of the
training people; the person left out decides nothing.
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from capture.simulator.datasets import SimulationRequest
from capture.simulator.simulate import simulate
from models.checkpoints import load_model
from models.clips import clip_table
from models.config import ClipConfig
from models.finetuning import finetune, judge_poses
from models.floors import FLOORS, fit_floor, floor_examples
from models.layers import pick
from models.loader import ClipLoader, ClipSet, loader
from models.maps import fit_clip_config
from models.masked import MaskedAutoencoder
from models.metrics import pose_errors
from models.presets import Preset, preset
from models.pretraining import pretrain
from models.training import Machine
from pipeline.cube_config import CubeConfig
from pipeline.recording import open_recording
from pipeline.splits import Split, leave_one_out, people
from processing.cubes import process_recording

CPU = Machine("cpu")
LABELLED = (0.3, 1.0)
"""Shares of the training recordings whose labels are used."""
SHOWN = ("mpjpe_norm", "pck_norm@0.05", "root_centred_norm", "explained_motion")


def settings(name: str, seed: int, pretraining_steps: int, steps: int) -> Preset:
    """The preset on both modalities, with other seeds and lengths."""
    chosen = preset(name).on(("rd", "ra"))
    return chosen.model_copy(
        update={
            "pretraining": chosen.pretraining.model_copy(update={"seed": seed, "steps": pretraining_steps}),
            "finetuning": chosen.finetuning.model_copy(update={"seed": seed, "steps": steps, "patience": None}),
        }
    )


def make_recordings(root: Path, frames: int, data_set: str = "sim-move") -> None:
    """Simulate a data set, and make its maps; what is there already stays."""
    made = simulate(root, SimulationRequest(name=data_set, frames=frames, waveform="light"))
    for recording in made.recordings:
        process_recording(open_recording(root, recording), root, CubeConfig(products=("rd", "ra")))


def part_of(names: tuple[str, ...], share: float) -> tuple[str, ...]:
    """Every so-manieth recording, of all people and actions alike."""
    order = np.random.default_rng(0).permutation(len(names))
    return tuple(names[index] for index in sorted(order[: max(1, round(share * len(names)))]))


def clips(root: Path, recordings: tuple[str, ...], clip: ClipConfig) -> ClipLoader:
    """Clips of `recordings` in order, one in four frames, as they are."""
    table = clip_table(root, recordings, clip, stride=4, labelled=True)
    return loader(ClipSet(root, table, clip, labelled=True), 32, shuffle=False, seed=0)


@torch.no_grad()
def reconstruction(root: Path, split: Split, model: Path) -> dict[str, float]:
    """Mean squared error on hidden patches of unseen clips: the autoencoder, the place's mean patch, interpolation."""
    network, card = load_model(model, "masked")
    assert isinstance(network, MaskedAutoencoder)
    stem, totals, cells = network.encoder.stem, np.zeros(3), 0
    known = [stem.cut(batch.maps) for batch in clips(root, split.train, card.clip)]
    mean = {name: torch.cat([patches[name] for patches in known]).mean(dim=0) for name in card.clip.modalities}
    near = {}
    for name, grid in stem.grids.items():
        place = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij"), -1)
        near[name] = 1 / torch.cdist(place.reshape(-1, 3), place.reshape(-1, 3)).clamp(min=1e-3) ** 2
    for number, batch in enumerate(clips(root, split.test, card.clip)):
        output = network(batch.maps, torch.Generator().manual_seed(number))
        for name, patches in stem.cut(batch.maps).items():
            hidden, mask = output.hidden[name], output.mask[name]
            truth = pick(patches, hidden)
            weights = near[name] * (~mask[:, None, :])  # (batch, asked, visible)
            between = (weights / weights.sum(-1, keepdim=True)) @ patches
            guesses = (output.reconstruction[name], mean[name][hidden], pick(between, hidden))
            totals += [float((guess - truth).square().sum()) for guess in guesses]
            cells += truth.numel()
    return dict(zip(("autoencoder", "mean patch", "interpolation"), (totals / cells).tolist(), strict=True))


def one_seed(root: Path, hold_out: str, name: str, seed: int, lengths: tuple[int, int]) -> list[dict[str, object]]:
    """Every row of one seed: reconstruction by data and steps of pre-training, poses by those and by labels."""
    torch.set_num_threads(1)
    split = leave_one_out(people(root), hold_out)
    longest, steps = lengths
    rows: list[dict[str, object]] = []
    encoders: dict[tuple[float, int], Path | None] = {(0.0, 0): None}
    for unlabelled, pretraining_steps in ((0.25, longest), (1.0, longest // 5), (1.0, longest)):
        few = Split(part_of(split.train, unlabelled), split.validation, split.test)
        folder = root / "experiments" / f"bench-{name}-{hold_out}-{seed}-masked-{unlabelled:g}-{pretraining_steps}"
        chosen = settings(name, seed, pretraining_steps, steps)
        made = pretrain(root, few, chosen, folder, name=name, held_out=hold_out, machine=CPU)
        encoders[unlabelled, pretraining_steps] = made
        begun = {"seed": seed, "unlabelled": unlabelled, "pre-training": pretraining_steps}
        rows.append(begun | reconstruction(root, few, made))
        print(json.dumps(rows[-1]), flush=True)
    for labelled in LABELLED:
        few = Split(part_of(split.train, labelled), split.validation, split.test)
        for (unlabelled, pretraining_steps), encoder in encoders.items():
            begun = {"seed": seed, "unlabelled": unlabelled, "pre-training": pretraining_steps, "labelled": labelled}
            folder = (
                root
                / "experiments"
                / "-".join(["bench", name, hold_out, "pose", *map(str, begun.values()), str(steps)])
            )
            chosen = settings(name, seed, longest, steps)
            path = finetune(root, few, chosen, folder, encoder=encoder, name=name, held_out=hold_out, machine=CPU)
            network, card = load_model(path, "pose")
            with torch.no_grad():
                errors = judge_poses(network, clips(root, split.test, card.clip))
            rows.append(begun | {key: errors[key] for key in SHOWN})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def floors(root: Path, hold_out: str, name: str, labelled: float) -> pd.DataFrame:
    """Floors and oracles on the same clips."""
    split = leave_one_out(people(root), hold_out)
    clip = fit_clip_config(root, split.train, settings(name, 0, 1, 1).clip)
    parts = (part_of(split.train, labelled), split.validation, split.test)
    train, validation, test = (floor_examples(clips(root, part, clip)) for part in parts)
    rows = {}
    for floor in FLOORS:
        errors = pose_errors(fit_floor(floor, train, validation)(test), test.uv, test.confidence)
        rows[floor] = {key: errors[key] for key in SHOWN}  # type: ignore[literal-required]
    return pd.DataFrame(rows).T


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data-pretraining"))
    parser.add_argument("--frames", type=int, default=9000)
    parser.add_argument("--hold-out", default="m03")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--pretraining-steps", type=int, default=2000, help="a fifth of them too")
    parser.add_argument("--steps", type=int, default=500)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    make_recordings(asked.root, asked.frames)
    lengths = (asked.pretraining_steps, asked.steps)
    with ProcessPoolExecutor(asked.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(one_seed, asked.root, asked.hold_out, asked.preset, s, lengths) for s in range(asked.seeds)
        ]
        rows = pd.DataFrame([row for future in futures for row in future.result()])
    print(f"\nSimulated people, {asked.hold_out} left out; mean and standard deviation over {asked.seeds} seeds.\n")
    rebuilt = rows[rows["autoencoder"].notna()].groupby(["unlabelled", "pre-training"])[
        ["autoencoder", "mean patch", "interpolation"]
    ]
    print(rebuilt.mean().round(5).to_string(), "\n")
    poses = rows[rows["labelled"].notna()].groupby(["labelled", "unlabelled", "pre-training"])[list(SHOWN)]
    print(poses.agg(["mean", "std"]).round(4).to_string(), "\n")
    for labelled in LABELLED:
        print(f"floors, {labelled:.0%} of the labels\n")
        print(floors(asked.root, asked.hold_out, asked.preset, labelled).round(4).to_string(), "\n")


if __name__ == "__main__":
    main()

"""What pre-training puts into an encoder that a pose can be read from in a straight line. Simulated results.

    python -m benchmarks.probe [--root DIR] [--hold-out m03] [--seeds 3] [--pretraining-steps 2000]

Needs the autoencoders that `benchmarks.pretraining` made under the same DIR. Ridge regression, its strength chosen on
validation, from all tokens of a clip that an encoder nobody fine-tunes gives: with weights as they begin, after a fifth of the
pre-training and after all of it; beside ridge from the maps themselves, the floor. All see the same clips.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.pretraining import LABELLED, SHOWN, clips, part_of, settings
from models.batch import ClipBatch
from models.checkpoints import load_model
from models.floors import Examples, fit_floor, floor_examples
from models.masked import MaskedAutoencoder
from models.metrics import pose_errors
from pipeline.splits import leave_one_out, people


def token_examples(batches: list[ClipBatch], encoder: torch.nn.Module) -> Examples:
    """Clips as an encoder's tokens, one after another."""
    with torch.inference_mode():
        tokens = np.concatenate([encoder(batch.maps).flatten(1).numpy() for batch in batches])
    return replace(floor_examples(batches), features=tokens)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data-pretraining"))
    parser.add_argument("--hold-out", default="m03")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretraining-steps", type=int, default=2000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    split = leave_one_out(people(asked.root), asked.hold_out)
    rows = []
    for seed in range(asked.seeds):
        begun = asked.root / "experiments" / f"bench-tiny-{asked.hold_out}-{seed}-masked-1"
        made = [
            load_model(Path(f"{begun}-{steps}") / "model.safetensors", "masked")
            for steps in (asked.pretraining_steps // 5, asked.pretraining_steps)
        ]
        card = made[0][1]
        torch.manual_seed(seed)
        unfitted = MaskedAutoencoder(card.clip, settings("tiny", seed, 1, 1).masked).eval()
        sources: dict[str, Callable[[list[ClipBatch]], Examples]] = {
            "maps": floor_examples,
            "tokens, weights as they begin": lambda batches, of=unfitted: token_examples(batches, of.encoder),
            **{
                f"tokens, {one.steps} steps": lambda batches, of=network: token_examples(batches, of.encoder)
                for network, one in made
            },
        }
        for labelled in LABELLED:
            parts = (part_of(split.train, labelled), split.validation, split.test)
            batches = [list(clips(asked.root, part, card.clip)) for part in parts]
            for name, examples in sources.items():
                train, validation, test = (examples(one) for one in batches)
                errors = pose_errors(fit_floor("ridge", train, validation)(test), test.uv, test.confidence)
                rows.append({"labelled": labelled, "ridge from": name} | {key: errors[key] for key in SHOWN})  # type: ignore[literal-required]
    table = pd.DataFrame(rows).groupby(["labelled", "ridge from"], sort=False).agg(["mean", "std"])
    print(f"Simulated people, {asked.hold_out} left out; mean and standard deviation over {asked.seeds} seeds.\n")
    print(table.round(4).to_string())


if __name__ == "__main__":
    main()

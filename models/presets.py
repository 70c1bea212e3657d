"""Sizes by name: the paper's, a cheaper grid of tokens, and two that processors without a GPU can train."""

from pydantic import Field

from models.config import (
    AugmentConfig,
    ClipConfig,
    EncoderConfig,
    Frozen,
    MaskedConfig,
    Method,
    Modality,
    PoseConfig,
    TrainConfig,
)
from pipeline.errors import PipelineError

PLUS: dict[str, dict[str, object]] = {"pose": {"decode": "subpixel"}}
"""What `maepose-plus` switches on, by part of a preset: each won on validation people's recordings in `benchmarks.ablation`."""


class Preset(Frozen):
    """Everything about an experiment but its data and its method."""

    clip: ClipConfig
    masked: MaskedConfig
    pose: PoseConfig
    pretraining: TrainConfig
    finetuning: TrainConfig = Field(default_factory=TrainConfig)

    def on(self, modalities: tuple[Modality, ...]) -> "Preset":
        """The same for those modalities. Range-Doppler alone is not mirrored: a mirrored person looks the same there, so one
        input would have two truths.
        """
        changed: dict[str, Frozen] = {"clip": self.clip.model_copy(update={"modalities": modalities})}
        if "ra" not in modalities:
            for part in ("pretraining", "finetuning"):
                training: TrainConfig = getattr(self, part)
                unmirrored = training.augment.model_copy(update={"mirror": 0.0})
                changed[part] = training.model_copy(update={"augment": unmirrored})
        return self.model_copy(update=changed)

    def by(self, method: Method) -> "Preset":
        """The same for that method; `maepose-plus` has on what `PLUS` says."""
        changes = PLUS if method == "maepose-plus" else {}
        changed = {part: getattr(self, part).model_copy(update=values) for part, values in changes.items()}
        chosen = self.model_copy(update=changed)
        return chosen.model_copy(update={"pose": chosen.pose.model_copy(update={"method": method})})


PRETRAINING_RATE = 1.5e-4
"""At batch 256 (paper.md, "Clip and tokens"); others in proportion."""


def _pretraining(batch: int, **changes: object) -> TrainConfig:
    fixed = {"betas": (0.9, 0.95), "layer_decay": 1.0, "patience": None, "clip_norm": None}
    return TrainConfig.model_validate(fixed | {"batch": batch, "rate": PRETRAINING_RATE * batch / 256} | changes)


PAPER_CLIP = ClipConfig(cube="paper", scaling="frame-minmax")
_CHEAP = EncoderConfig(patch=(4, 16, 16))
_SMALL = EncoderConfig(patch=(4, 8, 8), dim=192, depth=6, heads=6)
_TINY = EncoderConfig(patch=(4, 16, 16), dim=128, depth=4, heads=4)
_SYMMETRIES = AugmentConfig(mirror=0.5, reverse=0.5)

PRESETS: dict[str, Preset] = {
    "paper": Preset(
        clip=PAPER_CLIP,
        masked=MaskedConfig(),
        pose=PoseConfig(),
        pretraining=_pretraining(256, precision="bf16"),
        finetuning=TrainConfig(precision="bf16"),
    ),
    "paper-cheap": Preset(
        clip=PAPER_CLIP,
        masked=MaskedConfig(encoder=_CHEAP),
        pose=PoseConfig(encoder=_CHEAP),
        pretraining=_pretraining(256, precision="bf16"),
        finetuning=TrainConfig(precision="bf16"),
    ),
    "paper224": Preset(
        clip=PAPER_CLIP.model_copy(update={"resize_px": 224}),
        masked=MaskedConfig(),
        pose=PoseConfig(),
        pretraining=_pretraining(256, precision="bf16"),
        finetuning=TrainConfig(precision="bf16"),
    ),
    "small": Preset(
        clip=ClipConfig(first_range_m="auto", range_bins=64, doppler_bins=64, azimuth_bins=64),
        masked=MaskedConfig(encoder=_SMALL, decoder_dim=128, decoder_depth=2, decoder_heads=4, around_mean=True),
        pose=PoseConfig(encoder=_SMALL, width=192),
        pretraining=_pretraining(64, rate=5e-4),
        finetuning=TrainConfig(rate=5e-4, augment=_SYMMETRIES),
    ),
    "tiny": Preset(
        clip=ClipConfig(first_range_m="auto", range_bins=48, doppler_bins=64, azimuth_bins=64),
        masked=MaskedConfig(encoder=_TINY, decoder_dim=96, decoder_depth=1, decoder_heads=4, around_mean=True),
        pose=PoseConfig(encoder=_TINY, width=128, head="simcc", decode="subpixel", heatmap_cells=32, sigma_cells=1.5),
        pretraining=_pretraining(32, rate=2e-3, steps=400),
        finetuning=TrainConfig(batch=16, rate=2e-3, steps=600, layer_decay=1.0, augment=_SYMMETRIES),
    ),
}


def preset(name: str) -> Preset:
    """The preset called `name`; PipelineError naming those there are."""
    if name not in PRESETS:
        raise PipelineError(f"There is no model preset {name!r}; the presets are {', '.join(PRESETS)}.")
    return PRESETS[name]

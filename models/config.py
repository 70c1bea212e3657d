"""What a clip, a network and a training are made of: typed, printable, stored in every checkpoint (`models.presets`)."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Modality = Literal["rd", "ra"]
Method = Literal["maepose", "maepose-plus", "cubelearn", "poseformer", "hupr"]
Head = Literal["heatmap", "mlp", "gcn", "simcc"]
Floor = Literal["mean-pose", "ridge", "neighbours", "own-mean-pose", "nearest-pose"]
FLOORS: tuple[Floor, ...] = get_args(Floor)
ORACLES: tuple[Floor, ...] = ("own-mean-pose", "nearest-pose")
"""Floors that read the labels they are tested on (`models.floors`)."""


class Frozen(BaseModel):
    """A configuration: never changed in place, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClipConfig(Frozen):
    """A clip: `frames` maps in a row of each modality, (range, Doppler) or (range, azimuth), cut, scaled and padded alike.

    Rows are range bins, columns Doppler or azimuth bins, in the direction of the cube's axes (preset `paper`: far range first).
    """

    modalities: tuple[Modality, ...] = Field(("rd",), description="rd, ra, or both (Dual)")
    frames: int = Field(20, ge=1)
    targets: tuple[int, ...] = Field((3, 7, 11, 15, 19), description="frames of a clip that a pose is predicted for")
    part: tuple[float, float] = Field(
        (0.0, 1.0),
        description="share of every recording that clips are taken from: all of it, or its first four fifths",
    )
    cube: Literal["default", "paper"] = Field("default", description="preset that the cubes must have been made with")
    scaling: Literal["frame-minmax", "window"] = Field(
        "window", description="every map by its own minimum and maximum, or one fixed dB window for all"
    )
    window_db: dict[Modality, tuple[float, float]] = Field(
        default_factory=dict, description="dBFS that become 0 and 1; empty until fitted on training recordings"
    )
    levels: dict[Modality, tuple[float, float]] = Field(
        default_factory=dict,
        description="mean and standard deviation of the scaled maps, which a network's first layer takes out; empty until fitted",
    )
    first_range_m: float | Literal["auto"] | None = Field(
        None,
        description="where the rows begin; auto: where people of the training recordings are; None: at the cube's first bin",
    )
    range_bins: int = Field(256, ge=1, description="rows of a map")
    doppler_bins: int = Field(
        256, ge=1, description="columns of rd, the middle ones of the cube; missing ones are padded"
    )
    azimuth_bins: int = Field(
        256, ge=1, description="columns of ra, the middle ones of the cube; missing ones are padded"
    )
    range_step_m: float | None = Field(None, gt=0, description="from row to row; None until fitted: any")
    velocity_step_mps: float | None = Field(
        None, gt=0, description="from column to column of rd; None until fitted: any"
    )
    resize_px: int | None = Field(None, ge=1, description="resample maps to so many rows and columns (preset paper224)")

    @model_validator(mode="after")
    def _consistent(self) -> "ClipConfig":
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise ValueError("modalities are rd, ra, or both, each once")
        if not self.targets or list(self.targets) != sorted(set(self.targets)) or self.targets[-1] >= self.frames:
            raise ValueError(f"targets ascend and lie within the {self.frames} frames of a clip")
        if not 0 <= self.part[0] < self.part[1] <= 1:
            raise ValueError("part goes from a share of a recording to a larger one, 0 to 1")
        return self

    def map_shape(self, modality: Modality) -> tuple[int, int]:
        """Rows and columns of a map as a network sees it."""
        if self.resize_px is not None:
            return self.resize_px, self.resize_px
        return self.range_bins, self.columns(modality)

    def columns(self, modality: Modality) -> int:
        """Columns of a map before it is resampled."""
        return self.doppler_bins if modality == "rd" else self.azimuth_bins


class EncoderConfig(Frozen):
    """The video transformer: Conv3d patches with kernel = stride, separable space-time positions, pre-norm blocks."""

    patch: tuple[int, int, int] = Field((2, 16, 16), description="frames, rows, columns")
    dim: int = Field(384, ge=8)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)


class MaskedConfig(Frozen):
    """The masked autoencoder of one modality: an encoder, a narrower decoder, and what it is asked to reconstruct."""

    encoder: EncoderConfig = EncoderConfig()
    decoder_dim: int = Field(512, ge=8)
    decoder_depth: int = Field(4, ge=1)
    decoder_heads: int = Field(16, ge=1)
    mask_ratio: float = Field(0.9, gt=0, lt=1, description="round((1 - mask_ratio) * tokens) stay visible")
    masking: Literal["random", "tube"] = "random"
    normalise_patches: bool = Field(False, description="targets less their patch's mean, over its standard deviation")
    variance_floor: float = Field(1e-3, gt=0, description="added to that variance, so that empty patches stay quiet")
    energy_weighted: bool = Field(
        False, description="weigh a patch's error by 1 + its energy over the clip's mean patch's"
    )
    around_mean: bool = Field(
        False, description="predict how a patch differs from the training recordings' mean patch of its place"
    )

    @model_validator(mode="after")
    def _one_target(self) -> "MaskedConfig":
        if self.around_mean and self.normalise_patches:
            raise ValueError("around_mean and normalise_patches are two scales for one target; choose one")
        return self


class PoseConfig(Frozen):
    """A network from clip to poses, and its loss."""

    method: Method = "maepose"
    encoder: EncoderConfig = EncoderConfig()
    head: Head = "heatmap"
    decode: Literal["argmax", "subpixel"] = Field(
        "argmax", description="of heatmaps: the highest cell, or its refined peak"
    )
    heatmap_cells: int = Field(64, ge=8, description="rows and columns of a heatmap")
    sigma_cells: float = Field(2.0, gt=0)
    peak_weight: float = Field(9.0, ge=0, description="loss weight is confidence * (1 + peak_weight * heatmap)")
    width: int = Field(256, ge=8, description="channels inside heads and baselines")
    drop_path: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    velocity_weight: float = Field(0.0, ge=0, description="of the loss on motion from target to target")
    bone_weight: float = Field(0.0, ge=0, description="of the loss on bone lengths")


class AugmentConfig(Frozen):
    """What training clips go through; everything off is none of it: symmetries of the physics, noise, people walking past."""

    mirror: float = Field(
        0.0, ge=0, le=1, description="probability: azimuth flipped, joints mirrored about the boresight"
    )
    reverse: float = Field(
        0.0, ge=0, le=1, description="probability: time reversed, Doppler flipped, azimuth untouched"
    )
    jitter_frames: int = Field(0, ge=0, description="a clip begins up to so many frames earlier or later")
    noise_db: float = Field(0.0, ge=0, description="standard deviation of noise on every cell, dB")
    level_db: float = Field(0.0, ge=0, description="half-width of a uniform shift of a whole clip, dB")
    passersby: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability: somebody walks past, taken from another training clip (models.passersby)",
    )
    boresight_u: float = Field(0.5, description="where the radar's boresight lies in the picture, share of its width")


class TrainConfig(Frozen):
    """How weights are fitted. `steps` wins over `epochs` where both are given."""

    epochs: int = Field(100, ge=1)
    steps: int | None = Field(None, ge=1, description="stop after so many optimiser steps")
    batch: int = Field(32, ge=1)
    stride: int = Field(4, ge=1, description="frames from one training clip's begin to the next")
    rate: float = Field(5e-4, gt=0, description="learning rate at its height")
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine to nothing"
    )
    layer_decay: float = Field(
        0.75,
        gt=0,
        le=1,
        description="rate of a layer over that of the one after it, where an encoder was pre-trained; 1: all alike",
    )
    clip_norm: float | None = Field(1.0, gt=0)
    patience: int | None = Field(
        10, ge=1, description="epochs without a better validation before stopping; None: never"
    )
    precision: Literal["32", "bf16"] = "32"
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the averaged weights that are kept; None: the last"
    )
    seed: int = 42
    augment: AugmentConfig = AugmentConfig()

"""From a clip's maps to tokens: one stem a modality, positions, cross-attention between two streams, a video transformer."""

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor, cat, nn

from models.config import ClipConfig, EncoderConfig, Modality
from models.layers import EPSILON, Block, CrossAttention, Grid, cut_patches, initialise, pick, space_time_positions
from pipeline.errors import PipelineError

Maps = Mapping[Modality, Float[Tensor, "batch 1 frame row column"]]
Visible = Mapping[Modality, Int[Tensor, "batch visible"]]
"""Numbers of the tokens that are seen, of each modality equally many in every clip."""


def token_grid(clip: ClipConfig, modality: Modality, patch: tuple[int, int, int]) -> Grid:
    """Tokens of a clip along time, rows and columns; PipelineError where the patch does not divide the clip."""
    shape = (clip.frames, *clip.map_shape(modality))
    if any(size % step for size, step in zip(shape, patch, strict=True)):
        raise PipelineError(
            f"Patches of {_times(patch)} do not tile {modality} clips of {_times(shape)} frames, rows and columns; "
            "change the clip's size or the encoder's `patch`."
        )
    t, h, w = (size // step for size, step in zip(shape, patch, strict=True))
    return t, h, w


class ClipStem(nn.Module):
    """Tokens of a clip: the paper's Conv3d with kernel = stride for each modality, plus where in the clip each token lies.

    Two modalities first hear each other by cross-attention, then follow one another in the order of `ClipConfig.modalities`.
    """

    def __init__(self, clip: ClipConfig, config: EncoderConfig) -> None:
        super().__init__()
        self.clip, self.dim, self.patch = clip, config.dim, config.patch
        self.grids: dict[Modality, Grid] = {name: token_grid(clip, name, config.patch) for name in clip.modalities}
        cells = config.patch[0] * config.patch[1] * config.patch[2]
        self.stems = nn.ModuleDict({name: nn.Linear(cells, config.dim) for name in clip.modalities})
        self.crossings = nn.ModuleDict(
            {name: CrossAttention(config.dim, config.heads) for name in clip.modalities if len(clip.modalities) > 1}
        )
        for name, grid in self.grids.items():
            self.register_buffer(f"positions_{name}", space_time_positions(grid, config.dim), persistent=False)
        initialise(self)

    @property
    def token_count(self) -> int:
        """Tokens of a whole clip, all modalities together."""
        return sum(t * h * w for t, h, w in self.grids.values())

    def cut(self, maps: Maps) -> dict[Modality, Float[Tensor, "batch token cell"]]:
        """The patches of every modality; PipelineError where the maps are not those of the clip this network reads."""
        patches = {}
        for name in self.clip.modalities:
            if name not in maps:
                raise PipelineError(f"This network reads {name} maps, and the clip has {', '.join(maps) or 'none'}.")
            wanted = (1, self.clip.frames, *self.clip.map_shape(name))
            if tuple(maps[name].shape[1:]) != wanted:
                raise PipelineError(
                    f"This network reads {name} clips of {_times(wanted[1:])} frames, rows and columns; "
                    f"this one is {_times(tuple(maps[name].shape[2:]))}."
                )
            patches[name] = cut_patches(maps[name], self.patch)
        return patches

    def embed(
        self, patches: Mapping[Modality, Float[Tensor, "batch token cell"]], visible: Visible | None = None
    ) -> Float[Tensor, "batch seen dim"]:
        """Tokens of those patches, or of the visible ones alone, the only ones then worked out."""
        streams: dict[Modality, Tensor] = {}
        for name in self.clip.modalities:
            positions: Tensor = getattr(self, f"positions_{name}")
            seen = patches[name]
            if visible is not None:
                seen, positions = pick(seen, visible[name]), positions[visible[name]]
            # Maps are mostly floor: without this a token is its place, and what moves is a tenth of it.
            mean, deviation = self.clip.levels.get(name, (0.0, 1.0))
            streams[name] = self.stems[name]((seen - mean) / deviation) + positions
        if len(streams) == 1:
            return next(iter(streams.values()))
        first, second = self.clip.modalities
        return cat(
            [
                self.crossings[first](streams[first], streams[second]),
                self.crossings[second](streams[second], streams[first]),
            ],
            dim=1,
        )

    def forward(self, maps: Maps) -> Float[Tensor, "batch token dim"]:
        return self.embed(self.cut(maps))

    def split(
        self, tokens: Float[Tensor, "batch token dim"]
    ) -> dict[Modality, Float[Tensor, "batch time row column dim"]]:
        """Tokens of a whole clip, laid out by modality, time, row and column again."""
        parts = tokens.split([t * h * w for t, h, w in self.grids.values()], dim=1)
        return {name: part.unflatten(1, grid) for part, (name, grid) in zip(parts, self.grids.items(), strict=True)}


class VideoEncoder(nn.Module):
    """Stem, transformer blocks and a norm (paper.md, "Clip and tokens"): what pre-training fits and pose networks begin from."""

    def __init__(self, clip: ClipConfig, config: EncoderConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.dim, self.patch = config.dim, config.patch
        self.stem = ClipStem(clip, config)
        rates = [drop_path * layer / max(config.depth - 1, 1) for layer in range(config.depth)]
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.dim, EPSILON)
        initialise(self)

    @property
    def grids(self) -> dict[Modality, Grid]:
        """Tokens of each modality along time, rows and columns."""
        return self.stem.grids

    @property
    def token_count(self) -> int:
        """Tokens of a whole clip, all modalities together."""
        return self.stem.token_count

    def forward(self, maps: Maps, visible: Visible | None = None) -> Float[Tensor, "batch seen dim"]:
        return self.encode(self.stem.cut(maps), visible)

    def encode(
        self, patches: Mapping[Modality, Float[Tensor, "batch token cell"]], visible: Visible | None = None
    ) -> Float[Tensor, "batch seen dim"]:
        """Tokens of patches that are already cut, or of the visible ones alone."""
        tokens = self.stem.embed(patches, visible)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def layers(self) -> list[tuple[int, str, list[nn.Parameter]]]:
        """Number, name and parameters by depth: 0 the stem, then every block; the last norm goes with the last block."""
        stem, blocks = list(self.stem.parameters()), [list(block.parameters()) for block in self.blocks]
        blocks[-1] += self.norm.parameters()
        return [(0, "stem", stem), *((at, f"block {at}", found) for at, found in enumerate(blocks, start=1))]


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)

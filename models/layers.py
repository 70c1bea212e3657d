"""The parts that networks are built of: patches, space-time positions, attention, pre-norm transformer blocks.

Sources: Dosovitskiy et al. 2021 (ViT), He et al. 2022 (MAE, appendix A.1), Feichtenhofer et al. 2022 (separable positions).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import PipelineError

EPSILON = 1e-6
"""Of every LayerNorm, as MAE sets it."""

Grid = tuple[int, int, int]
"""Tokens of a clip along time, rows and columns; a token's number counts columns first, then rows, then time."""


def cut_patches(
    video: Float[Tensor, "batch 1 frame row column"], patch: tuple[int, int, int]
) -> Float[Tensor, "batch token cell"]:
    """Every patch of (frames, rows, columns) as a line of its cells, columns first: what a Conv3d of that stride reads."""
    batch = video.shape[0]
    t, h, w = (size // step for size, step in zip(video.shape[2:], patch, strict=True))
    cut = video.reshape(batch, t, patch[0], h, patch[1], w, patch[2]).permute(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(batch, t * h * w, patch[0] * patch[1] * patch[2])


def join_patches(
    patches: Float[Tensor, "batch token cell"], grid: Grid, patch: tuple[int, int, int]
) -> Float[Tensor, "batch 1 frame row column"]:
    """The video that `cut_patches` cut."""
    batch = patches.shape[0]
    whole = patches.reshape(batch, *grid, *patch).permute(0, 1, 4, 2, 5, 3, 6)
    return whole.reshape(batch, 1, *(n * step for n, step in zip(grid, patch, strict=True)))


def pick(tokens: Float[Tensor, "batch token dim"], index: Int[Tensor, "batch some"]) -> Float[Tensor, "batch some dim"]:
    """Of every clip's tokens those at `index`, in that order."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def space_time_positions(grid: Grid, dim: int) -> Float[Tensor, "token dim"]:
    """Fixed sines and cosines of time plus those of place (rows in the first half of the channels, columns in the second).

    Learned tables of the same shapes would bring the preset `paper` to 21.6 M and 13.2 M parameters; the paper has 21.5 and 13.1.
    """
    t, h, w = grid
    time = _waves(t, dim)[:, None, None, :]
    rows = _waves(h, dim // 2)[None, :, None, :].expand(1, h, w, -1)
    columns = _waves(w, dim // 2)[None, None, :, :].expand(1, h, w, -1)
    return (time + torch.cat([rows, columns], dim=-1)).reshape(t * h * w, dim)


def _waves(positions: int, dim: int) -> Tensor:
    """(positions, dim): sines, then cosines, of wavelengths from 2 pi to 10000 * 2 pi (Vaswani et al. 2017, section 3.5)."""
    rates = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class DropPath(nn.Module):
    """While training, leaves a residual branch out of whole clips, and scales it up in the others (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device, dtype=branch.dtype) >= self.rate
        return branch * kept / (1 - self.rate)


class Attention(nn.Module):
    """Multi-head self-attention; the last `queries` tokens ask alone where that is given."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = _checked_heads(dim, heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], queries: int | None = None
    ) -> Float[Tensor, "batch asking dim"]:
        batch, count, dim = tokens.shape
        if queries is None:
            query, key, value = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            query = functional.linear(tokens[:, count - queries :], weight[:dim], bias[:dim])
            query = query.view(batch, queries, self.heads, -1).transpose(1, 2)
            both = functional.linear(tokens, weight[dim:], bias[dim:])
            key, value = both.view(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        heard = functional.scaled_dot_product_attention(query, key, value)
        return self.out(heard.transpose(1, 2).reshape(batch, -1, dim))


class CrossAttention(nn.Module):
    """What tokens of one stream take over from those of another: a pre-norm residual branch."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = _checked_heads(dim, heads)
        self.norm, self.norm_other = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], other: Float[Tensor, "batch heard dim"]
    ) -> Float[Tensor, "batch token dim"]:
        batch, count, dim = tokens.shape
        query = self.query(self.norm(tokens)).view(batch, count, self.heads, -1).transpose(1, 2)
        both = self.key_value(self.norm_other(other)).view(batch, other.shape[1], 2, self.heads, -1)
        key, value = both.permute(2, 0, 3, 1, 4)
        heard = functional.scaled_dot_product_attention(query, key, value)
        return tokens + self.out(heard.transpose(1, 2).reshape(batch, count, dim))


class Block(nn.Module):
    """One pre-norm transformer block: attention, then a two-layer perceptron, each added to what came in."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], queries: int | None = None
    ) -> Float[Tensor, "batch asking dim"]:
        """All tokens; or, of the last `queries` only, what they become (the others are heard and not worked out)."""
        heard = self.attention(self.norm_attention(tokens), queries)
        if queries is not None:
            tokens = tokens[:, tokens.shape[1] - queries :]
        tokens = tokens + self.drop_path(heard)
        return tokens + self.drop_path(self.mlp(self.norm_mlp(tokens)))


def initialise(network: nn.Module) -> None:
    """MAE's starting weights: Xavier uniform in every linear layer, no bias, LayerNorm 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _checked_heads(dim: int, heads: int) -> int:
    if dim % heads or dim % 4:
        raise PipelineError(
            f"A width of {dim} cannot be shared among {heads} attention heads and four groups of waves; "
            "choose a multiple of both."
        )
    return heads

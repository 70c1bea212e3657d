"""Size and speed of every network, and training steps a second beside transformers' VideoMAE of the same size.

    python -m benchmarks.models [--presets tiny small paper] [--device cpu] [--threads 1] [--seconds 3] [--batch 1]
    python -m benchmarks.models --training small paper [--batch 8] [--rounds 5]

First table: parameters, FLOPs of one clip (a multiplication with its addition counts as two) and clips a second of every
method and input, random weights, nothing but the network's forward pass; a live run makes ten clips a second. With
`--training` instead: whole steps (masking, forward, backward, AdamW) of our masked autoencoder of range-Doppler maps and
of `transformers.VideoMAEForPreTraining` with as many layers, widths and heads, at 90 % masking, patches normalised in
both (its one-channel mode). The two take turns, so that a busy machine slows both; the ratio is the median over turns.
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.config import ClipConfig, MaskedConfig, Method, Modality
from models.masked import MaskedAutoencoder
from models.pose import build_pose_network
from models.presets import PRESETS, preset
from pipeline.torchvision_cpu import import_torchvision

METHODS: tuple[Method, ...] = ("maepose", "cubelearn", "poseformer", "hupr")
INPUTS: dict[str, tuple[Modality, ...]] = {"RD": ("rd",), "RA": ("ra",), "Dual": ("rd", "ra")}


def clip_maps(clip: ClipConfig, batch: int, device: str) -> dict[Modality, Tensor]:
    """Noise in the shape of clips."""
    return {name: torch.rand(batch, 1, clip.frames, *clip.map_shape(name), device=device) for name in clip.modalities}


def clip_flops(clip: ClipConfig, build: Callable[[], nn.Module]) -> int:
    """FLOPs of one clip's forward pass, counted operation by operation without working any out."""
    with torch.device("meta"):
        network = build().eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(clip_maps(clip, 1, "meta"))
    return int(counter.get_total_flops())


def clips_per_s(network: nn.Module, maps: dict[Modality, Tensor], seconds: float) -> float:
    """By the median pass of those that fit into `seconds`, two at least; one more before them does not count."""
    took_s: list[float] = []
    with torch.no_grad():
        network(maps)
        while len(took_s) < 2 or sum(took_s) < seconds:
            _wait(maps)
            begun = time.perf_counter()
            network(maps)
            _wait(maps)
            took_s.append(time.perf_counter() - begun)
    return len(next(iter(maps.values()))) / float(np.median(took_s))


def print_networks(options: argparse.Namespace) -> None:
    """One row a preset, method and input."""
    print(
        f"| preset | method | input | parameters M | GFLOP a clip | clips/s ({options.device}, batch {options.batch}) |"
    )
    print("|---|---|---|---|---|---|")
    for name in options.presets:
        chosen = preset(name)
        for method in METHODS:
            for label, modalities in INPUTS.items():
                clip = chosen.clip.model_copy(update={"modalities": modalities})
                config = chosen.pose.model_copy(update={"method": method})
                network = build_pose_network(clip, config).eval().to(options.device)
                flops = clip_flops(clip, lambda clip=clip, config=config: build_pose_network(clip, config))
                speed = clips_per_s(network, clip_maps(clip, options.batch, options.device), options.seconds)
                count = sum(weights.numel() for weights in network.parameters())
                print(
                    f"| {name} | {method} | {label} | {count / 1e6:.2f} | {flops / 1e9:.2f} | {speed:.3g} |", flush=True
                )


def our_step(clip: ClipConfig, config: MaskedConfig, batch: int, device: str) -> tuple[Callable[[], None], int]:
    """A training step of ours, and how many weights it fits."""
    network = MaskedAutoencoder(clip, config.model_copy(update={"normalise_patches": True})).to(device)
    maps = clip_maps(clip, batch, device)
    return _step(network, lambda: network(maps).loss, maps)


def videomae_step(clip: ClipConfig, config: MaskedConfig, batch: int, device: str) -> tuple[Callable[[], None], int]:
    """The same of transformers' network, a new random mask each step too."""
    import_torchvision()
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    encoder, (rows, columns) = config.encoder, clip.map_shape("rd")
    if rows != columns or encoder.patch[1] != encoder.patch[2]:
        raise SystemExit("VideoMAE reads square maps in square patches; choose a preset with such.")
    network = VideoMAEForPreTraining(
        VideoMAEConfig(
            image_size=rows,
            patch_size=encoder.patch[1],
            num_channels=1,
            num_frames=clip.frames,
            tubelet_size=encoder.patch[0],
            hidden_size=encoder.dim,
            num_hidden_layers=encoder.depth,
            num_attention_heads=encoder.heads,
            intermediate_size=int(encoder.dim * encoder.mlp_ratio),
            decoder_hidden_size=config.decoder_dim,
            decoder_num_hidden_layers=config.decoder_depth,
            decoder_num_attention_heads=config.decoder_heads,
            decoder_intermediate_size=4 * config.decoder_dim,
            norm_pix_loss=True,
        )
    ).to(device)
    maps = clip_maps(clip, batch, device)
    video = maps["rd"].transpose(1, 2)
    tokens = clip.frames // encoder.patch[0] * (rows // encoder.patch[1]) ** 2
    visible = round((1 - config.mask_ratio) * tokens)

    def loss() -> Tensor:
        order = torch.rand(batch, tokens, device=device).argsort(dim=1)
        return network(video, bool_masked_pos=order >= visible).loss

    return _step(network, loss, maps)


def print_training(options: argparse.Namespace) -> None:
    """One row a preset: steps a second of both, and how many times as fast ours is."""
    print(
        f"| preset | weights M, ours | VideoMAE | steps/s, ours (batch {options.batch}, {options.device}) | VideoMAE | ratio |"
    )
    print("|---|---|---|---|---|---|")
    for name in options.training:
        clip = preset(name).clip.model_copy(update={"modalities": ("rd",)})
        makers = our_step, videomae_step
        pair = [make(clip, preset(name).masked, options.batch, options.device) for make in makers]
        took_s = np.array([[_timed(step) for step, _ in pair] for _ in range(options.rounds + 1)])[1:]
        ours, theirs = 1 / np.median(took_s, axis=0)
        ratio = float(np.median(took_s[:, 1] / took_s[:, 0]))
        weights = " | ".join(f"{count / 1e6:.2f}" for _, count in pair)
        print(f"| {name} | {weights} | {ours:.3g} | {theirs:.3g} | {ratio:.2f} |", flush=True)


def _step(
    network: nn.Module, loss: Callable[[], Tensor], maps: dict[Modality, Tensor]
) -> tuple[Callable[[], None], int]:
    fitted = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)

    def step() -> None:
        fitted.zero_grad()
        loss().backward()
        fitted.step()
        _wait(maps)

    return step, sum(weights.numel() for weights in network.parameters() if weights.requires_grad)


def _timed(step: Callable[[], None]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _wait(maps: dict[Modality, Tensor]) -> None:
    if next(iter(maps.values())).is_cuda:
        torch.cuda.synchronize()


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


def main() -> None:
    """Read options, measure, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["tiny", "small", "paper"])
    parser.add_argument("--training", nargs="+", choices=list(PRESETS), help="time training of these presets instead")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each speed measured")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each network that are timed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{_machine(options.device)}, torch {torch.__version__}\n")
    if options.training:
        print_training(options)
    else:
        print_networks(options)


if __name__ == "__main__":
    main()

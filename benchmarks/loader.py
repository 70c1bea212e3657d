"""Clips a second out of the loader, beside those that networks learn from.

    python -m benchmarks.loader [--presets tiny small paper] [--seconds 5] [--device cpu]

Simulates a small data set, makes its cubes, and reads whole epochs of range-Doppler and range-azimuth clips: from memory as
they lie and augmented, and from the store with and without workers. Then the same machine trains on one such batch, masked
and with labels. A loader keeps a network busy where its clips a second are well above the network's.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from capture.simulator.datasets import SimulationRequest
from capture.simulator.simulate import simulate
from models.batch import ClipBatch
from models.clips import clip_table
from models.config import AugmentConfig, ClipConfig
from models.loader import ClipSet, loader
from models.maps import fit_clip_config
from models.masked import MaskedAutoencoder
from models.pose import build_pose_network
from models.presets import PRESETS, Preset, preset
from pipeline.cube_config import PRESETS as CUBES
from pipeline.recording import open_recording
from processing.cubes import process_recording

PEOPLE, FRAMES = 2, 800
SYMMETRIES = AugmentConfig(mirror=0.5, reverse=0.5, jitter_frames=1, noise_db=1.0, level_db=3.0)


def data_set(root: Path, chosen: Preset) -> list[str]:
    """Simulated recordings and the cubes that `chosen` wants, in the waveform of its kind."""
    waveform = "paper" if chosen.clip.cube == "paper" else "light"
    frames = FRAMES // 4 if waveform == "paper" else FRAMES
    request = SimulationRequest(name="sim-move", frames=frames, people=PEOPLE, waveform=waveform)
    names = list(simulate(root, request, jobs=1).recordings)
    for name in names:
        config = CUBES[chosen.clip.cube].model_copy(update={"products": ("rd", "ra")})
        process_recording(open_recording(root, name), root, config)
    return names


def clips_per_s(clips: ClipSet, batch: int, workers: int, seconds: float) -> float:
    """Whole epochs until `seconds` are over; the first, in which workers start, does not count."""
    batches = loader(clips, batch, shuffle=True, seed=1, workers=workers)
    for _ in batches:
        pass
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        count += sum(len(made.clip) for made in batches)
    return count / (time.perf_counter() - started)


def steps_per_s(step: Callable[[], torch.Tensor], network: torch.nn.Module, device: str, seconds: float) -> float:
    """Forward, backward and optimiser, after one step that does not count."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

    def once() -> None:
        optimiser.zero_grad(set_to_none=True)
        step().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    once()
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < seconds:
        once()
        count += 1
    return count / (time.perf_counter() - started)


def training(chosen: Preset, clip: ClipConfig, batch: ClipBatch, device: str, seconds: float) -> tuple[float, float]:
    """Clips a second of masked and of labelled steps."""
    on = batch._replace(
        maps={name: values.to(device) for name, values in batch.maps.items()},
        uv=batch.uv.to(device),
        confidence=batch.confidence.to(device),
    )
    masked = MaskedAutoencoder(clip, chosen.masked).to(device)
    generator = torch.Generator(device).manual_seed(0)
    masked_rate = steps_per_s(lambda: masked(on.maps, generator).loss, masked, device, seconds)
    pose = build_pose_network(clip, chosen.pose).to(device)
    pose_rate = steps_per_s(lambda: pose.loss(pose(on.maps), on)["loss"], pose, device, seconds)
    return masked_rate * len(batch.clip), pose_rate * len(batch.clip)


def report(names: Sequence[str], seconds: float, device: str) -> None:
    """One Markdown table."""
    threads = len(os.sched_getaffinity(0))
    where = torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(f"## Clips a second; loader on {threads} processors, networks on {where}\n")
    print("| preset | clip | memory | augmented | store | store, 2 workers | masked steps | labelled steps |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        chosen = preset(name)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            recordings = data_set(root, chosen)
            clip = chosen.clip.model_copy(update={"modalities": ("rd", "ra")})
            clip = fit_clip_config(root, recordings, clip)
            table = clip_table(root, recordings, clip, stride=4, labelled=True)
            batch = min(chosen.finetuning.batch, len(table))

            def clips(memory: bool, augment: AugmentConfig | None = None) -> ClipSet:
                limit = {} if memory else {"memory_bytes": 0}
                return ClipSet(root, table, clip, labelled=True, augment=augment, **limit)  # noqa: B023  # called below

            kept = clips(True)
            rates = [clips_per_s(kept, batch, 0, seconds)]
            augmented = clips_per_s(clips(True, SYMMETRIES), batch, 0, seconds) if clip.scaling == "window" else None
            rates += [clips_per_s(clips(False), batch, workers, seconds) for workers in (0, 2)]
            learnt = training(chosen, clip, kept.batch(range(min(batch, 8))), device, seconds)
        shapes = " + ".join("x".join(map(str, clip.map_shape(one))) for one in clip.modalities)
        cells = [rates[0], augmented, *rates[1:], *learnt]
        words = ["-" if rate is None else f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}" for rate in cells]
        print(f"| {name} | {clip.frames} x ({shapes}) | {' | '.join(words)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=sorted(PRESETS), default=["tiny", "small"])
    parser.add_argument("--seconds", type=float, default=5.0, help="a measurement")
    parser.add_argument("--device", default="cpu", help="of the networks")
    options = parser.parse_args()
    report(options.presets, options.seconds, options.device)


if __name__ == "__main__":
    main()

"""Clips in batches: reproducible by seed and epoch, resumable in mid-epoch, from memory where they fit, else from the store."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64, Int64, Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.augment import augmented, changes_anything, check_augmentation, draw
from models.batch import ClipBatch
from models.clips import recording_labels
from models.config import AugmentConfig, ClipConfig, Modality
from models.maps import MapReader
from models.passersby import DRAWS, added, moved, walk
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

MEMORY_SHARE = 0.4
"""Of the machine's memory: maps that fit into it are kept there, a byte a cell, two where frames have a scale of their own."""

Key = tuple[int, int]
"""Epoch, and row of the clip in the table."""


class ClipSet(Dataset[ClipBatch]):
    """The clips of a table. `set[i]` is a batch of one clip, as it lies there; `batch` gives several, augmented by epoch.

    What chance decides depends on `seed`, epoch and clip alone, so neither workers nor the size of batches change it.
    """

    def __init__(
        self,
        root: Path,
        table: pd.DataFrame,
        clip: ClipConfig,
        *,
        labelled: bool,
        augment: AugmentConfig | None = None,
        seed: int = 42,
        memory_bytes: int | None = None,
    ) -> None:
        """Read labels, and maps where they fit into `memory_bytes` (None: MEMORY_SHARE of what the machine has).

        `table` is what `models.clips.clip_table` gives, `clip` what `fit_clip_config` does. Not `labelled`: uv and confidence
        are 0. Raises PipelineError for an empty table, an augmentation the maps do not allow, and as `MapReader`.
        """
        if table.empty:
            raise PipelineError("There are no clips to load: the table of clips is empty.")
        if augment is not None:
            check_augmentation(augment, clip)
        self.table, self.clip, self.seed, self.labelled = table, clip, seed, labelled
        self.augment = augment if augment is not None and changes_anything(augment) else None
        names = list(dict.fromkeys(table["recording"]))
        self._readers = [MapReader(root, name, clip) for name in names]
        lengths = np.array([reader.frames for reader in self._readers])
        self._first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._recording = table["recording"].map({name: number for number, name in enumerate(names)}).to_numpy(np.int64)
        self._start, self._earliest, self._latest = (
            table[name].to_numpy(np.int64) for name in ("start", "earliest", "latest")
        )
        self._uv, self._confidence = self._labels(root, names, lengths)
        budget = MEMORY_SHARE * _machine_bytes() if memory_bytes is None else memory_bytes
        self._memory = self._read(lengths) if _bytes(clip) * lengths.sum() <= budget else None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def in_memory(self) -> bool:
        """Whether maps are kept in memory."""
        return self._memory is not None

    def __getitem__(self, index: int) -> ClipBatch:
        return self._clips(np.array([index]), np.zeros(1, np.int64))

    def __getitems__(self, keys: Sequence[Key]) -> "ClipBatch | PipelineError":
        """What a DataLoader calls for a batch. A sentence is handed over, as torch would bury it in a worker's traceback."""
        try:
            return self.batch([index for _, index in keys], keys[0][0])
        except PipelineError as error:
            return error

    def batch(self, indices: Sequence[int], epoch: int = 0) -> ClipBatch:
        """Clips at rows `indices` of the table, augmented as `epoch` says where there is augmentation."""
        rows = np.asarray(indices, np.int64)
        augment = self.augment
        if augment is None:
            return self._clips(rows, np.zeros(len(rows), np.int64))
        chance = np.stack([np.random.default_rng([self.seed, epoch, row]).random(5 + DRAWS) for row in rows])
        span = 2 * augment.jitter_frames + 1
        shift = np.floor(chance[:, 4] * span).astype(np.int64) - augment.jitter_frames
        whole = self._clips(rows, shift, frames=True)
        if augment.passersby:
            self._walk_past(whole, augment.passersby, chance[:, 5:])
        changed = augmented(whole, self.clip, augment, draw(augment, chance[:, :4]))
        targets = list(self.clip.targets)
        return changed._replace(uv=changed.uv[:, targets], confidence=changed.confidence[:, targets])

    def _walk_past(self, batch: ClipBatch, probability: float, uniform: Float64[np.ndarray, "batch draw"]) -> None:
        """Add to the maps, in place, people taken from other clips."""
        chosen = walk(probability, self.clip, len(self), uniform)
        there = np.flatnonzero(chosen.there)
        if not len(there):
            return
        period_s = self._readers[0].cube.waveform.frame_period_s
        others = self._clips(chosen.of[there], np.zeros(len(there), np.int64))
        for other, row in enumerate(there.tolist()):
            for name, values in batch.maps.items():
                passerby = moved(name, others.maps[name][other, 0], self.clip, chosen, row, period_s)
                values[row, 0] = added(name, values[row, 0], passerby, self.clip, chosen.gain_db[row])

    def _clips(
        self, rows: Int64[np.ndarray, " batch"], shift: Int64[np.ndarray, " batch"], *, frames: bool = False
    ) -> ClipBatch:
        """Clips as they are, begun `shift` frames later where their stretch allows; labels of targets, or of all `frames`."""
        start = np.clip(self._start[rows] + shift, self._earliest[rows], self._latest[rows])
        at = (self._first[self._recording[rows]] + start)[:, None] + np.arange(self.clip.frames)
        maps = {name: self._maps(name, rows, start, at) for name in self.clip.modalities}
        seen = at if frames else at[:, list(self.clip.targets)]
        return ClipBatch(
            maps,
            torch.from_numpy(self._uv[seen]),
            torch.from_numpy(self._confidence[seen]),
            torch.from_numpy(rows.copy()),
        )

    def _maps(
        self,
        name: Modality,
        rows: Int64[np.ndarray, " batch"],
        start: Int64[np.ndarray, " batch"],
        at: Int64[np.ndarray, "batch frame"],
    ) -> Float[Tensor, "batch 1 frame row column"]:
        if self._memory is not None:
            return _read_out(self._memory[name][torch.from_numpy(at)][:, None])
        read = [
            _kept(
                self._readers[self._recording[row]].scaled(name, int(begin), int(begin) + self.clip.frames), self.clip
            )
            for row, begin in zip(rows, start, strict=True)
        ]
        return _read_out(torch.stack(read)[:, None])

    def _labels(
        self, root: Path, names: Sequence[str], lengths: Int64[np.ndarray, " recording"]
    ) -> tuple[np.ndarray, np.ndarray]:
        if not self.labelled:
            shape = (int(lengths.sum()), len(JOINTS))
            # one number seen as all of them: no memory
            return np.broadcast_to(np.float32(0), (*shape, 2)), np.broadcast_to(np.float32(0), shape)
        found = [recording_labels(root, name, int(frames)) for name, frames in zip(names, lengths, strict=True)]
        return np.concatenate([uv for uv, _ in found]), np.concatenate([confidence for _, confidence in found])

    def _read(self, lengths: Int64[np.ndarray, " recording"]) -> dict[Modality, Tensor]:
        memory = {}
        for name in self.clip.modalities:
            shape = (int(lengths.sum()), *self.clip.map_shape(name))
            kept = torch.empty(shape, dtype=_kept_type(self.clip))
            for reader, first, frames in zip(self._readers, self._first, lengths, strict=True):
                for begin in range(0, int(frames), _READ_FRAMES):
                    stop = min(begin + _READ_FRAMES, int(frames))
                    kept[first + begin : first + stop] = _kept(reader.scaled(name, begin, stop), self.clip)
            memory[name] = kept
        return memory


_READ_FRAMES = 256


def _kept_type(clip: ClipConfig) -> torch.dtype:
    return torch.uint8 if clip.scaling == "window" else torch.float16


def _kept(scaled: Float32[np.ndarray, "frame row column"], clip: ClipConfig) -> Shaped[Tensor, "frame row column"]:
    """Maps as they are kept, 255 steps of a window or 16 bits; from the store they come out the same as from memory."""
    maps = torch.from_numpy(scaled)
    return maps.mul_(255).round_().to(torch.uint8) if clip.scaling == "window" else maps.half()


def _read_out(kept: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return kept.float().div_(255) if kept.dtype == torch.uint8 else kept.float()


def _bytes(clip: ClipConfig) -> int:
    """Bytes that a frame takes in memory."""
    return sum(int(np.prod(clip.map_shape(name))) for name in clip.modalities) * _kept_type(clip).itemsize


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def collate(items: Sequence[ClipBatch]) -> ClipBatch:
    """One batch of several, in their order."""
    return ClipBatch(
        {name: torch.cat([item.maps[name] for item in items]) for name in items[0].maps},
        torch.cat([item.uv for item in items]),
        torch.cat([item.confidence for item in items]),
        torch.cat([item.clip for item in items]),
    )


class ClipOrder:
    """Batches of keys in the order of an epoch. Where several processes train together, each gets every so-manieth batch."""

    def __init__(self, clips: int, batch: int, *, shuffle: bool, seed: int) -> None:
        self.clips, self.batch, self.shuffle, self.seed = clips, batch, shuffle, seed
        self.epoch, self.start_step = 0, 0

    def _share(self) -> tuple[int, int]:
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if together else (0, 1)

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        batches, world = -(-self.clips // self.batch), self._share()[1]
        return batches if world == 1 else max(batches // world, 1)  # as many for each, lest one waits for another

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.clips)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.clips)
        rank, world = self._share()
        for step in range(self.start_step, len(self)):
            begin = (step * world + rank) * self.batch
            yield [(self.epoch, int(index)) for index in order[begin : begin + self.batch]]


class ClipLoader(DataLoader[ClipBatch]):
    """Batches of a `ClipSet`. Each pass is the next epoch, unless `set_epoch` says which and from which step on."""

    def __init__(self, clips: ClipSet, order: ClipOrder, workers: int) -> None:
        super().__init__(
            clips,
            batch_sampler=order,
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
        )
        self.order, self._step = order, order.start_step

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """The next pass is `epoch`, from batch `start_step` on."""
        self.order.epoch, self.order.start_step, self._step = epoch, start_step, start_step

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many of its batches were handed out."""
        return {"epoch": self.order.epoch, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.set_epoch(state["epoch"], state["step"])

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]  # a plain generator counts what is handed out
        self._step = self.order.start_step
        for batch in super().__iter__():
            if isinstance(batch, PipelineError):
                raise batch
            self._step += 1
            yield batch
        self.set_epoch(self.order.epoch + 1)


def loader(
    clipset: ClipSet, batch: int, *, shuffle: bool, seed: int, workers: int = 0, start_step: int = 0
) -> ClipLoader:
    """Batches of `batch` clips, in an order that `seed` and epoch decide; the first epoch begins at batch `start_step`.

    `workers` processes read ahead: of use where maps come from the store, not where they are in memory.
    """
    order = ClipOrder(len(clipset), batch, shuffle=shuffle, seed=seed)
    order.start_step = start_step
    return ClipLoader(clipset, order, workers)


def _as_it_is(batch: Any) -> Any:
    """`ClipSet.__getitems__` made a batch already."""
    return batch

"""Batches: whole epochs, the same again for a seed, whoever reads them and wherever an epoch is taken up."""

import shutil

import numpy as np
import pytest
import torch
from radar_sessions import noise_words, session

from models.batch import ClipBatch
from models.clips import clip_table, target_labels
from models.config import AugmentConfig, ClipConfig
from models.loader import ClipSet, collate, loader
from models.maps import MapReader, fit_clip_config
from pipeline.errors import PipelineError

ALL = AugmentConfig(mirror=0.5, reverse=0.5, jitter_frames=2, noise_db=1.0, level_db=3.0, passersby=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("loader")
    session(root, "a", noise_words(20))
    session(root, "b", noise_words(18, seed=1), lost_frames=(9,))
    return root


@pytest.fixture(scope="module")
def clip(root) -> ClipConfig:
    shape = {"range_bins": 8, "doppler_bins": 8, "azimuth_bins": 16}
    return fit_clip_config(root, ["a", "b"], ClipConfig(modalities=("rd", "ra"), frames=4, targets=(1, 3), **shape))


@pytest.fixture(scope="module")
def table(root, clip):
    return clip_table(root, ["a", "b"], clip, stride=2, labelled=True)


def clips(root, table, clip, **kwargs) -> ClipSet:
    return ClipSet(root, table, clip, **{"labelled": True, **kwargs})


def same(first: ClipBatch, second: ClipBatch) -> bool:
    fields = zip((*first.maps.values(), *first[1:]), (*second.maps.values(), *second[1:]), strict=True)
    return all(torch.equal(one, other) for one, other in fields)


def test_a_clip_is_its_maps_and_labels(root, table, clip):
    set_ = clips(root, table, clip)
    uv, confidence = target_labels(root, table, clip)
    assert len(set_) == len(table) > 10
    for index in (0, len(table) - 1):
        item, row = set_[index], table.iloc[index]
        reader = MapReader(root, row["recording"], clip)
        for name in ("rd", "ra"):
            wanted = reader.scaled(name, int(row["start"]), int(row["start"]) + 4)
            assert item.maps[name].shape == (1, 1, *wanted.shape)
            assert np.abs(item.maps[name][0, 0].numpy() - wanted).max() <= 0.5 / 255 + 1e-6
        assert np.array_equal(item.uv[0], uv[index])
        assert np.array_equal(item.confidence[0], confidence[index])
        assert item.clip.tolist() == [index]


def test_collated_clips_are_the_batch(root, table, clip):
    set_ = clips(root, table, clip)
    assert same(collate([set_[3], set_[0], set_[5]]), set_.batch([3, 0, 5]))


@pytest.mark.parametrize("scaling", ["window", "frame-minmax"])
def test_store_and_memory_give_the_same_numbers(root, table, clip, scaling):
    clip = clip.model_copy(update={"scaling": scaling})
    stored, kept = clips(root, table, clip, memory_bytes=0), clips(root, table, clip)
    assert (stored.in_memory, kept.in_memory) == (False, True)
    rows = range(len(table))
    assert same(stored.batch(rows), kept.batch(rows))


def test_an_epoch_has_every_clip_once_and_another_order_each_time(root, table, clip):
    batches = loader(clips(root, table, clip), 4, shuffle=True, seed=1)
    orders = [torch.cat([batch.clip for batch in batches]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(len(table))) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert len(batches) == -(-len(table) // 4)
    plain = loader(clips(root, table, clip), 4, shuffle=False, seed=1)
    assert [torch.cat([batch.clip for batch in plain]).tolist() for _ in range(2)] == [list(range(len(table)))] * 2


def test_an_epoch_comes_out_the_same_again_with_and_without_workers(root, table, clip):
    def epoch(number: int, workers: int, memory_bytes: int, seed: int = 1) -> list[ClipBatch]:
        set_ = clips(root, table, clip, augment=ALL, memory_bytes=memory_bytes, seed=seed)
        batches = loader(set_, 5, shuffle=True, seed=seed, workers=workers)
        batches.set_epoch(number)
        return list(batches)

    first = epoch(2, 0, 2**30)
    for again in (epoch(2, 0, 2**30), epoch(2, 2, 0)):
        assert len(again) == len(first)
        assert all(map(same, first, again))
    assert not any(map(same, first, epoch(3, 0, 2**30)))
    assert not any(map(same, first, epoch(2, 0, 2**30, seed=2)))


def test_what_happens_to_a_clip_does_not_depend_on_its_batch(root, table, clip):
    set_ = clips(root, table, clip, augment=ALL)
    together = set_.batch([4, 1, 7], epoch=3)
    assert same(collate([set_.batch([index], epoch=3) for index in (4, 1, 7)]), together)


def test_an_epoch_is_taken_up_where_it_was_left(root, table, clip):
    def new(**kwargs):
        return loader(clips(root, table, clip, augment=ALL), 4, shuffle=True, seed=1, **kwargs)

    whole = new()
    whole.set_epoch(5)
    wanted = [*whole, *whole]  # epochs 5 and 6
    left = new()
    left.set_epoch(5)
    running = iter(left)
    begun = [next(running) for _ in range(2)]
    resumed = new()
    resumed.load_state_dict(left.state_dict())
    assert left.state_dict() == {"epoch": 5, "step": 2}
    found = [*begun, *resumed, *resumed]
    assert len(found) == len(wanted)
    assert all(map(same, found, wanted))
    assert resumed.state_dict() == {"epoch": 7, "step": 0}
    later = new(start_step=1)
    assert all(map(same, later, [*new()][1:]))


def test_jitter_stays_in_the_stretch(root, table, clip):
    set_ = clips(root, table, clip, augment=AugmentConfig(jitter_frames=3))
    begun = np.stack([set_.batch(range(len(table)), epoch).uv[:, 0, 0, 0].numpy() for epoch in range(40)])
    starts = np.round(begun * 100).astype(int) - clip.targets[0]  # labels say which frame they are of
    wanted = table["start"].to_numpy()
    assert (starts >= np.maximum(table["earliest"].to_numpy(), wanted - 3)).all()
    assert (starts <= np.minimum(table["latest"].to_numpy(), wanted + 3)).all()
    middle = (table["earliest"] <= wanted - 3) & (table["latest"] >= wanted + 3)
    assert middle.any()
    for column in np.flatnonzero(middle):
        assert set(starts[:, column] - wanted[column]) == {-3, -2, -1, 0, 1, 2, 3}


def test_clips_without_labels_have_masked_ones(root, table, clip):
    batch = clips(root, table, clip, labelled=False, augment=ALL).batch([0, 1])
    assert batch.uv.shape == (2, 2, 13, 2)
    assert not batch.uv.any()
    assert not batch.confidence.any()


def test_several_processes_share_an_epoch(root, table, clip, monkeypatch):
    world = 2
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        batches = loader(clips(root, table, clip), 3, shuffle=True, seed=1)
        shares.append([batch.clip.tolist() for batch in batches])
    assert len(shares[0]) == len(shares[1]) == len(batches)
    taken = [index for share in shares for batch in share for index in batch]
    assert len(taken) == len(set(taken)) > len(table) - 2 * 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cube_that_goes_while_it_is_read_is_said_in_one_sentence(root, table, clip, tmp_path, workers):
    session(tmp_path, "a", noise_words(12))
    there = clip_table(tmp_path, ["a"], clip, stride=4, labelled=True)
    batches = iter(loader(clips(tmp_path, there, clip, memory_bytes=0), 1, shuffle=False, seed=1, workers=workers))
    shutil.rmtree(tmp_path / "cubes" / "a.zarr")
    with pytest.raises(
        PipelineError, match=r"^There is no cube of a; make it|^The cube of a changed since it was opened"
    ):
        list(batches)


def test_nothing_to_load_is_said(root, table, clip):
    with pytest.raises(PipelineError, match="no clips to load"):
        clips(root, table.iloc[:0], clip)
    with pytest.raises(PipelineError, match="dB window of rd is not known yet"):
        clips(root, table, clip.model_copy(update={"window_db": {}}))

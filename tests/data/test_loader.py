"""Streams and batches: the same for any number of workers and processes; errors keep their kind across processes."""

import numpy as np
import pytest
import torch

from segkit.data.dataset import Dataset
from segkit.data.files.labels import LabelError
from segkit.data.loader import EvalItems, TrainItems, collate_train, eval_loader, train_loader
from segkit.data.samplers import InOrder, Shuffle, batches, shard
from segkit.data.transforms.operations import resize
from segkit.files import DataError


class Numbers(Dataset):
    """Image i is filled with i; the transform adds noise of its position."""

    classes = ("a", "b")

    def __init__(self, length: int = 7, bad: int | None = None):
        self.ids = [f"image_{i}" for i in range(length)]
        self.bad = bad

    def image(self, index):
        return np.full((4 + index % 2, 5, 3), index, np.uint8)

    def mask(self, index):
        if index == self.bad:
            raise LabelError("mask_3.png: label 9 beyond the 2 classes", "mask_3.png", (9,))
        return np.full((4 + index % 2, 5), index % 2, np.uint8)


def noise(sample, rng):
    return {**sample, "image": sample["image"] + rng.integers(0, 50, sample["image"].shape, dtype=np.uint8)}


def first(count: int, workers: int, **options) -> list[torch.Tensor]:
    dataset = Numbers()
    items = TrainItems(dataset, [noise], seed=3)
    stream = train_loader(items, Shuffle(dataset, 3), workers=workers, **{"batch_size": 2, **options})
    return [next(stream)["image"] for _ in range(count)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b))


def test_the_number_of_workers_changes_nothing():
    assert same(first(9, 0), first(9, 2))


def test_a_stream_starts_anywhere():
    assert same(first(9, 0)[5:], first(4, 0, start=5))


def test_the_global_batch_is_the_same_for_any_number_of_processes():
    sampler = Shuffle(Numbers(), 0)
    one = batches(sampler, 4)
    two = [batches(sampler, 2, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(5):
        assert next(one) == [key for rank in two for key in next(rank)]


def test_every_image_once_per_epoch_in_another_order():
    sampler = Shuffle(Numbers(7), 1)
    epochs = [[sampler.index(p) for p in range(7 * e, 7 * e + 7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and len({tuple(e) for e in epochs}) == 3


def test_an_image_seen_again_is_augmented_anew():
    dataset = Numbers(1)
    items = TrainItems(dataset, [noise], seed=0)
    assert not np.array_equal(items[(0, 0)]["image"], items[(1, 0)]["image"])
    assert np.array_equal(items[(1, 0)]["image"], items[(1, 0)]["image"])


def test_shards_hold_every_image_once():
    for world_size in (1, 2, 3, 8):
        parts = [shard(7, rank, world_size) for rank in range(world_size)]
        assert sorted(i for part in parts for i in part) == list(range(7))


def test_unequal_images_are_padded_at_the_right_and_bottom():
    dataset = Numbers()
    batch = collate_train([dataset.sample(i, np.random.default_rng(0)) for i in (0, 1)])
    assert batch["image"].shape == (2, 3, 5, 5) and batch["mask"].dtype == torch.int64
    assert batch["mask"][0, 4].tolist() == [255] * 5 and int(batch["image"][0, :, 4].sum()) == 0
    assert [meta["valid"] for meta in batch["meta"]] == [(4, 5), (5, 5)]


def test_evaluation_transforms_leave_the_labels_alone():
    def half(sample, rng):
        assert "mask" not in sample
        return resize(sample, (2, 3))

    batch = next(iter(eval_loader(EvalItems(Numbers(), [half]), batch_size=1, workers=0)))
    assert batch["image"].shape == (1, 3, 2, 3) and batch["mask"][0].shape == (4, 5)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_stays_one_across_processes(workers):
    dataset = Numbers(bad=0)
    stream = train_loader(TrainItems(dataset, [], 0), InOrder(dataset), batch_size=2, workers=workers)
    if workers:
        with pytest.raises(DataError, match=r"mask_3.png: label 9"):
            next(stream)
    else:
        with pytest.raises(LabelError, match=r"mask_3.png: label 9"):
            next(stream)

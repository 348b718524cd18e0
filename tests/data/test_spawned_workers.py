"""The data path without fork: everything that travels to a worker is pickled, and spawned workers give the same."""

import multiprocessing
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segkit.data.concat import Concat
from segkit.data.instances.shapes import ShapesInstances
from segkit.data.interactive.shapes import ShapesClicks
from segkit.data.loader import EvalItems, TrainItems, _collate_training, _start_worker
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.shapes import Shapes
from segkit.data.splits.split import Fold
from segkit.registry import SAMPLERS, TRANSFORMS
from tests.data import messy
from tests.data.test_scale_bands import sets_of
from tests.data.test_transform_values import build

RNG = np.random.default_rng(0)


def same(one, other) -> bool:
    """Whether two samples are equal in every array and value."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other[key])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other[key])
        else:
            assert str(value) == str(other[key])
    return True


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_transforms_travel(name):
    transform = build(name)
    assert repr(pickle.loads(pickle.dumps(transform))) == repr(transform)


def kinds(root):
    yield from sets_of(root)
    shapes = Shapes(size=(32, 32), length=4)
    yield shapes
    yield Concat([shapes, shapes])
    yield Fold(shapes, 2, 0)
    yield ShapesInstances(size=(32, 32), length=2)
    yield ShapesClicks(size=(32, 32), length=2)


def test_data_sets_travel(tmp_path):
    for dataset in kinds(tmp_path):
        again = pickle.loads(pickle.dumps(dataset))
        assert same(again.sample(1, np.random.default_rng(3)), dataset.sample(1, np.random.default_rng(3)))


def test_samplers_travel():
    dataset = Shapes(size=(32, 32), length=4)
    for name in ("Shuffle", "InOrder"):
        sampler = SAMPLERS.get(name)(dataset)
        keys = pickle.loads(pickle.dumps(sampler))
        assert type(keys) is type(sampler)


class OneOfEach(torch.utils.data.Dataset):
    """The first training item of each of several data sets."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index][(index, 0)]


def test_spawned_workers_read_every_kind_of_data_set(tmp_path):
    """Two workers that begin with nothing, as on macOS and Windows, give what this process gives."""
    flip = TRANSFORMS.get("Flip")(p=0.5)
    items = OneOfEach([TrainItems(dataset, [flip], 7) for dataset in kinds(tmp_path)])
    context = multiprocessing.get_context("spawn")
    loader = DataLoader(
        items,
        batch_size=None,
        num_workers=2,
        collate_fn=_itself,
        multiprocessing_context=context,
        worker_init_fn=_start_worker,
    )
    for number, sample in enumerate(loader):
        assert same(sample, items[number])
    assert number == len(items) - 1


def _itself(value):
    return value


def test_what_collates_and_scores_travels(tmp_path):
    made = messy.twelve_bits(tmp_path, 2)
    dataset = Folder(str(made.root), ["ground", "disc"], scale=(0, 4095))
    for value in (partial(_collate_training, ignore=255), EvalItems(dataset, []), TrainItems(dataset, [], 0)):
        pickle.loads(pickle.dumps(value))

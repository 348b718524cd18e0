"""Masks of one bit for each pixel: what goes in comes out, through transforms, collation and padding."""

import pickle

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from segkit.data.loader import collate_train, to_device
from segkit.data.transforms.boxes import BoxesOfMasks
from segkit.data.transforms.crops import RandomCrop
from segkit.data.transforms.sizes import Flip, Pad, RandomScale
from segkit.data.transforms.warps import RandomRotate
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.runners.instances.runner import padded_masks, without_crowds


@pytest.fixture
def masks():
    return (np.random.default_rng(0).random((5, 21, 43)) < 0.4).astype(np.uint8)


def test_every_pixel_comes_back(masks):
    packed = PackedMasks.of(masks, (21, 43))
    assert packed.bits.shape == (5, 21, 6) and packed.shape == masks.shape and len(packed) == 5
    assert np.array_equal(np.asarray(packed), masks) and np.array_equal(np.stack(list(packed)), masks)
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(packed))), masks)
    some = packed.rows(torch.tensor([3, 0]))
    assert np.array_equal(np.asarray(some), masks[[3, 0]])
    assert np.array_equal(np.asarray(packed.rows(masks[:, 0, 0] == 1)), masks[masks[:, 0, 0] == 1])
    assert PackedMasks.of([], (21, 43)).shape == (0, 21, 43)


def test_bits_are_unpacked_into_the_padding_of_a_batch(masks, monkeypatch):
    packed = PackedMasks.of(masks, (21, 43))
    expected = np.zeros((5, 32, 64), np.uint8)
    expected[:, :21, :43] = masks
    dense = packed.dense((32, 64))
    assert dense.dtype == torch.uint8 and np.array_equal(dense.numpy(), expected)
    padded = padded_masks(packed, (21, 43), torch.zeros(1, 3, 32, 64))
    assert torch.equal(padded, dense)
    # the way of other devices, on this one
    monkeypatch.setattr(PackedMasks, "__iter__", lambda self: pytest.fail("numpy reads the CPU's masks alone"))
    monkeypatch.setattr("segkit.ops.instances.packed_masks.on_host", lambda tensor: False)
    assert torch.equal(packed.dense((32, 64)), dense)


def test_transforms_change_packed_masks_as_they_change_arrays(masks):
    """A large-scale jitter, a rotation and tight boxes, from run-length codes and from arrays; objects leave."""
    rows = [
        RandomScale(low=0.6, high=1.6),
        RandomCrop((24, 30)),
        Flip(1.0),
        RandomRotate(20),
        Pad(divisor=32),
        BoxesOfMasks(3),
    ]
    masks[1] = 0
    masks[1, :2, :3] = 1
    boxes = np.array([[0, 0, 43, 21]] * 5, np.float32)
    shared = dict(
        image=np.zeros((21, 43, 3), np.uint8),
        boxes=boxes,
        labels=np.arange(5),
        crowd=np.array([False] * 4 + [True]),
        meta=dict(id="0", path="", size=(21, 43)),
    )
    codes = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    left = set()
    for seed in range(6):
        samples = []
        for form in (masks, codes):
            sample, rng = dict(shared, masks=form), np.random.default_rng(seed)
            for transform in rows:
                sample = transform(sample, rng)
            samples.append(sample)
        dense, packed = samples
        assert isinstance(packed["masks"], PackedMasks) and isinstance(dense["masks"], np.ndarray)
        for key in ("masks", "boxes", "labels", "crowd"):
            np.testing.assert_array_equal(np.asarray(packed[key]), dense[key])
        left.add(len(dense["labels"]))
        batches = [to_device(collate_train([sample]), torch.device("cpu")) for sample in samples]
        batches = [batch | without_crowds(batch) for batch in batches]
        found = [padded_masks(batch["masks"][0], batch["image"].shape[2:], batch["image"]) for batch in batches]
        assert torch.equal(*found) and len(found[0]) == len(batches[0]["labels"][0])
    assert min(left) < 5

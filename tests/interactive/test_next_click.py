"""The training clicks: regions, slots and the law of the draw, against published outputs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit.ops.interactive.distance import distance_inside, edt_5x5, exact_distance
from segkit.ops.interactive.next_click import add_clicks, draw_pixel, error_regions, next_training_clicks

FIXTURE = Path(__file__).parents[1] / "fixtures/ritm/train_click.npz"


@pytest.fixture(scope="module")
def published():
    with np.load(FIXTURE) as arrays:
        return {name: arrays[name] for name in arrays.files}


def blobs(seed, shape):
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return np.stack([cv2.GaussianBlur(layer, (0, 0), 3) > -0.02 for layer in noise])


@pytest.mark.parametrize("shape", [(3, 40, 61), (2, 70, 33), (1, 1, 9), (2, 9, 1)])
def test_the_transform_by_tensors_is_exact(shape):
    """Against every pair of pixels, and against OpenCV's exact transform."""
    masks = blobs(0, shape)
    masks[0] |= True  # no pixel outside but beyond the border
    height, width = shape[1:]
    distance = exact_distance(torch.from_numpy(masks)).numpy()
    for mask, got in zip(masks, distance):
        np.testing.assert_allclose(got, distance_inside(mask), atol=1e-4)
        outside = np.argwhere(~np.pad(mask, 1)) - 1
        pixels = np.argwhere(np.ones_like(mask))
        wanted = np.sqrt(((pixels[:, None] - outside) ** 2).sum(2).min(1)).reshape(height, width)
        np.testing.assert_allclose(got, wanted * mask, atol=1e-4)


def test_chunks_change_nothing(monkeypatch):
    masks = torch.from_numpy(blobs(1, (2, 30, 50)))
    whole = exact_distance(masks)
    monkeypatch.setattr("segkit.ops.interactive.distance.CHUNK", 30 * 30 * 7)
    assert torch.equal(exact_distance(masks), whole)


def test_empty_masks_have_distance_zero():
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    for transform in (edt_5x5, exact_distance):
        assert not transform(masks).any()


def test_regions_are_the_published_ones(published):
    probabilities, target = torch.from_numpy(published["prob"]), torch.from_numpy(published["gt"]).float()
    region, is_positive = error_regions(probabilities, target)
    count = np.prod(published["inner_mask_shape"])
    wanted = np.unpackbits(published["inner_mask"])[:count].reshape(published["inner_mask_shape"])
    np.testing.assert_array_equal(region.numpy(), wanted.astype(bool))
    np.testing.assert_array_equal(is_positive.numpy(), published["is_positive"])
    assert torch.equal(region, error_regions(probabilities, target.squeeze(1))[0])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_clicks_fill_the_published_slots(published, order):
    """The published click put through add_clicks gives the published array, overwritten slots included."""
    before = published["points_in"] if order == 1 else published[f"points_after_click{order - 1}_npseed{order - 1}"]
    after = published[f"points_after_click{order}_npseed{order}"]
    new = np.full((len(before), 3), -1, np.float32)
    new[:, 2] = published["is_positive"]
    for sample, sign in enumerate(published["is_positive"]):
        slot = (24 if sign else 48) - order
        if published["fn_max_fp_max"][sample].max() > 0:
            assert after[sample, slot, 2] == order
            new[sample, :2] = after[sample, slot, :2]
    given = torch.from_numpy(before)
    np.testing.assert_array_equal(add_clicks(given, torch.from_numpy(new), order).numpy(), after)
    np.testing.assert_array_equal(given.numpy(), before)


def test_a_click_lies_in_its_region_and_follows_the_generator(published):
    probabilities, target = torch.from_numpy(published["prob"]), torch.from_numpy(published["gt"]).float()
    region, is_positive = error_regions(probabilities, target)
    new = next_training_clicks(probabilities, target, torch.Generator().manual_seed(5))
    assert torch.equal(new, next_training_clicks(probabilities, target, torch.Generator().manual_seed(5)))
    assert not torch.equal(new, next_training_clicks(probabilities, target, torch.Generator().manual_seed(6)))
    for sample, (y, x, sign) in enumerate(new.long().tolist()):
        assert region[sample, y, x] if region[sample].any() else (y, x) == (-1, -1)
        assert sign == is_positive[sample]


def test_every_pixel_of_a_region_is_equally_likely():
    region = torch.zeros(1, 5, 7, dtype=torch.bool)
    region[0, 0, 0] = region[0, 2, 3:6] = region[0, 4, 6] = True
    drawn = draw_pixel(region.expand(5000, -1, -1), torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0] * 7 + drawn[:, 1], minlength=35).view(5, 7)
    assert counts[~region[0]].sum() == 0
    expected = 1000
    chi_square = (counts[region[0]] - expected).square().sum() / expected
    assert chi_square < 18.5  # 4 degrees of freedom, p = .001


def test_no_error_no_click_and_the_threshold_is_neither():
    target = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]).expand(3, -1, -1)
    right = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    at_threshold = torch.tensor([[0.49, 0.49], [0.0, 0.0]], dtype=torch.float64)
    on_ignored = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    probabilities = torch.stack([right, at_threshold, on_ignored])[:, None]
    new = next_training_clicks(probabilities, target, torch.Generator().manual_seed(0))
    assert new.tolist() == [[-1, -1, 0], [-1, -1, 0], [1, 1, 0]]
    clicks = torch.full((3, 4, 3), -1.0)
    clicks[0, 0] = torch.tensor([-3.0, 7.0, 100.0])
    after = add_clicks(clicks, new, 2)
    assert torch.equal(after[:2], clicks[:2])
    assert after[2].tolist() == [[-1, -1, -1], [-1, -1, -1], [1, 1, 2], [-1, -1, -1]]


def test_an_error_of_one_pixel_is_clicked():
    target = torch.zeros(1, 8, 9)
    target[0, 7, 8] = 1
    assert next_training_clicks(torch.zeros(1, 1, 8, 9), target).tolist() == [[7, 8, 1]]


def test_more_clicks_than_places_are_refused():
    clicks = torch.full((1, 4, 3), -1.0)
    with pytest.raises(ValueError, match="2 per sign"):
        add_clicks(clicks, torch.zeros(1, 3), 3)
    with pytest.raises(ValueError, match="order = 0"):
        add_clicks(clicks, torch.zeros(1, 3), 0)

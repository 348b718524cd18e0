"""DenseCRF against sums over all pairs of pixels, and its lattice against pydensecrf."""

import math

import pytest
import torch

from segkit.refiners._filters import WindowFilter, full_filter, normalized, position_filter, positions
from segkit.refiners._lattice import Lattice, lattice_filter
from segkit.refiners.dense_crf import DenseCRF, LatticeDenseCRF, WindowDenseCRF
from tests.refiners.references import image, iou, logits, outputs, stored, two_colors

OPTIONS = {
    "cocostuff_voc": {},
    "wide": dict(position_sigma=3.0, bilateral_weight=10.0, bilateral_sigma=80.0, color_sigma=13.0),
    "norm_none": dict(normalization="none"),
    "no_pairwise": dict(position_weight=0.0, bilateral_weight=0.0),
}


def cases(kind: str) -> list[tuple[str, int, int]]:
    names = [key.split("/") for key in outputs("dense_crf") if f"/{kind}_" in key]
    return [(name, int(size), int(key.split("_")[1])) for name, size, key in names]


def refined(cls: type, name: str, size: int, steps: int, **options) -> torch.Tensor:
    refiner = cls(steps=steps, smallest=1e-10, **OPTIONS[name], **options)
    return stored(refiner.refine(image(size), logits(size).softmax(1)))


@pytest.mark.parametrize("name, size, steps", cases("exact"))
def test_small_images_equal_the_sums_over_all_pairs(name, size, steps):
    expected = torch.from_numpy(outputs("dense_crf")[f"{name}/{size}/exact_{steps}"])
    assert torch.allclose(refined(DenseCRF, name, size, steps), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name, size, steps", cases("pydensecrf"))
def test_lattices_equal_pydensecrf(name, size, steps):
    expected = torch.from_numpy(outputs("dense_crf")[f"{name}/{size}/pydensecrf_{steps}"])
    assert torch.allclose(refined(LatticeDenseCRF, name, size, steps), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name, size", [("cocostuff_voc", 16), ("wide", 16), ("cocostuff_voc", 64), ("wide", 64)])
def test_the_lattice_is_near_the_sums_over_all_pairs(name, size):
    """As near as the published lattice is: 1 in 100 labels, a mean difference of 0.006."""
    expected = torch.from_numpy(outputs("dense_crf")[f"{name}/{size}/exact_10"])
    found = refined(DenseCRF, name, size, 10, exact_pixels=0)
    assert (found - expected).abs().mean() < 0.0065
    assert (found.argmax(0) != expected.argmax(0)).float().mean() < 0.011


@pytest.mark.parametrize("name", ["cocostuff_voc", "wide"])
def test_a_window_around_the_image_is_exact(name):
    expected = torch.from_numpy(outputs("dense_crf")[f"{name}/16/exact_5"])
    assert torch.allclose(refined(WindowDenseCRF, name, 16, 5, window=31), expected, rtol=0, atol=5e-6)
    # a smaller one differs where colors agree over a distance
    assert (refined(WindowDenseCRF, name, 16, 5, window=7) - expected).abs().max() > 1e-3


def test_two_pixels_by_hand():
    """One step of two pixels two apart in color: message = (own + exp(-1/2 (1 + 4)) other) / row sum, times 3."""
    pixels = torch.tensor([[[[10.0, 14.0]]]])
    coarse = torch.tensor([[[[0.9, 0.4]], [[0.1, 0.6]]]])
    crf = DenseCRF(1, 0.0, bilateral_weight=3.0, bilateral_sigma=1.0, color_sigma=2.0)
    near = math.exp(-0.5 * (1 + 4))
    for i, (own, other) in enumerate([(0.9, 0.4), (0.4, 0.9)]):
        first, second = (a * math.exp(3 * (a + near * b) / (1 + near)) for a, b in [(own, other), (1 - own, 1 - other)])
        assert float(crf.refine(pixels, coarse)[0, 0, 0, i]) == pytest.approx(first / (first + second), abs=1e-6)


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
def test_normalizations_by_their_matrices(normalization):
    features = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(0)).double() * 3
    x = torch.rand(1, 2, 3, 4, generator=torch.Generator().manual_seed(1)).double()
    f = features.flatten(2)[0].T
    kernel = (-0.5 * (f[:, None] - f[None]).square().sum(-1)).exp()
    sums = kernel.sum(1)
    expected = {
        "symmetric": kernel / (sums[:, None] * sums[None]).sqrt(),
        "before": kernel / sums[None],
        "after": kernel / sums[:, None],
        "none": kernel,
    }[normalization]
    found = normalized(full_filter(features), normalization, x)(x)
    assert torch.allclose(found[0].flatten(1), x[0].flatten(1) @ expected.T)


def test_filters_of_positions_and_windows_equal_all_pairs():
    pixels = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0)) * 2
    x = torch.rand(2, 4, 7, 9, generator=torch.Generator().manual_seed(1))
    places = positions(pixels) / 1.7
    assert torch.allclose(position_filter(pixels, 1.7)(x), full_filter(places)(x), atol=1e-5)
    assert torch.allclose(WindowFilter.of(pixels, 17)(x), full_filter(pixels)(x), atol=1e-5)
    assert torch.allclose(WindowFilter.of(pixels, 25)(x), full_filter(pixels)(x), atol=1e-5)  # beyond the image
    only_self = WindowFilter.of(pixels, 1)(x)
    assert torch.allclose(only_self, x)


def test_the_lattice_spreads_a_gaussian():
    """A single 1 on a line of pixels: what arrives a deviation away is near exp(-1/2) of what stays."""
    features = torch.arange(-40, 41)[:, None] / 10.0
    impulse = torch.zeros(81, 1)
    impulse[40] = 1
    response = Lattice.of(features).filter(impulse)[:, 0]
    expected = (-0.5 * features[:, 0] ** 2).exp()
    assert (response / response[40] - expected).abs().max() < 0.12
    assert torch.allclose(response, response.flip(0), atol=1e-5)


def test_images_of_a_batch_do_not_meet():
    pixels = torch.cat([image(16), image(16).flip(-1)])
    coarse = torch.cat([logits(16).softmax(1), logits(16).softmax(1).flip(-2)])
    for refiner in (DenseCRF(3), DenseCRF(3, exact_pixels=0), LatticeDenseCRF(3), WindowDenseCRF(9, 3)):
        both = refiner.refine(pixels, coarse)
        singles = [refiner.refine(pixels[i : i + 1], coarse[i : i + 1]) for i in range(2)]
        assert torch.allclose(both, torch.cat(singles), atol=1e-6)


def test_one_channel_is_two_classes():
    coarse = logits(16)[:, :2].softmax(1)
    two = DenseCRF(5).refine(image(16), coarse)
    one = DenseCRF(5).refine(image(16), coarse[:, 1:])
    assert one.shape == (1, 1, 16, 16) and torch.allclose(one, two[:, 1:], atol=1e-6)


@pytest.mark.parametrize("refiner", [DenseCRF(), DenseCRF(exact_pixels=0), LatticeDenseCRF(), WindowDenseCRF(15)])
def test_a_sure_mask_stays_and_a_noisy_one_is_mended(refiner):
    pixels, truth = two_colors(noise=2.0)
    mask = truth[0, 1] > 0.5
    kept = refiner.refine(pixels, truth)
    assert iou(kept[0].argmax(0) == 1, mask) > 0.99
    assert torch.allclose(kept.sum(1), torch.ones(1, 64, 80), atol=1e-5)
    flipped = torch.rand(truth.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.25
    noisy = (torch.where(flipped, 1 - truth, truth) * 0.4 + 0.3).clamp(0, 1)
    assert iou(noisy[0].argmax(0) == 1, mask) < 0.6
    assert iou(refiner.refine(pixels, noisy)[0].argmax(0) == 1, mask) > 0.98


def test_no_weights_are_the_identity():
    coarse = torch.tensor([[[[1.0, 0.3]], [[0.0, 0.7]]]])
    for cls in (DenseCRF, LatticeDenseCRF, WindowDenseCRF):
        refiner = cls(position_weight=0.0, bilateral_weight=0.0)
        assert torch.equal(refiner.refine(torch.zeros(1, 3, 1, 2), coarse), coarse)


def test_images_of_other_channels():
    pixels = torch.rand(1, 5, 20, 30) * 255
    coarse = torch.rand(1, 3, 20, 30).softmax(1)
    assert DenseCRF(2, exact_pixels=0).refine(pixels, coarse).shape == coarse.shape
    with pytest.raises(ValueError, match="at most 6 channels, and this one has 7; use WindowDenseCRF"):
        lattice_filter(torch.zeros(1, 9, 4, 4))

"""Test-time augmentation that keeps the areas of classes: thresholds and quotas by hand, and behind the config."""

import pytest
import torch
from torch import Tensor

from segkit.api import build_runner
from segkit.inference import (
    PresenceRecord,
    as_view,
    build_score,
    class_areas,
    match_areas,
    slide,
    to_labels,
    tta,
    whole,
)
from segkit.settings import InferenceSettings
from tests.test_inference import Position


def row(*pixels: tuple[float, ...]) -> Tensor:
    """Probabilities [1,K,1,n] of n pixels."""
    return torch.tensor(pixels).T[None, :, None]


def test_quotas_by_hand():
    """Classes 1 and 2 take one pixel each: 1 the last (.5 / .3), 2 of the others the one with .15 / .45."""
    mean = row((0.6, 0.3, 0.1), (0.5, 0.4, 0.1), (0.45, 0.4, 0.15), (0.2, 0.5, 0.3))
    assert to_labels(mean).tolist() == [[[0, 0, 0, 1]]]
    found = match_areas(mean, torch.tensor([[2, 1, 1]]))
    assert to_labels(found).tolist() == [[[0, 0, 2, 1]]]
    expected = row((0.6, 0.3, 0.1), (0.5, 0.4, 0.1), (0.15, 0.4, 0.45), (0.2, 0.5, 0.3))
    assert torch.equal(found, expected)
    # a class of area 0 takes none: 1 is smaller than 0, and takes the two pixels of its largest .5 / .2 and .4 / .45
    assert to_labels(match_areas(mean, torch.tensor([[2, 2, 0]]))).tolist() == [[[0, 0, 1, 1]]]
    assert torch.equal(match_areas(mean, torch.tensor([[3, 1, 0]])), mean)


def test_quotas_among_equal_pixels():
    mean = row(*[(0.5, 0.5)] * 3)
    assert to_labels(match_areas(mean, torch.tensor([[2, 1]]))).tolist() == [[[1, 0, 0]]]
    assert to_labels(match_areas(mean, torch.tensor([[0, 3]]))).tolist() == [[[1, 1, 1]]]


def test_thresholds_by_hand():
    mean = row((0.9,), (0.7,), (0.4,), (0.2,))
    found = match_areas(mean, torch.tensor([[3]]), 0.5).flatten().tolist()  # t = .3
    assert found == pytest.approx([0.5 + 0.5 * 6 / 7, 0.5 + 0.5 * 4 / 7, 0.5 + 0.5 / 7, 1 / 3])
    found = match_areas(mean, torch.tensor([[1]]), 0.6).flatten().tolist()  # t = .8
    assert found == pytest.approx([0.6 + 0.4 / 2, 0.6 * 7 / 8, 0.6 / 2, 0.6 / 4])
    assert torch.equal(match_areas(mean, torch.tensor([[2]]), 0.5), mean)
    for threshold in (0.0, 0.3, 0.5, 0.9):
        for area in range(5):
            labels = to_labels(match_areas(mean, torch.tensor([[area]]), threshold), threshold)
            assert int(labels.sum()) == area
    tied = row((0.6,), (0.6,), (0.2,), (0.1,))
    assert to_labels(match_areas(tied, torch.tensor([[1]]))).sum() == 0  # at most the area
    assert to_labels(match_areas(tied, torch.tensor([[3]]))).tolist() == [[[1, 1, 1, 0]]]


@pytest.fixture
def image():
    return torch.randint(0, 256, (2, 3, 37, 50), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("scales", [(0.5, 1.0, 1.5), (0.75, 1.5)])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_behind_the_config(image, channels, scales):
    model = Position(channels)
    weight = torch.randn(channels, 3, 1, 1, generator=torch.Generator().manual_seed(1)) / 50
    model.weight = weight - weight.mean(1, keepdim=True)  # so that no class wins everywhere
    size = (41, 60)
    plain = build_score(model, InferenceSettings())(image, size)
    views = dict(scales=scales, flip=True)
    mean = build_score(model, InferenceSettings(tta=views))(image, size)
    kept = build_score(model, InferenceSettings(tta={**views, "keep_areas": True}))(image, size)

    def found(scores):
        return class_areas(to_labels(scores), [1] if channels == 1 else range(channels))

    areas = found(plain)
    assert not torch.equal(found(mean), areas) and torch.equal(found(kept), areas)
    if channels > 1:
        assert torch.allclose(kept.sum(1), torch.ones(()), atol=1e-5)
        assert torch.allclose(kept.sort(1).values, mean.sort(1).values, atol=1e-6)


def test_nothing_changes_where_areas_are_kept_already(image):
    """Mirroring alone does not change a model that is the same mirrored, at a width that its stride divides evenly."""
    model, odd = Position(3), image[..., :49]
    for flip in (False, True):
        expected = tta(whole(model), (1.0,), flip=flip)(odd, (37, 49))
        settings = InferenceSettings(tta=dict(scales=(1.0,), flip=flip, keep_areas=True))
        assert torch.allclose(build_score(model, settings)(odd, (37, 49)), expected, atol=1e-6)


class Bright(Position):
    """Says that class 1 is in the image by its largest value, class 0 always with .5."""

    def forward(self, image, window=None):
        largest = image.float().flatten(1).amax(1) / 100
        return {**super().forward(image), "presence": torch.stack([torch.zeros_like(largest), largest], 1)}


def test_presence_of_windows_and_views(image):
    """The largest of the windows, of which one alone has the brightest pixel; the mean of the views."""
    image = image.clamp(max=100)
    image[0, :, 30, 40] = 200
    record = PresenceRecord()
    slide(whole(Bright(), record=record), (16, 20), stride=(8, 13))(image)
    record.end_view()
    expected = torch.tensor([[0.0, 2.0], [0.0, 1.0]]).sigmoid()
    assert torch.equal(record.take(), expected) and record.take() is None

    def darker(image, window=None):
        return whole(Bright(), record=record)(image / 2 if darker.calls.pop() else image, window)

    darker.calls = [1, 0]
    tta(as_view(darker, record), (1.0,), flip=True)(image, (37, 50))
    half = torch.tensor([[0.0, 1.0], [0.0, 0.5]]).sigmoid()
    assert torch.allclose(record.take(), (expected + half) / 2)


def test_predictions_have_the_presence(image):
    for inference in ({}, dict(tta=dict(scales=[1.0], flip=True)), dict(mode="slide", crop=[16, 20], stride=[8, 13])):
        runner = build_runner(dict(inference=inference))
        meta = [dict(id=str(i), path="", size=(37, 50), valid=(37, 50)) for i in range(2)]
        predictions = runner.predict(Bright(), dict(image=image, meta=meta))
        expected = torch.stack([torch.tensor(0.0), image[1].max() / 100]).sigmoid()
        assert torch.allclose(predictions[1]["presence"], expected)
    assert "presence" not in runner.predict(Position(), dict(image=image, meta=meta))[0]

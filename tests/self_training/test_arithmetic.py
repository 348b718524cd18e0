"""Pseudo labels, thresholds, the normalized loss and class-uniform draws against worked numbers and a reference.

The reference, tests/fixtures/refine/pseudo_labels.npz, is independent arithmetic on logits of four images, five classes
and two models.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.data.dataset import Dataset
from segkit.data.oversampling import ClassUniform
from segkit.inference import MeanProbabilities
from segkit.losses.weighting import NormalizedPseudo
from segkit.ops.self_training.confidence import agree, image_entropy, keep_sure, labels_of, to_scores
from segkit.ops.self_training.counts import ConfidenceCounts
from segkit.registry import ConfigError

FILE = Path(__file__).parents[1] / "fixtures" / "refine" / "pseudo_labels.npz"


@lru_cache(maxsize=1)
def reference() -> dict[str, np.ndarray]:
    with np.load(FILE) as arrays:
        return {name: arrays[name] for name in arrays.files}


def probabilities(name: str = "logits") -> list[np.ndarray]:
    return list(torch.from_numpy(reference()[name]).softmax(1).numpy())


def mean_of(parts) -> np.ndarray:
    mean = MeanProbabilities()
    for part in parts:
        mean.add(torch.from_numpy(part))
    return mean.mean().numpy()


@pytest.mark.parametrize("name, thresholds", [("fixed_0.5", 0.5), ("fixed_0.9", 0.9), ("per_class", None)])
def test_thresholds_keep_the_pixels_of_the_reference(name, thresholds):
    thresholds = reference()["per_class_thresholds"] if thresholds is None else thresholds
    found = [keep_sure(*labels_of(p), thresholds) for p in probabilities()]
    assert np.array_equal(np.stack(found), reference()[name])
    assert 0.01 < (np.stack(found) != 255).mean() < 0.5


def test_scores_of_images_are_those_of_the_mean_of_two_models():
    means = [mean_of(pair) for pair in zip(probabilities(), probabilities("logits2"))]
    confidence = [labels_of(mean)[1].mean() for mean in means]
    assert np.allclose(confidence, reference()["image_mean_conf"], atol=1e-6)
    assert np.allclose([image_entropy(m) for m in means], reference()["image_mean_entropy"], atol=1e-6)


def test_a_pixel_of_exactly_the_threshold_is_kept():
    labels = np.array([[0, 1, 1, 255]], np.uint8)
    confidence = np.array([[0.9, 0.9, 0.8999999, 1.0]], np.float32)
    assert keep_sure(labels, confidence, 0.9).tolist() == [[0, 1, 255, 255]]
    assert keep_sure(labels, confidence, [0.91, 0.5]).tolist() == [[255, 1, 1, 255]]


def test_the_single_channel_of_a_model_of_two_classes_is_that_of_class_1():
    labels, confidence = labels_of(
        mean_of([np.array([[[0.2, 0.9]]], np.float32), np.array([[[0.6, 0.3]], [[0.4, 0.7]]], np.float32)])
    )
    assert labels.tolist() == [[0, 1]]
    assert np.allclose(confidence, [[0.7, 0.8]])


def test_models_agree_where_both_see_the_same_class():
    a = np.array([[[0.6, 0.3]], [[0.4, 0.7]]], np.float32)
    b = np.array([[[0.9, 0.8]], [[0.1, 0.2]]], np.float32)
    assert agree([a, b]).tolist() == [[True, False]]
    assert agree([a]).all()


def test_entropy_of_a_coin_is_1_and_of_a_sure_pixel_0():
    assert image_entropy(np.full((2, 1, 1), 0.5, np.float32)) == pytest.approx(1)
    assert image_entropy(np.array([[[1.0]], [[0.0]]], np.float32)) == 0


def test_a_score_never_says_more_than_its_confidence():
    confidence = np.array([0.0, 0.5, 0.9, 0.99999, 1.0], np.float32)
    assert to_scores(confidence).tolist() == [0, 127, 229, 254, 255]


def test_class_balanced_thresholds_keep_half_of_each_class_as_sorting_does():
    counts, pairs = ConfidenceCounts(5), [labels_of(p) for p in probabilities()]
    for labels, confidence in pairs:
        counts.add(labels, confidence)
    thresholds = counts.thresholds(0.5)
    for label in range(5):
        of_class = np.sort(np.concatenate([c[m == label] for m, c in pairs]))[::-1]
        assert thresholds[label] == of_class[len(of_class) // 2 - 1]


def test_class_balanced_thresholds_by_hand():
    counts = ConfidenceCounts(3)
    labels = np.array([[0] * 5 + [1] * 3 + [255]], np.uint8)
    counts.add(labels, np.array([[0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 1.0]], np.float32))
    # floor(.5 * 5) = 2: .9 and .8; the other .8 is as sure. floor(.5 * 3) = 1 of three equals: all. No pixel of class 2
    assert counts.thresholds(0.5).tolist() == [np.float32(0.8), 0.5, np.inf]
    assert counts.thresholds(0.1).tolist() == [np.inf] * 3  # floor(.5) = 0
    assert counts.thresholds(1.0).tolist() == [np.float32(0.6), 0.5, np.inf]


def test_a_share_counts_whole_pixels_although_29_hundredths_of_100_are_less_in_binary():
    counts = ConfidenceCounts(1)
    values = (np.arange(100, dtype=np.float32) + 1) / 128
    counts.add(np.zeros((1, 100), np.uint8), values[None])
    assert (values >= counts.thresholds(0.29)[0]).sum() == 29


@pytest.mark.parametrize("most", [1 << 22, 500])
def test_counts_in_parts_equal_counts_at_once(most):
    pairs = [labels_of(p) for p in probabilities()]
    whole, parts = ConfidenceCounts(5, most), [ConfidenceCounts(5, most) for _ in range(3)]
    for i, (labels, confidence) in enumerate(pairs):
        whole.add(labels, confidence)
        parts[i % 3].add(labels, confidence)
    merged, read = ConfidenceCounts(5, most), ConfidenceCounts(5, most)
    for part in reversed(parts):
        read.load_array(part.as_array())
        merged.merge(read)
    assert np.array_equal(merged.as_array(), whole.as_array())
    assert len(whole.as_array()[0]) <= most + 1
    assert (whole.shift > 0) is (most == 500)
    exact = ConfidenceCounts(5)
    for labels, confidence in pairs:
        exact.add(labels, confidence)
    assert np.allclose(whole.thresholds(0.5), exact.thresholds(0.5), atol=0.02)
    assert (whole.thresholds(0.5) <= exact.thresholds(0.5)).all()  # what is told apart less keeps more


def normalized(h: list[float], p: list[float], **kwargs) -> list[float]:
    """The summed loss of each step."""
    weighting = NormalizedPseudo(["a", "pseudo.a"], **kwargs)
    terms = [{"a": torch.tensor(x), "pseudo.a": torch.tensor(y)} for x, y in zip(h, p)]
    return [float(sum(weighting.weigh(term, step).values())) for step, term in enumerate(terms)]


def test_normalized_loss_by_hand():
    # averages 2, 1.9 and 4, 3.8: ratio .5 twice, then (.9 * 1.9 + .1 * 3) / (.9 * 3.8 + .1 * 1) = 2.01 / 3.52
    found = normalized([2.0, 1.0, 3.0], [4.0, 2.0, 1.0], alpha=0.5, decay=0.9)
    assert found == pytest.approx([2 + 0.5 * 0.5 * 4, 1 + 0.5 * 0.5 * 2, 3 + 0.5 * 2.01 / 3.52 * 1], rel=1e-6)


def test_alpha_0_is_supervised_training():
    assert normalized([2.0, 1.0], [4.0, 7.0], alpha=0.0) == [2.0, 1.0]


def test_a_step_without_a_pseudo_label_that_counts_leaves_the_average():
    found = normalized([2.0, 2.0, 2.0], [0.0, 4.0, 4.0])
    assert found == pytest.approx([2.0, 4.0, 4.0], rel=1e-6)  # the average of p begins with 4
    found = normalized([2.0, 2.0, 2.0], [4.0, 0.0, 4.0])
    assert found == pytest.approx([4.0, 2.0, 4.0], rel=1e-6)


def test_no_gradient_goes_through_the_averages():
    weighting = NormalizedPseudo(["a", "pseudo.a"])
    h, p = torch.tensor(3.0, requires_grad=True), torch.tensor(6.0, requires_grad=True)
    sum(weighting.weigh({"a": h, "pseudo.a": p}, 0).values()).backward()
    assert (float(h.grad), float(p.grad)) == (1.0, 0.5)


def test_normalized_loss_goes_on_from_its_state():
    one, other = NormalizedPseudo(["a", "pseudo.a"]), NormalizedPseudo(["a", "pseudo.a"])
    steps = [{"a": torch.tensor(x), "pseudo.a": torch.tensor(2 * x + 1)} for x in (1.0, 2.0, 5.0)]
    one.weigh(steps[0], 0)
    other.load_state_dict(one.state_dict())
    for step in steps[1:]:
        assert one.weigh(step, 0) == other.weigh(step, 0)


@pytest.mark.parametrize("terms", [{"a": 1.0}, {"pseudo.a": 1.0}])
def test_terms_of_one_kind_alone_are_refused(terms):
    with pytest.raises(ConfigError, match=r"pseudo[.]logits"):
        NormalizedPseudo(list(terms)).weigh({k: torch.tensor(v) for k, v in terms.items()}, 0)


class Presence(Dataset):
    """Masks that hold the classes of the reference, in stripes; the first image is twice as wide as others."""

    classes = tuple("abcde")
    palette = ((0, 0, 0),) * 5

    def __init__(self) -> None:
        self.present = reference()["presence"]
        self.ids = [str(i) for i in range(len(self.present))]

    def mask(self, index: int) -> np.ndarray:
        labels = np.flatnonzero(self.present[index])
        stripe = np.repeat(labels, 2) if len(labels) else np.array([255, 255])
        return np.tile(stripe.astype(np.uint8), (2, 8 if index == 0 else 4))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path))


def shares(**kwargs) -> np.ndarray:
    sampler = ClassUniform(Presence(), 0, 1.0, **kwargs)
    drawn = [sampler.index(position) for position in range(8000)]
    return np.bincount(drawn, minlength=10) / len(drawn)


@pytest.mark.parametrize("kwargs", [dict(tile=1000), dict(tile=4, by_image=True)])
def test_class_uniform_draws_images_as_the_reference(cache, kwargs):
    expected = reference()["class_uniform_probability"]
    assert np.abs(shares(**kwargs) - expected).max() < 4 * np.sqrt(0.25 / 8000)


def test_without_by_image_an_image_of_more_tiles_is_drawn_more_often(cache):
    expected = reference()["class_uniform_probability"]
    assert shares(tile=4)[0] > expected[0] + 0.03


def test_a_channel_for_two_classes_is_cut_at_its_threshold():
    one, two = np.array([[[0.2, 0.4, 0.6]]], np.float32), np.array([[[0.35, 0.2, 0.3]]], np.float32)
    labels, confidence = labels_of(np.concatenate([1 - one, one]), 0.3)
    assert labels.tolist() == [[0, 1, 1]] and labels.dtype == np.uint8
    np.testing.assert_allclose(confidence, [[0.8, 0.4, 0.6]], atol=1e-6)
    assert agree([one, two], 0.3).tolist() == [[False, False, False]]
    assert agree([one, two]).tolist() == [[True, True, False]]

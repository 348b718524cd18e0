"""How unsure models are of pixels and objects: by hand on given probabilities."""

import math

import numpy as np
import pytest

from segkit.ops.self_training.confidence import image_entropy, pixel_entropy
from segkit.ops.self_training.uncertainty import object_uncertainty, pixel_uncertainty

# two models, three classes, four pixels in a row
FIRST = np.array([[[1.0, 0.5, 1 / 3, 0.8]], [[0.0, 0.3, 1 / 3, 0.1]], [[0.0, 0.2, 1 / 3, 0.1]]], np.float32)
SECOND = np.array([[[1.0, 0.5, 1 / 3, 0.0]], [[0.0, 0.3, 1 / 3, 0.9]], [[0.0, 0.2, 1 / 3, 0.1]]], np.float32)


def entropy(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares if share)


def test_margin_is_that_of_the_two_surest_classes_of_the_mean():
    assert pixel_uncertainty([FIRST], "margin") == pytest.approx(np.array([[0, 0.8, 1, 0.3]]), abs=1e-6)
    # the mean of the last pixel is .4, .5, .1
    assert pixel_uncertainty([FIRST, SECOND], "margin")[0, 3] == pytest.approx(0.9, abs=1e-6)


def test_entropy_is_that_of_the_mean_by_its_largest_value():
    found = pixel_uncertainty([FIRST, SECOND], "entropy")
    expected = [0, entropy(0.5, 0.3, 0.2) / math.log(3), 1, entropy(0.4, 0.5, 0.1) / math.log(3)]
    assert found.dtype == np.float32 and found.shape == (1, 4)
    assert found[0] == pytest.approx(np.array(expected), abs=1e-6)


def test_bald_is_what_models_disagree_in_and_no_doubt_that_they_share():
    found = pixel_uncertainty([FIRST, SECOND], "bald")
    last = entropy(0.4, 0.5, 0.1) - (entropy(0.8, 0.1, 0.1) + entropy(0.9, 0.1)) / 2
    assert found[0] == pytest.approx(np.array([0, 0, 0, last / math.log(2)]), abs=1e-6)
    sure = [np.eye(3, dtype=np.float32)[k].reshape(3, 1, 1) for k in (0, 1)]
    assert pixel_uncertainty(sure, "bald")[0, 0] == pytest.approx(1)  # two sure models that say otherwise
    assert (pixel_uncertainty([FIRST], "bald") == 0).all()


def test_votes_count_the_classes_that_models_choose():
    assert pixel_uncertainty([FIRST, SECOND], "votes")[0] == pytest.approx(np.array([0, 0, 0, 1]))
    found = pixel_uncertainty([FIRST, FIRST, SECOND], "votes")[0, 3]
    assert found == pytest.approx(entropy(2 / 3, 1 / 3) / math.log(3), abs=1e-6)


def test_an_unknown_measure_is_named():
    with pytest.raises(ValueError, match="measure = 'variance': must be one of margin, entropy, bald, votes"):
        pixel_uncertainty([FIRST], "variance")
    with pytest.raises(ValueError, match="must be 'margin' or 'entropy' for objects"):
        object_uncertainty(np.array([0.5]), "bald")


def test_objects_are_unsure_at_half():
    scores = np.array([0, 0.25, 0.5, 0.9, 1])
    assert object_uncertainty(scores, "margin") == pytest.approx(np.array([0, 0.5, 1, 0.2, 0]))
    bits = entropy(0.25, 0.75) / math.log(2)
    assert object_uncertainty(scores, "entropy")[:3] == pytest.approx(np.array([0, bits, 1]))


def test_entropy_of_pixels_and_of_the_image():
    found = pixel_entropy(FIRST)
    assert found[0] == pytest.approx(np.array([0, entropy(0.5, 0.3, 0.2), math.log(3), entropy(0.8, 0.1, 0.1)]))
    assert image_entropy(FIRST) == pytest.approx(found.mean() / math.log(3))

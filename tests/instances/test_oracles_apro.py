"""APro's propagations and losses against numbers of the authors' code."""

import pytest
import torch

from segkit.losses.instances.apro import along_trees, distances
from segkit.ops.instances.color_windows import color_windows, spread_in_boxes
from segkit.ops.instances.level_set import box_areas
from segkit.ops.instances.minimax_filter import minimax_filter, tree_edges
from tests.instances.boxes_oracle import load


@pytest.fixture(scope="module")
def known():
    return load("apro")


@pytest.fixture(scope="module")
def propagated(known):
    """-> masks, boxes and both propagations."""
    masks, boxes = known["probabilities"][:, 0], known["box"][:, 0]
    zetas = dict(zeta_image=known["zeta_low"].item(), zeta_mask=known["zeta_high"].item())
    far = along_trees(masks, known["image"], [1, 1], **zetas)
    windows = color_windows(known["image"], kernel=known["kernel"].item(), scale=known["zeta_local"].item() ** 2)
    return masks, boxes, far, spread_in_boxes(masks, boxes, windows, [1, 1], rounds=known["rounds"].item())


def test_the_tree_is_the_published_one(known):
    for ends, published in zip(tree_edges(known["image"]), known["tree"].tolist()):
        assert {tuple(sorted(edge)) for edge in ends.tolist()} == {tuple(sorted(edge)) for edge in published}


def test_propagation_along_trees_is_the_published_one(known, propagated):
    masks = known["probabilities"][:, 0]
    low = minimax_filter(masks, known["image"], tree_edges(known["image"]), [1, 1], zeta=known["zeta_low"].item())
    torch.testing.assert_close(low, known["global_low"][:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(propagated[2], known["global_high"][:, 0], rtol=0, atol=1e-6)


def test_propagation_in_windows_is_the_published_one(known, propagated):
    torch.testing.assert_close(propagated[3], known["local"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("part", "name"), [(2, "global"), (3, "local")])
def test_distances_are_the_published_ones(known, propagated, part, name):
    masks, boxes = propagated[:2]
    sums = distances(masks, propagated[part], boxes)
    torch.testing.assert_close((sums / box_areas(boxes)).double(), known[f"loss_{name}"], rtol=0, atol=1e-6)
    joined = (sums.sum() / boxes.sum()).item()
    assert joined == pytest.approx(known[f"loss_{name}_joined"].item(), abs=1e-6)

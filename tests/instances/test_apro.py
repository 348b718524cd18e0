"""APro: the minimax filter against its formula, and what both losses promise."""

import math

import numpy as np
import pytest
import torch

from segkit.losses.instances.apro import APro, QueryAPro, along_trees
from segkit.losses.instances.box_level_set import BoxLevelSet
from segkit.ops.instances.color_windows import color_windows, spread_in_boxes
from segkit.ops.instances.minimax_filter import merge_tree, minimax_filter, tree_edges


def slow_minimax(mask, guide, ends, zeta):
    """out_i = sum_j a_ij x_j / sum_j a_ij, with the largest edge on the path from i to j found by a walk."""
    number = mask.numel()
    neighbours = [[] for _ in range(number)]
    for a, b in ends.tolist():
        weight = float((guide[:, a] - guide[:, b]).square().sum())
        neighbours[a].append((b, weight))
        neighbours[b].append((a, weight))
    out = []
    for start in range(number):
        largest, stack = {start: 0.0}, [start]
        while stack:
            here = stack.pop()
            for there, weight in neighbours[here]:
                if there not in largest:
                    largest[there] = max(largest[here], weight)
                    stack.append(there)
        weights = [math.exp(-largest[j] / zeta**2) for j in range(number)]
        out.append(sum(w * float(x) for w, x in zip(weights, mask)) / sum(weights))
    return torch.tensor(out, dtype=torch.float64)


def test_minimax_filter_is_its_formula_for_several_masks_of_an_image():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    masks = torch.rand(3, 4, 5, generator=generator, dtype=torch.float64)
    edges = tree_edges(image)
    found = minimax_filter(masks, image, edges, [2, 1], zeta=0.4)
    for k, i in enumerate((0, 0, 1)):
        right = slow_minimax(masks[k].flatten(), image[i].flatten(1), edges[i], 0.4)
        torch.testing.assert_close(found[k].flatten(), right, rtol=0, atol=1e-12)


def test_minimax_filter_on_equal_colors_is_the_mean_and_on_far_ones_the_mask():
    masks = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(1))
    flat = torch.zeros(1, 1, 3, 3)
    assert minimax_filter(masks, flat, tree_edges(flat), [1], zeta=0.1).allclose(masks.mean().expand(1, 3, 3))
    far = 100 * torch.arange(9.0).view(1, 1, 3, 3)
    assert minimax_filter(masks, far, tree_edges(far), [1], zeta=0.1).equal(masks)


def test_minimax_filter_of_one_pixel_and_of_no_mask():
    one = torch.full((1, 1, 1), 0.3)
    assert minimax_filter(one, one[None], tree_edges(one[None]), [1], zeta=0.1).equal(one)
    guide = torch.rand(1, 3, 4, 4)
    assert minimax_filter(torch.zeros(0, 4, 4), guide, tree_edges(guide), [0], zeta=0.1).shape == (0, 4, 4)


def test_merges_lay_the_vertices_of_each_node_side_by_side():
    merges = merge_tree(np.array([[0, 1], [2, 3], [1, 2]]))
    assert merges.children.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (merges.end - merges.start).tolist() == [1, 1, 1, 1, 2, 2, 4]
    for node, (a, b) in enumerate(merges.children.tolist(), 4):
        assert (merges.start[node], merges.end[node]) == (merges.start[a], merges.end[b])
        assert merges.end[a] == merges.start[b]


def test_windows_by_hand():
    image = torch.tensor([[[[0.0, 1.0, 3.0]]]])
    weights = color_windows(image, kernel=3, scale=2.0)
    assert weights.shape == (1, 9, 1, 3)
    a, b = math.exp(-0.5), math.exp(-2)
    torch.testing.assert_close(weights[0, 3:6, 0], torch.tensor([[0, a, b], [1, 1, 1], [a, b, 0]]))
    assert weights[0, [0, 1, 2, 6, 7, 8]].sum() == 0
    masks, boxes = torch.tensor([[[1.0, 0.5, 0.25]]]), torch.tensor([[[1.0, 1.0, 0.0]]])
    spread = spread_in_boxes(masks, boxes, weights, [1], rounds=1)
    right = torch.tensor([[[(1 + a * 0.5) / (1 + a), (a + 0.5) / (1 + a + b), 0.0]]])
    torch.testing.assert_close(spread, right)


def solo_inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    grids, channels = (8, 6, 4, 3, 2), 6

    def rand(*shape):
        return torch.randn(*shape, generator=generator).requires_grad_()

    categories = [rand(2, 3, grid, grid) for grid in grids]
    kernels = [rand(2, channels, grid, grid) for grid in grids]
    features = rand(2, channels, 16, 16)
    image = torch.randn(2, 3, 64, 64, generator=generator)
    boxes = [torch.tensor([[8.0, 8.0, 40.0, 48.0]]), torch.tensor([[4.0, 20.0, 30.0, 60.0], [32.0, 2.0, 60.0, 30.0]])]
    masks = []
    for corners in boxes:
        mask = torch.zeros(len(corners), 64, 64, dtype=torch.uint8)
        for plane, (x0, y0, x1, y1) in zip(mask, corners.int().tolist()):
            plane[y0:y1, x0:x1] = 1
        masks.append(mask)
    return categories, kernels, features, image, boxes, [torch.tensor([0]), torch.tensor([1, 2])], masks


def test_apro_has_the_category_and_projection_of_box_level_set():
    categories, kernels, features, image, *targets = solo_inputs()
    terms = APro(rounds=2)(categories, kernels, features, image, *targets)
    levels = torch.zeros(2, 5, 16, 16)
    others = BoxLevelSet()(categories, kernels, features, levels, image, *targets)
    assert terms["category"].equal(others["category"]) and terms["projection"].equal(others["projection"])
    assert set(terms) == {"category", "projection", "far", "near"}


def test_apro_terms_are_their_formulas_and_train_masks_alone():
    categories, kernels, features, image, *targets = solo_inputs()
    loss = APro(far=2.0, near=1.0, rounds=3)
    terms = loss(categories, kernels, features, image, *targets)
    twice = APro(far=4.0, near=3.0, rounds=3)(categories, kernels, features, image, *targets)
    assert twice["far"].item() == pytest.approx(2 * terms["far"].item())
    assert twice["near"].item() == pytest.approx(3 * terms["near"].item())
    (gradient,) = torch.autograd.grad(terms["far"] + terms["near"], features)
    assert gradient.abs().sum() > 0 and not image.requires_grad
    assert torch.autograd.grad(terms["far"], categories, allow_unused=True, retain_graph=False)[0] is None


def test_apro_without_objects_is_zero_with_a_graph():
    categories, kernels, features, image, *_ = solo_inputs()
    none = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2, [torch.zeros(0, 64, 64).byte()] * 2
    terms = APro()(categories, kernels, features, image, *none)
    sum(terms.values()).backward()
    assert terms["far"] == 0 and terms["near"] == 0 and features.grad is not None


def test_apro_holds_back_propagation_for_the_first_steps():
    inputs = solo_inputs()
    loss = APro(projection_steps=1, rounds=1)
    assert loss(*inputs)["far"] == 0
    assert loss(*inputs)["far"] > 0


def query_inputs(side=16):
    generator = torch.Generator().manual_seed(2)
    classes = [torch.randn(2, 4, 4, generator=generator).requires_grad_() for _ in range(2)]
    masks = [torch.randn(2, 4, side, side, generator=generator).requires_grad_() for _ in range(2)]
    *_, image, _, labels, known = solo_inputs()
    return classes, masks, image, labels, known


def test_query_apro_is_one_quotient_for_each_set():
    """Two sets with the same outputs are twice one of them, and a set is the sum over its boxes by their area."""
    classes, masks, image, labels, known = query_inputs()
    loss = QueryAPro(side=16, rounds=2)
    one = loss(classes[:1], masks[:1], image, labels, known)
    two = loss([classes[0]] * 2, [masks[0]] * 2, image, labels, known)
    for name, value in one.items():
        assert two[name].item() == pytest.approx(2 * value.item(), rel=1e-5), name
    (gradient,) = torch.autograd.grad(one["far"] + one["near"], masks[0])
    assert (gradient.flatten(2).abs().sum(2) > 0).sum() == 3  # one query for each of three objects


def test_query_apro_far_term_by_hand():
    """At the trees' own size there is no resizing: the sum of distances in the boxes over their area."""
    *_, image, _, known = query_inputs()
    loss = QueryAPro(side=16, rounds=1)
    probabilities = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(3))
    boxes = torch.nn.functional.avg_pool2d(torch.cat(known).float(), 4)
    far, _ = loss.sums(probabilities, boxes, image, [1, 2])
    small = torch.nn.functional.interpolate(image, size=(16, 16), mode="bilinear", align_corners=False)
    target = along_trees(probabilities, small, [1, 2], zeta_image=0.03, zeta_mask=0.03)
    torch.testing.assert_close(far, ((probabilities - target).abs() * boxes).sum((1, 2)))


def test_query_apro_without_objects_is_zero_with_a_graph():
    classes, masks, image, *_ = query_inputs()
    none = [torch.zeros(0, dtype=torch.int64)] * 2, [torch.zeros(0, 64, 64).byte()] * 2
    terms = QueryAPro(side=16)(classes, masks, image, *none)
    sum(terms.values()).backward()
    assert terms["far"] == 0 and masks[0].grad is not None

"""Spanning trees and the filter along them against published numbers and against sums over all paths."""

import numpy as np
import pytest
import torch

from segkit.ops.instances.rooted_tree import image_trees, root_trees
from segkit.ops.instances.spanning_tree import boruvka, edge_weights, grid_edges, kruskal, spanning_edges
from segkit.ops.instances.tree_contraction import contract, path_sums
from segkit.ops.instances.tree_filter import tree_filter
from tests.instances.published import load, off

SIZES = [(9, 11), (1, 7), (6, 1), (1, 1), (2, 2), (24, 17)]


def ranked(weights):
    order = torch.sort(weights, dim=1, stable=True).indices
    return torch.argsort(order, dim=1), order


def trees_of_any_device(guide):
    """What other devices than the CPU do, on the CPU."""
    size = tuple(guide.shape[2:])
    return root_trees(boruvka(*ranked(edge_weights(guide)), size), size)


def parents(tree):
    """Vertex of each vertex's parent."""
    return torch.empty_like(tree.order).index_copy_(0, tree.order, tree.order[tree.parent])


def filter_by_paths(x, guide, chosen, sigma):
    """x: [n,V], guide: [C,V], chosen: bool [E]: the products along all paths, relaxed until they are complete."""
    number = x.shape[1]
    kernel = torch.eye(number, dtype=x.dtype)
    step = torch.zeros_like(kernel)
    edges = torch.from_numpy(grid_edges(*SIZES[0]))[chosen]
    for a, b in edges.tolist():
        step[a, b] = step[b, a] = 1
    similarity = torch.exp(-(guide.T.unsqueeze(0) - guide.T.unsqueeze(1)).square().sum(2) / sigma)
    reached = torch.eye(number, dtype=torch.bool)
    while not reached.all():
        # from each vertex reached one edge further, no path twice in a tree
        further = (reached.to(x.dtype) @ step > 0) & ~reached
        kernel = torch.where(further, (kernel * reached) @ (step * similarity), kernel)
        reached = reached | further
    return x @ kernel.T / kernel.sum(1)


def test_edges_and_weights_are_the_published_ones():
    known = load("tree_filter")
    assert torch.equal(torch.from_numpy(grid_edges(9, 11)), known["edge_index"][0].long())
    for name in ("img", "emb"):
        weights = edge_weights(known[name])
        assert torch.equal(weights, known[f"edge_weight_{name}"])
        for chosen, published in zip(spanning_edges(weights, (9, 11)), known[f"mst_{name}"]):
            ours = {tuple(edge) for edge in grid_edges(9, 11)[chosen.numpy()].tolist()}
            assert ours == {tuple(sorted(edge)) for edge in published.tolist()}


@pytest.mark.parametrize("find_trees", [image_trees, trees_of_any_device])
def test_filter_and_its_gradients_are_the_published_ones(find_trees):
    known = load("tree_filter")
    masks, features = known["feature"][:, 0].requires_grad_(), known["emb"].requires_grad_()
    low = tree_filter(masks, known["img"], find_trees(known["img"]), [1, 1], sigma=0.02)
    assert off(low, known["out_low"][:, 0]) < 1e-6
    high = tree_filter(low, features, find_trees(features), [1, 1], sigma=1.0)
    assert off(high, known["out_high"][:, 0]) < 1e-6
    (high * known["grad_out"][:, 0]).sum().backward()
    assert off(masks.grad, known["grad_feature"][:, 0]) < 1e-6
    # the published gradient is 3.1e-6 off the same in float64, ours 1.9e-6
    assert off(features.grad, known["grad_emb"]) < 6e-6


@pytest.mark.parametrize("find_trees", [image_trees, trees_of_any_device])
def test_filter_equals_the_sum_over_all_paths(find_trees):
    rng = torch.Generator().manual_seed(0)
    guide = torch.randn(2, 3, 9, 11, generator=rng, dtype=torch.float64).requires_grad_()
    masks = torch.rand(4, 9, 11, generator=rng, dtype=torch.float64).requires_grad_()
    weight = torch.randn(4, 9, 11, generator=rng, dtype=torch.float64)
    ours = tree_filter(masks, guide, find_trees(guide), [3, 1], sigma=2.0)
    chosen = spanning_edges(edge_weights(guide), (9, 11))
    parts = zip(masks.flatten(1).split([3, 1]), guide.flatten(2), chosen)
    slow = torch.cat([filter_by_paths(x, one, edges, 2.0) for x, one, edges in parts]).view_as(masks)
    torch.testing.assert_close(ours, slow)
    for a, b in zip(*(torch.autograd.grad((value * weight).sum(), (masks, guide)) for value in (ours, slow))):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [3, 1e6])
def test_both_ways_to_a_tree_give_the_same(size, levels):
    """levels: values of the guide; with three most edges are equals, which the order of edges decides."""
    rng = torch.Generator().manual_seed(0)
    guide = torch.randint(0, int(levels), (3, 2, *size), generator=rng) / levels
    ranks, order = ranked(edge_weights(guide))
    chosen = kruskal(ranks, order, size)
    assert torch.equal(chosen, boruvka(ranks, order, size)) and (chosen.sum(1) == size[0] * size[1] - 1).all()
    masks = torch.rand(3, *size, generator=rng)
    on_host, elsewhere = image_trees(guide), trees_of_any_device(guide)
    for ours, other in zip(on_host, elsewhere):
        assert torch.equal(parents(ours), parents(other)) and (other.parent.diff() >= 0).all()
    filtered = [tree_filter(masks, guide, trees, [1, 1, 1], sigma=1.0) for trees in (on_host, elsewhere)]
    torch.testing.assert_close(*filtered)


@pytest.mark.parametrize("shape", ["chain", "star", "random", "one"])
def test_sums_by_contraction_are_those_from_vertex_to_vertex(shape):
    """A chain of 1,000 vertices takes some 20 rounds, not 1,000."""
    rng = np.random.default_rng(0)
    number = 1 if shape == "one" else 1000
    above = np.arange(number) - 1
    if shape == "star":
        above[:] = 0
    elif shape == "random":
        above = np.array([rng.integers(max(0, v - 9), v) if v else 0 for v in range(number)])
    above[0] = 0
    rows, weight = rng.random((number, 3)), rng.random(number) * (np.arange(number) > 0)
    below = rows.copy()
    for v in range(number - 1, 0, -1):  # parents have lower numbers
        below[above[v]] += weight[v] * below[v]
    whole = below.copy()
    for v in range(1, number):
        whole[v] += weight[v] * (whole[above[v]] - weight[v] * below[v])
    order, rounds = contract(above)
    assert sorted(order) == list(range(number)) and order[0] == 0 and len(rounds) < 30
    ours = path_sums(torch.from_numpy(rows[order]), torch.from_numpy(weight[order]), rounds)
    torch.testing.assert_close(ours, (torch.from_numpy(below[order]), torch.from_numpy(whole[order])))


def test_no_value_is_read_on_the_host_of_another_device():
    """Tensors on the meta device have no values: reading one, or a shape that depends on one, is an error."""
    guide = torch.empty(2, 3, 6, 5, device="meta", requires_grad=True)
    masks = torch.empty(3, 6, 5, device="meta", requires_grad=True)
    filtered = tree_filter(masks, guide, image_trees(guide), [1, 2], sigma=1.0)
    filtered.sum().backward()
    assert masks.grad.shape == masks.shape and guide.grad.shape == guide.shape


def test_even_masks_stay_and_no_instance_is_no_error():
    guide = torch.rand(2, 3, 5, 4)
    trees = image_trees(guide)
    even = torch.full((2, 5, 4), 0.3)
    torch.testing.assert_close(tree_filter(even, guide, trees, [0, 2], sigma=0.02), even)
    none = torch.zeros(0, 5, 4, requires_grad=True)
    assert tree_filter(none, guide, trees, [0, 0], sigma=0.02).sum().requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert tree_filter(even.bfloat16(), guide, trees, [1, 1], sigma=0.02).dtype == torch.float32

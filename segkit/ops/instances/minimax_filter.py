"""Minimax filter: each pixel becomes a mean of all pixels, weighted by the largest edge between the two on a tree.

Li et al., APro, NeurIPS 2023, section 3.2 (global affinity propagation), https://arxiv.org/abs/2310.10533. B batch, n
instances in the order of their images, C channels, h w map, V = h w vertices (y w + x).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.spanning_tree import edge_weights, grid_edges, spanning_edges


class Merges(NamedTuple):
    """The order in which the edges of a tree join its vertices, the smallest edge first, as a binary tree of nodes.

    Node v is vertex v, node V + k what the k-th edge joins. `position` lays the vertices in a row in which the vertices
    of each node are neighbours.

    Attributes:
        children: int64 [V-1,2], the two nodes that each edge joins.
        start: int64 [2V-1], the first position of each node's vertices; of a vertex its own.
        end: int64 [2V-1], the position after the last one.
    """

    children: np.ndarray
    start: np.ndarray
    end: np.ndarray


def tree_edges(guide: Tensor) -> list[np.ndarray]:
    """Returns the edges of each image's minimum spanning tree: B of int64 [V-1,2], the vertices of each edge.

    Args:
        guide: float [B,C,h,w].
    """
    size = (guide.shape[2], guide.shape[3])
    return [grid_edges(*size)[chosen] for chosen in spanning_edges(edge_weights(guide), size).cpu().numpy()]


@torch.no_grad()
def minimax_filter(
    masks: Tensor, guide: Tensor, edges: Sequence[np.ndarray], counts: Sequence[int], *, zeta: float
) -> Tensor:
    """Filters masks along trees of their images.

    out_i = sum_j a_ij x_j / sum_j a_ij, where a_ij = exp(-d / zeta^2), d the largest squared difference of the guide
    over the edges of the tree's path from i to j, and a_ii = 1.

    Nothing is summed along paths: the edges are taken from the smallest to the largest, and what an edge joins shares
    one affinity. That takes V log V steps for each guide. They run on the host, as in the authors' code: maps go there
    and come back. There is no gradient.

    Args:
        masks: float [n,h,w] in the order of the guides.
        guide: float [B,C,h,w].
        edges: of the tree of each guide, see tree_edges; the tree may be that of another map.
        counts: the number of masks of each guide, n in all.
        zeta: difference of the guide at which the affinity falls to exp(-1).

    Returns:
        float32 [n,h,w]; float64 for masks of float64.
    """
    masks = full_precision(masks)
    values = masks.flatten(1).double().cpu().numpy()
    filtered = np.empty_like(values)
    first = 0
    for image_guide, ends, count in zip(guide.flatten(2).double().cpu().numpy(), edges, counts):
        rows = slice(first, first + count)
        if count:
            filtered[rows] = _filtered(values[rows], image_guide, ends, zeta)
        first += count
    return torch.from_numpy(filtered).to(masks.device, masks.dtype).view_as(masks)


def _filtered(values: np.ndarray, guide: np.ndarray, ends: np.ndarray, zeta: float) -> np.ndarray:
    """Filters masks float64 [n,V] along one tree of edges [V-1,2] by the guide float64 [C,V]."""
    weights = np.square(guide[:, ends[:, 0]] - guide[:, ends[:, 1]]).sum(0)
    order = np.argsort(weights, kind="stable")
    merges = merge_tree(ends[order])
    number = values.shape[1]
    position = merges.start[:number]
    ordered = np.empty((len(values) + 1, number))
    ordered[:-1, position] = values
    ordered[-1] = 1  # its filtered row is the divisor
    sums = np.pad(np.cumsum(ordered, 1), ((0, 0), (1, 0)))
    sums = sums[:, merges.end] - sums[:, merges.start]
    left, right = merges.children.T
    nodes, others = np.concatenate([left, right]), np.concatenate([right, left])
    shares = np.tile(np.exp(-weights[order] / zeta**2), 2) * sums[:, others]
    # a node's share goes to all its vertices, which are neighbours: it comes in at the first and leaves after the last
    steps = np.zeros((len(ordered), number + 1))
    for row, share in zip(steps, shares):
        row += np.bincount(merges.start[nodes], share, number + 1) - np.bincount(merges.end[nodes], share, number + 1)
    totals = ordered + np.cumsum(steps, 1)[:, :-1]
    return (totals[:-1] / totals[-1])[:, position]


def merge_tree(ends: np.ndarray) -> Merges:
    """Joins the vertices of a tree edge by edge.

    Args:
        ends: int64 [V-1,2], the vertices of the edges in the order in which they join.
    """
    number = len(ends) + 1
    root = list(range(2 * number - 1))  # towards the node that holds each one so far
    size = [1] * number + [0] * (number - 1)
    children = []
    for node, (a, b) in enumerate(ends.tolist(), number):
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        root[a] = root[b] = node
        size[node] = size[a] + size[b]
        children.append((a, b))
    start = [0] * len(root)
    for node in range(2 * number - 2, number - 1, -1):
        a, b = children[node - number]
        start[a], start[b] = start[node], start[node] + size[a]
    begins = np.array(start, np.int64)
    return Merges(np.array(children, np.int64).reshape(-1, 2), begins, begins + np.array(size, np.int64))

"""Minimum spanning trees of images: neighbouring pixels are connected where they differ least.

Song et al., Learnable Tree Filter, NeurIPS 2019, section 3.1, https://arxiv.org/abs/1909.12513. B batch, C channels,
h w map, V = h w vertices (y w + x), E edges: the vertical ones (y, x)-(y + 1, x) by rows, then the horizontal ones. Of
edges with equal weights the first in this order comes first, which makes the tree unique.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from segkit.ops.averaging import full_precision


@lru_cache(maxsize=32)
def grid_edges(height: int, width: int) -> np.ndarray:
    """Returns the edges of a grid of pixels, int64 [E,2]: the vertices of each edge, the upper or left one first.

    The array is cached and must not be written to.

    Args:
        height, width: of the map, h and w.
    """
    vertex = np.arange(height * width).reshape(height, width)
    vertical = np.stack([vertex[:-1].ravel(), vertex[1:].ravel()], 1)
    horizontal = np.stack([vertex[:, :-1].ravel(), vertex[:, 1:].ravel()], 1)
    return np.concatenate([vertical, horizontal])


def edge_weights(guide: Tensor) -> Tensor:
    """Computes the weight of each edge: the squared difference of its pixels, summed over channels, plus 1.

    The 1 belongs to the published weights: by rounding it makes small differences equal, and then the order of the
    edges decides.

    Args:
        guide: float [B,C,h,w]; gets no gradient.

    Returns:
        float32 [B,E].
    """
    guide = full_precision(guide.detach())
    steps = [guide.diff(dim=dim).square().sum(1).flatten(1) for dim in (2, 3)]
    return torch.cat(steps, 1) + 1


def spanning_edges(weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Chooses the V - 1 edges of each image's minimum spanning tree.

    Kruskal's algorithm of scipy on the CPU, Boruvka's on other devices. Both find the same tree, as the ranks of the
    edges are all different.

    Args:
        weights: float [B,E].
        size: (h, w).

    Returns:
        bool [B,E].
    """
    order = torch.sort(weights, dim=1, stable=True).indices
    arange = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, arange)
    return (kruskal if weights.device.type == "cpu" else boruvka)(ranks, order, size)


def kruskal(ranks: Tensor, order: Tensor, size: tuple[int, int]) -> Tensor:
    """Finds minimum spanning trees by scipy, on the CPU.

    Args:
        ranks: int64 [B,E], the rank of each edge, 0 for the first edge to take.
        order: int64 [B,E], the edge of each rank.
        size: (h, w).

    Returns:
        bool [B,E], the chosen edges.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    edges, number = grid_edges(*size), size[0] * size[1]
    chosen = np.zeros(ranks.shape, bool)
    for row, rank, edge in zip(chosen, ranks.numpy(), order.numpy()):
        # an explicit 0 is no edge to scipy: ranks begin with 1
        graph = csr_matrix((rank + 1.0, (edges[:, 0], edges[:, 1])), shape=(number, number))
        row[edge[minimum_spanning_tree(graph).data.astype(np.int64) - 1]] = True
    return torch.from_numpy(chosen)


def boruvka(ranks: Tensor, order: Tensor, size: tuple[int, int]) -> Tensor:
    """Finds minimum spanning trees on any device, all images at once and without reading a value on the host.

    Each component takes its first outgoing edge, and components connected so become one, at most log2 V times.

    Args:
        ranks, order, size: see kruskal.

    Returns:
        bool [B,E], the chosen edges.
    """
    batch, num_edges = ranks.shape
    device, vertices = ranks.device, size[0] * size[1]
    image = torch.arange(batch, device=device)
    ends = torch.from_numpy(grid_edges(*size)).to(device)
    ends = (ends.T.unsqueeze(1) + (image * vertices).view(1, -1, 1)).flatten(1)  # [2, B E]
    image = image.repeat_interleave(vertices)
    vertex = torch.arange(batch * vertices, device=device)
    label, none = vertex, batch * num_edges
    chosen = torch.zeros(none + 1, dtype=torch.bool, device=device)  # the last element takes writes without an edge
    for turn in range(math.ceil(math.log2(max(vertices, 1)))):
        first, second = label[ends[0]], label[ends[1]]
        rank = torch.where(first == second, num_edges, ranks.flatten())
        best = torch.full_like(vertex, num_edges)
        best = best.scatter_reduce(0, first, rank, "amin").scatter_reduce(0, second, rank, "amin")
        has_edge = best < num_edges
        edge = order.flatten()[image * num_edges + best.clamp_max(num_edges - 1)] + image * num_edges
        chosen[torch.where(has_edge, edge, none)] = True
        hook = torch.where(has_edge, first[edge] + second[edge] - vertex, vertex)
        # of two components that chose each other, one is the root
        hook = torch.where((hook[hook] == vertex) & (vertex < hook), vertex, hook)
        for _ in range(math.ceil(math.log2(max(vertices >> turn, 2))) + 1):
            hook = hook[hook]
        label = hook[label]
    return chosen[:-1].view(batch, num_edges)

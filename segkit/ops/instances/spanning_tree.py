"""Minimum spanning trees of images: neighbouring pixels are joined where they differ least.

Song et al., Learnable Tree Filter, NeurIPS 2019, section 3.1, https://arxiv.org/abs/1909.12513.
B images, C channels, h w map, V = h w vertices (y w + x), E edges: the vertical ones (y, x)-(y + 1, x) by rows, then
the horizontal ones. Of edges with equal weights the first by this order comes first, which makes the tree unique.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from segkit.ops.averaging import full_precision


@lru_cache(maxsize=32)
def grid_edges(height: int, width: int) -> np.ndarray:
    """-> int64 [E,2], vertices of each edge, the upper or left one first. Not to be written to."""
    vertex = np.arange(height * width).reshape(height, width)
    vertical = np.stack([vertex[:-1].ravel(), vertex[1:].ravel()], 1)
    horizontal = np.stack([vertex[:, :-1].ravel(), vertex[:, 1:].ravel()], 1)
    return np.concatenate([vertical, horizontal])


def edge_weights(guide: Tensor) -> Tensor:
    """guide: float [B,C,h,w] -> float32 [B,E], squared differences added up over channels, plus 1.

    The 1 is part of the published weights: it makes equals of small differences, which the order of edges decides.
    """
    guide = full_precision(guide.detach())
    steps = [guide.diff(dim=dim).square().sum(1).flatten(1) for dim in (2, 3)]
    return torch.cat(steps, 1) + 1


def spanning_edges(weights: Tensor, size: tuple[int, int]) -> Tensor:
    """weights: float [B,E]; size: (h, w) -> bool [B,E], the V - 1 edges of each image's minimum spanning tree.

    scipy's on the CPU, Boruvka's on other devices: the same tree, as the ranks of the edges are all different.
    """
    order = torch.sort(weights, dim=1, stable=True).indices
    ranks = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return (kruskal if weights.device.type == "cpu" else boruvka)(ranks, order, size)


def kruskal(ranks: Tensor, order: Tensor, size: tuple[int, int]) -> Tensor:
    """ranks: int64 [B,E], 0 for the first edge to take; order: its inverse; size: (h, w) -> bool [B,E], by scipy."""
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
    """The same on any device, all images at once, no value read on the host: each part takes its first outgoing edge,
    parts so joined become one, at most log2 V times."""
    batch, num_edges = ranks.shape
    device, vertices = ranks.device, size[0] * size[1]
    image = torch.arange(batch, device=device)
    ends = torch.from_numpy(grid_edges(*size)).to(device)
    ends = (ends.T.unsqueeze(1) + (image * vertices).view(1, -1, 1)).flatten(1)  # [2, B E]
    image = image.repeat_interleave(vertices)
    own = torch.arange(batch * vertices, device=device)
    label, none = own, batch * num_edges
    chosen = torch.zeros(none + 1, dtype=torch.bool, device=device)  # the last one takes what is no edge
    for turn in range(math.ceil(math.log2(max(vertices, 1)))):
        first, second = label[ends[0]], label[ends[1]]
        rank = torch.where(first == second, num_edges, ranks.flatten())
        best = torch.full_like(own, num_edges)
        best = best.scatter_reduce(0, first, rank, "amin").scatter_reduce(0, second, rank, "amin")
        has_edge = best < num_edges
        edge = order.flatten()[image * num_edges + best.clamp_max(num_edges - 1)] + image * num_edges
        chosen[torch.where(has_edge, edge, none)] = True
        hook = torch.where(has_edge, first[edge] + second[edge] - own, own)
        hook = torch.where(
            (hook[hook] == own) & (own < hook), own, hook
        )  # of two that chose each other one is the root
        for _ in range(math.ceil(math.log2(max(vertices >> turn, 2))) + 1):
            hook = hook[hook]
        label = hook[label]
    return chosen[:-1].view(batch, num_edges)

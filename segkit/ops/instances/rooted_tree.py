"""Spanning trees of images, rooted at the upper left pixel, with what sums along them need: rounds in which vertices
are eliminated, or pointers to every second, fourth, ... ancestor.

B batch, C channels, h w map, V = h w vertices (y w + x), E edges as in spanning_tree.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.ops.instances.spanning_tree import edge_weights, grid_edges, spanning_edges
from segkit.ops.instances.tree_contraction import Round, contract

SLOTS = 4
"""Neighbours of a pixel: above, left, right, below; slot s of one end of an edge is slot 3 - s of the other."""


class Tree(NamedTuple):
    """A rooted tree whose vertices are numbered by position, the root first.

    Attributes:
        order: int64 [V], the vertex at each position.
        parent: int64 [V], the position of each position's parent; the root's is its own.
        jumps: int64 [V] each, the positions that steps of 1, 2, 4, ... edges towards the root lead to; a step beyond
            the root stays at its position. Positions are breadth first.
        rounds: on the CPU, in place of jumps: how vertices are eliminated, see tree_contraction; None elsewhere, where
            the host does not know the tree.
    """

    order: Tensor
    parent: Tensor
    jumps: list[Tensor]
    rounds: list[Round] | None


def image_trees(guide: Tensor) -> list[Tree]:
    """Builds the rooted minimum spanning tree of each image.

    Args:
        guide: float [B,C,h,w], the images or features that edges are weighted by.

    Returns:
        B trees on the device of the guide.
    """
    size = (guide.shape[2], guide.shape[3])
    chosen = spanning_edges(edge_weights(guide), size)
    if guide.device.type == "cpu":
        return [_tree_on_host(row.numpy(), size) for row in chosen]
    return root_trees(chosen, size)


def _tree_on_host(chosen: np.ndarray, size: tuple[int, int]) -> Tree:
    """Roots a tree of the edges chosen, bool [E], by scipy, and plans its contraction."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order

    number = size[0] * size[1]
    edges = grid_edges(*size)[chosen]
    graph = csr_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(number, number))
    _, parent = breadth_first_order(graph, 0, directed=False)
    parent = parent.astype(np.int64)
    parent[0] = 0  # scipy has a negative number for the root
    order, rounds = contract(parent)
    position = np.empty(number, np.int64)
    position[order] = np.arange(number)
    return Tree(torch.from_numpy(order), torch.from_numpy(position[parent[order]]), [], rounds)


def root_trees(chosen: Tensor, size: tuple[int, int]) -> list[Tree]:
    """Roots the trees of a batch at once, on any device and without reading a value on the host.

    Args:
        chosen: bool [B,E], the edges of each tree.
        size: (h, w).

    Returns:
        B trees.
    """
    batch, vertices = len(chosen), size[0] * size[1]
    distance, parent = _tour(chosen, size)
    num_jumps = max(1, math.ceil(math.log2(max(vertices, 2))))
    vertex = torch.arange(batch * vertices, device=chosen.device)
    depth, pointer = (parent != vertex).long(), parent
    for _ in range(num_jumps):
        depth, pointer = depth + depth[pointer], pointer[pointer]
    # by depth, then as the tour meets them: children stand in the order of their parents
    key = depth * (SLOTS * vertices + 1) - distance
    order = key.view(batch, vertices).argsort(1)
    arange = torch.arange(vertices, device=order.device).expand_as(order)
    position = torch.empty_like(order).scatter_(1, order, arange)
    up = position.gather(1, parent.view(batch, vertices).gather(1, order) % vertices)
    depth = depth.view(batch, vertices).gather(1, order)
    return [_tree_of_pointers(*rows, num_jumps) for rows in zip(order, up, depth)]


def _tree_of_pointers(order: Tensor, parent: Tensor, depth: Tensor, num_jumps: int) -> Tree:
    jumps: list[Tensor] = []
    position, pointer = torch.arange(len(order), device=order.device), parent
    for k in range(num_jumps):
        jumps.append(torch.where(depth < 2**k, position, pointer))
        pointer = pointer[pointer]
    return Tree(order, parent, jumps, None)


def _tour(chosen: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Walks around each tree of the edges chosen, bool [B,E] (an Euler tour).

    Returns int64 [B V] twice: the steps from where the walk first meets each vertex to its end, and the parent of each
    vertex (of all images together; the root's is its own).

    Each edge is two arcs. After an arc comes the next one around the vertex that it leads to; the first arc of the root
    ends the walk. The steps from each arc to the end are counted by pointer doubling.
    """
    batch, device = len(chosen), chosen.device
    height, width = size
    split = (height - 1) * width
    below = chosen[:, :split].view(batch, height - 1, width)
    right = chosen[:, split:].view(batch, height, width - 1)
    has = torch.zeros(batch, height, width, SLOTS, dtype=torch.bool, device=device)
    has[:, 1:, :, 0], has[:, :, 1:, 1], has[:, :, :-1, 2], has[:, :-1, :, 3] = below, right, right, below
    has = has.view(-1, SLOTS)
    vertex = torch.arange(len(has), device=device)
    slot = torch.arange(SLOTS, device=device)
    neighbour = vertex.unsqueeze(1) + torch.tensor([-width, -1, 1, width], device=device)
    # a slot without an edge points to its own vertex
    leads_to = torch.where(has, neighbour, vertex.unsqueeze(1))
    following = slot.expand_as(has)
    for step in (3, 2, 1):
        candidate = (slot + step) % SLOTS
        following = torch.where(has[:, candidate], candidate, following)
    opposite = leads_to * SLOTS + (SLOTS - 1 - slot)
    arc = vertex.unsqueeze(1) * SLOTS + slot
    after = leads_to * SLOTS + following.flatten()[opposite]
    start = torch.arange(batch, device=device) * (height * width)
    start = (start * SLOTS + has[start].long().argmax(1)).repeat_interleave(height * width).unsqueeze(1)
    pointer = torch.where(has & (after != start), after, arc).flatten()
    steps = (pointer != arc.flatten()).long()
    for _ in range(math.ceil(math.log2(max(2 * height * width, 2)))):
        steps, pointer = steps + steps[pointer], pointer[pointer]
    steps = steps.view_as(arc)
    is_up = has & (steps < steps.flatten()[opposite])
    parent = torch.where(is_up, leads_to, 0).sum(1) + torch.where(is_up.any(1), 0, vertex)
    met = torch.where(is_up, steps.flatten()[opposite], 0).sum(1)
    return met, parent

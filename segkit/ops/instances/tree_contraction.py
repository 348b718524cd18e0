"""Eliminates the vertices of a tree in a few rounds, so that sums along its paths take one visit of each vertex.

Miller and Reif, Parallel Tree Contraction, FOCS 1985 (rake and compress). V vertices, n columns. Positions are those of
rooted_tree.Tree: the vertex that is eliminated last comes first, after the root.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Round(NamedTuple):
    """Vertices that are eliminated together: leaves, and vertices with one child each, which their parents adopt.

    No two of them are neighbours. Parents and children are those that are left when the round begins.

    Attributes:
        first: the first of their positions; those with a child come first.
        beyond: the position after their last.
        parents: int64 [beyond - first], the position of the parent of each.
        children: int64 [m], the position of the only child of each of the first m.
        receivers: int64 [r], the different ones of the parents.
        senders: int64 [r + beyond - first], each receiver and then the vertices whose parent it is.
        starts: int64 [r], where the part of each receiver begins in `senders`.
    """

    first: int
    beyond: int
    parents: Tensor
    children: Tensor
    receivers: Tensor
    senders: Tensor
    starts: Tensor


def contract(parents: np.ndarray) -> tuple[np.ndarray, list[Round]]:
    """Plans the elimination of all vertices but the root.

    In every round all leaves go, and about a third of each chain: vertices with one child that is no leaf, where a
    number drawn for each vertex is larger than those of its neighbours in the chain.

    Args:
        parents: int64 [V], the parent of each vertex; vertex 0 is the root, and its own parent.

    Returns:
        int64 [V], the vertex at each position, and the rounds in their order.
    """
    number = len(parents)
    drawn = np.random.default_rng(0).permutation(number)
    above = parents.copy()
    left = np.arange(1, number)
    degree = np.bincount(above[1:], minlength=number)
    child, is_candidate = np.zeros(number, np.int64), np.zeros(number, bool)
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(left):
        child[above[left]] = left
        leaves = left[degree[left] == 0]
        links = left[degree[left] == 1]
        links = links[degree[child[links]] != 0]
        is_candidate[links] = True
        others = (above[links], child[links])
        is_largest = [~is_candidate[of_link] | (drawn[of_link] < drawn[links]) for of_link in others]
        is_candidate[links] = False
        links = links[is_largest[0] & is_largest[1]]
        gone = np.concatenate([links, leaves[np.argsort(above[leaves], kind="stable")]])
        steps.append((gone, above[gone], child[links]))
        above[child[links]] = above[links]
        np.subtract.at(degree, above[leaves], 1)
        degree[gone] = -1
        left = left[degree[left] >= 0]
    order = np.concatenate([[0], *(gone for gone, _, _ in reversed(steps))]).astype(np.int64)
    position = np.empty(number, np.int64)
    position[order] = np.arange(number)
    return order, [_round(position[gone[0]], position[before], position[only]) for gone, before, only in steps]


def _round(first: int, parents: np.ndarray, children: np.ndarray) -> Round:
    """Groups the vertices of a round by their parents; arguments as of Round."""
    order = np.argsort(parents, kind="stable")
    receivers, counts = np.unique(parents, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts + 1)[:-1]])
    senders = np.insert(first + order, np.concatenate([[0], np.cumsum(counts)[:-1]]), receivers)
    tensors = (torch.from_numpy(values) for values in (parents, children, receivers, senders, starts))
    return Round(int(first), int(first) + len(parents), *tensors)


def path_sums(rows: Tensor, similarity: Tensor, rounds: list[Round]) -> tuple[Tensor, Tensor]:
    """Returns the sums over each position's subtree and over the whole tree, weighted by the products along the paths.

    Args:
        rows: float [V,n] by position.
        similarity: float [V], the weight of the edge between each position and its parent in the tree; 0 at the root.
        rounds: of contract.

    Returns:
        float [V,n] each.
    """
    weights, to_child = similarity.clone(), []
    below = rows.clone(memory_format=torch.contiguous_format)
    for step in rounds:
        of_step = weights[step.first : step.beyond]
        factors = weights[step.senders].index_fill_(0, step.starts, 1)  # a receiver adds its own sum as it is
        sums = F.embedding_bag(step.senders, below, step.starts, mode="sum", per_sample_weights=factors)
        below.index_copy_(0, step.receivers, sums)
        to_child.append(weights[step.children])
        weights[step.children] *= of_step[: len(step.children)]
    for step, weight in zip(reversed(rounds), reversed(to_child)):
        chain = slice(step.first, step.first + len(step.children))
        below[chain].addcmul_(below.index_select(0, step.children), weight.unsqueeze(1))
    whole = below * (1 - similarity.square()).unsqueeze(1)
    for step, weight in zip(rounds, to_child):
        chain = slice(step.first, step.first + len(step.children))
        passed = torch.addcmul(whole.index_select(0, step.children), whole[chain], weight.unsqueeze(1))
        whole.index_copy_(0, step.children, passed)
    for step in reversed(rounds):
        gone = slice(step.first, step.beyond)
        whole[gone].addcmul_(whole.index_select(0, step.parents), weights[gone].unsqueeze(1))
    return below, whole

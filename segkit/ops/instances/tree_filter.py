"""Tree filter: each pixel becomes a mean of all pixels, weighted by how near they are on a spanning tree of the image.

Song et al., Learnable Tree Filter, NeurIPS 2019, eq. 3 and 4, https://arxiv.org/abs/1909.12513. B batch, n instances in
the order of their images, C channels, h w map, V = h w vertices. Positions are those of rooted_tree.Tree.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.rooted_tree import Tree
from segkit.ops.instances.tree_contraction import path_sums

ROWS_AT_ONCE = 128
"""Vertices whose share of the similarities' gradient a CPU computes at a time: as many as its cache holds."""


def tree_filter(masks: Tensor, guide: Tensor, trees: Sequence[Tree], counts: Sequence[int], *, sigma: float) -> Tensor:
    """Filters masks along the spanning trees of their images.

    out_i = sum_j K_ij x_j / sum_j K_ij, where K_ij is the product of exp(-|e_a - e_b|^2 / sigma) over the edges ab of
    the tree's path from i to j, e being the guide. The gradient reaches masks and guide; detach a guide that shall get
    none.

    Args:
        masks: float [n,h,w] in the order of their images.
        guide: float [B,C,h,w].
        trees: B of rooted_tree.image_trees.
        counts: the number of instances of each image, n in all.
        sigma: published: 0.02 with the (detached) image, 1 with learned features.

    Returns:
        float32 [n,h,w].
    """
    masks, guide = full_precision(masks), full_precision(guide)
    filtered = []
    for image_masks, image_guide, tree in zip(masks.flatten(1).split(tuple(counts)), guide.flatten(2), trees):
        filtered.append(_Filter.apply(image_masks, edge_similarity(image_guide, tree, sigma), tree))
    return torch.cat(filtered).view_as(masks)


def edge_similarity(guide: Tensor, tree: Tree, sigma: float) -> Tensor:
    """Computes the similarity exp(-|e_v - e_parent|^2 / sigma) of each vertex and its parent.

    Args:
        guide: float [C,V], e.
        tree: of the image.
        sigma: see tree_filter.

    Returns:
        float [V] by position of the tree, 0 at its root.
    """
    guide = guide[:, tree.order]
    distance = (guide[:, 1:] - guide[:, tree.parent[1:]]).square().sum(0)
    return F.pad(torch.exp(-distance / sigma), (1, 0))


class _Filter(torch.autograd.Function):
    """K is symmetric: with g the gradient to the output, the gradient to x is K applied to g / (K 1).

    The gradient to the similarity of an edge is a sum over pairs of pixels on both sides of it. With S_v the sum over
    the subtree of v, A_v that over the whole tree and w_v the similarity of v, a pair adds S_v of one times A_parent -
    w_v S_v of the other.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, similarity: Tensor, tree: Tree) -> Tensor:
        """Takes x float [n,V] and similarity float [V]; returns float [n,V]."""
        rows = _by_position(x, tree, spare=1)
        rows[:, -1] = 1
        below, whole = _sums(rows, similarity, tree)
        ctx.tree = tree
        is_learned = ctx.needs_input_grad[1]
        ctx.save_for_backward(similarity, whole if is_learned else whole[:, -1:], below if is_learned else None)
        return _on_grid(whole[:, :-1] / whole[:, -1:], tree)

    @staticmethod
    def backward(ctx: Any, to_output: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Takes the gradient float [n,V] to the output; returns those to x [n,V] and to similarity [V]."""
        similarity, whole, below = ctx.saved_tensors
        tree = ctx.tree
        if below is None:
            rows = _by_position(to_output, tree).div_(whole)
            return _on_grid(_sums(rows, similarity, tree)[1], tree), None, None
        rows = _by_position(to_output, tree, spare=1)
        scaled, divisor = rows[:, :-1], whole[:, -1:]
        scaled /= divisor
        rows[:, -1] = -torch.linalg.vecdot(scaled, whole[:, :-1]) / divisor[:, 0]
        below_g, whole_g = _sums(rows, similarity, tree)
        number = ROWS_AT_ONCE if rows.device.type == "cpu" else len(rows)
        parts = zip(*(values.split(number) for values in (below, below_g, similarity.unsqueeze(1), tree.parent)))
        pairs = []
        for x, g, factor, parent in parts:
            beyond = whole.index_select(0, parent).addcmul_(x, factor, value=-1)
            beyond_g = whole_g.index_select(0, parent).addcmul_(g, factor, value=-1)
            pairs.append(torch.linalg.vecdot(g, beyond) + torch.linalg.vecdot(x, beyond_g))
        return _on_grid(whole_g[:, :-1], tree), torch.cat(pairs), None


def _by_position(maps: Tensor, tree: Tree, *, spare: int = 0) -> Tensor:
    """Reorders maps [n,V] by vertex to rows [V,n+spare] by position, the last columns of which are not filled."""
    columns = maps.new_empty(maps.shape[1], len(maps) + spare)
    columns[:, : len(maps)] = maps.T
    return columns.index_select(0, tree.order)


def _on_grid(rows: Tensor, tree: Tree) -> Tensor:
    """Reorders rows [V,n] by position to [n,V] by vertex."""
    return torch.empty_like(rows).index_copy_(0, tree.order, rows).T


def _sums(rows: Tensor, similarity: Tensor, tree: Tree) -> tuple[Tensor, Tensor]:
    """Returns the K-weighted sums of rows [V,n] over each position's subtree and over the whole tree, float [V,n]."""
    if tree.rounds is not None:
        return path_sums(rows, similarity, tree.rounds)
    # Pointer doubling: step k adds the sums 2^k edges further down (then up), times the product of the similarities on
    # the way, so that log2(depth) steps do for both passes.
    below, ways = rows.clone(memory_format=torch.contiguous_format), _products(similarity, tree)
    for way, ancestor in zip(ways, tree.jumps):
        below.index_add_(0, ancestor, below * way.unsqueeze(1))
    whole = below * (1 - similarity.square()).unsqueeze(1)
    for way, ancestor in zip(ways, tree.jumps):
        whole.addcmul_(whole.index_select(0, ancestor), way.unsqueeze(1))
    return below, whole


def _products(similarity: Tensor, tree: Tree) -> list[Tensor]:
    """Returns for each jump the product of the similarities on its way, float [V]; 0 beyond the root."""
    ways = [similarity]
    for before in tree.jumps[:-1]:
        ways.append(ways[-1] * ways[-1][before])
    return ways

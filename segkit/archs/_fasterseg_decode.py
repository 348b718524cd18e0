"""From the weights of FasterSeg's search to branches, as the authors' code."""

from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.archs._fasterseg_genotype import OPERATIONS, STRIDES, Branch

SKIP = OPERATIONS.index("skip")


@dataclass(frozen=True)
class SearchWeights:
    """What a search learns of an architecture of L layers. Scale s is that of stride 8 * 2^s.

    Attributes:
        alphas: of scale s float [L - s,5], weights of the operations of layers s, s + 1, ... before the softmax.
        betas: of scales 1 and 2 float [L - 1 - s,2], weights of the map from the larger scale and of that of the same.
        ratios: of each scale float [.,W], weights of the widths, from the narrowest; [.,1] for a fixed width. Row k of
            scale 0 is of the map after layer k, of scale s of that after layer k + s - 1.
    """

    alphas: tuple[Tensor, Tensor, Tensor]
    betas: tuple[Tensor, Tensor]
    ratios: tuple[Tensor, Tensor, Tensor]

    @property
    def layers(self) -> int:
        """L."""
        return len(self.alphas[0])


def decode(weights: SearchWeights, widths: tuple[int, ...], *, skips: bool = True) -> dict[int, Branch]:
    """Chooses the best path to each stride, and the operation and the width of its cells.

    The branches are decoded one after the other, to strides 8, 16 and 32. As in the authors' code the softmax of betas
    is taken anew for each of them, of the result of the last, and what a branch excludes stays excluded in the next.

    Args:
        weights: of the search.
        widths: in twelfths, from the narrowest; one where ratios are [.,1].
        skips: whether cells may be left out; the teacher has none.

    Returns:
        Branches by their last stride.
    """
    alphas = [alpha.detach().clone().float().cpu() for alpha in weights.alphas]
    betas = [beta.detach().float().cpu() for beta in weights.betas]
    found = {}
    for last, stride in enumerate(STRIDES):
        betas = [beta.softmax(-1) for beta in betas]
        path = _path(betas, last, weights.layers)
        found[stride] = _branch(alphas, path, _widths(weights.ratios, path, widths), skips)
    return found


def _path(betas: list[Tensor], last: int, layers: int) -> list[int]:
    """The scale that each layer reads. Betas: normalized; last: scale at the end."""
    downs: list[int] = []
    if last == 1:
        downs = [int(betas[0][1:-1, 0].argmax()) + 1]
    if last == 2:
        best, pair = 0.0, (0, 1)
        for j in range(layers - 4):
            for i in range(1, j - 1):
                product = float(betas[0][i, 0] * betas[1][j, 0])
                if product > best:
                    best, pair = product, (i, j)
        downs = [pair[0] + 1, pair[1] + 2]
    return [sum(down < layer for down in downs) for layer in range(layers)]


def _widths(ratios: tuple[Tensor, ...], path: list[int], widths: tuple[int, ...]) -> list[int]:
    """The width of the map that each layer but the first reads."""
    rows = [ratios[scale][layer - max(scale, 1)] for layer, scale in enumerate(path) if layer > 0]
    return [widths[int(row.argmax())] for row in rows]


def _branch(alphas: list[Tensor], path: list[int], widths: list[int], skips: bool) -> Branch:
    """Alphas: weights in which what is excluded becomes -inf."""
    rows = [alphas[scale][layer - scale] for layer, scale in enumerate(path)]
    if not skips:
        for row in rows:
            row[SKIP] = -torch.inf
    ends = [*path[1:], path[-1]]
    left_out = {i: float(row.softmax(-1)[SKIP]) for i, row in enumerate(rows) if _skips(row) and path[i] == ends[i]}
    # between two downsamplings, and after the last, at least one cell stays: that with the smallest weight of skip
    downs = [i for i, end in enumerate(ends) if path[i] < end]
    for start, end in zip(downs, [*downs[1:], len(path)]):
        between = range(start + 1, end)
        if between and all(i in left_out for i in between):
            rows[min(between, key=lambda i: (left_out[i], -i))][SKIP] = -torch.inf
    most = len(path) - (round(len(path) / 3) + 2 * path[-1])
    if len(left_out) > most:
        left_out = dict(sorted(left_out.items(), key=lambda item: -item[1])[:most])
    kept = [i for i, row in enumerate(rows) if not (_skips(row) and i in left_out)]
    for i in kept:
        if _skips(rows[i]):
            rows[i][SKIP] = -torch.inf
    return Branch(
        tuple(OPERATIONS[int(rows[i].argmax())] for i in kept),
        tuple(STRIDES[path[i]] for i in kept),
        tuple(widths[i] for i in kept if i < len(widths))[: len(kept) - 1],
    )


def _skips(row: Tensor) -> bool:
    return int(row.argmax()) == SKIP

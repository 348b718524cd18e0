"""Permutohedral lattice: a Gaussian filter over features of many dimensions in time linear in the pixels.

Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010,
https://graphics.stanford.edu/papers/permutohedral/. Each pixel gives its value to the D + 1 corners of its simplex
(splat), the corners are blurred along D + 1 directions, and each pixel reads them back (slice). All three are weighted
sums of rows of a table, so that nothing needs compiling and every device has it.

D dimensions, n pixels, M corners that hold a value, K channels.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.registry import ConfigError

MULTIPLIERS = (
    -7046029254386353131,
    -4417276706812531889,
    1609587929392839161,
    -8796714831421723037,
    2870177450012600261,
    -1800455987208640293,
    5861543290785437241,
    3935559000370003845,
)
"""Odd factors by which the D whole coordinates of a corner become one number, modulo 2^64.

The sum is linear, so that the number of a neighbor is the corner's plus a constant."""


MOST_DIMENSIONS = len(MULTIPLIERS)
"""Of features."""


def lattice_filter(features: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a filter of maps [B,K,H,W] that approximates the Gaussian over all pairs of pixels.

    Args:
        features: float [B,D,H,W] with D of at most 8.

    Raises:
        ConfigError: there are more features.
    """
    if features.shape[1] > MOST_DIMENSIONS:
        raise ConfigError(
            f"inference.refiners: the lattice of a dense CRF takes images of at most {MOST_DIMENSIONS - 2} channels, "
            f"and this one has {features.shape[1] - 2}; use WindowDenseCRF"
        )
    lattices = [Lattice.of(single.flatten(1).T) for single in features]

    def apply(x: Tensor) -> Tensor:
        rows = [lattice.filter(single.flatten(1).T.contiguous()) for lattice, single in zip(lattices, x)]
        return torch.stack([row.T for row in rows]).view(x.shape)

    return apply


class Lattice(NamedTuple):
    """The corners of all pixels, and who gives what to whom.

    Attributes:
        corners: int64 [n,D+1], of each pixel the rows of the table.
        shares: float [n,D+1], barycentric weights, which sum to 1 for each pixel.
        givers: int64 [n(D+1)], the pixels that give to a corner, corner by corner.
        given: float [n(D+1)], their weights.
        starts: int64 [M], where the givers of each corner begin.
        neighbors: int64 [D+1,M+1,3], rows before, at and behind a corner in each direction; M is an empty row.
    """

    corners: Tensor
    shares: Tensor
    givers: Tensor
    given: Tensor
    starts: Tensor
    neighbors: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Lattice":
        """Builds the lattice for a kernel exp(-|f_i - f_j|^2 / 2).

        Args:
            features: float [n,D] with D of at most 8.
        """
        n, dims = features.shape
        numbers, shares = simplex(features)
        ordered, order = numbers.flatten().sort(stable=True)
        found, rows, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
        corners = torch.empty_like(order).scatter_(0, order, rows).view(dims + 1, n)
        given = shares.flatten()[order]
        starts = counts.cumsum(0) - counts
        neighbors = _neighbors(found, dims)
        return cls(corners.T.contiguous(), shares.T.contiguous(), order % n, given, starts, neighbors)

    def filter(self, values: Tensor) -> Tensor:
        """Filters values, float [n,K]; returns float [n,K]."""
        dims = self.shares.shape[1] - 1
        table = F.embedding_bag(self.givers, values, self.starts, mode="sum", per_sample_weights=self.given)
        table = torch.cat([table, table.new_zeros(1, table.shape[1])])
        taps = table.new_tensor([0.5, 1.0, 0.5]).expand(len(table), 3).contiguous()
        for rows in self.neighbors:
            table = F.embedding_bag(rows, table, mode="sum", per_sample_weights=taps)
        # what splat, blur and slice make of a single 1 is brought near to 1 by this factor, as in the published code
        return F.embedding_bag(self.corners, table, mode="sum", per_sample_weights=self.shares) / (1 + 2**-dims)


def _multipliers(features: Tensor, dims: int) -> Tensor:
    return torch.tensor(MULTIPLIERS[:dims], device=features.device)


def _neighbors(found: Tensor, dims: int) -> Tensor:
    """found: int64 [M], the sorted numbers of all corners. -> int64 [D+1,M+1,3]."""
    count = len(found)
    multipliers = _multipliers(found, dims)
    own = torch.arange(count + 1, device=found.device)

    def rows(step: Tensor) -> Tensor:
        wanted = found + step
        place = torch.searchsorted(found, wanted).clamp_max(count - 1)
        place = torch.where(found[place] == wanted, place, count)
        return torch.cat([place, place.new_tensor([count])])

    tables = []
    for axis in range(dims + 1):
        step = -torch.ones_like(multipliers)
        if axis < dims:
            step[axis] = dims
        number = (step * multipliers).sum()
        tables.append(torch.stack([rows(number), own, rows(-number)], 1))
    return torch.stack(tables)


def simplex(features: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the simplex of the lattice around each point.

    Args:
        features: float [n,D].

    Returns:
        int64 [D+1,n], the numbers of its corners, and float [D+1,n], the point's weights of them.
    """
    n, dims = features.shape
    ranges = dims + 1
    elevated = (_elevation(dims).to(features).T @ features.T).contiguous()
    nearest = (elevated / ranges).round_()
    total = nearest.sum(0)  # how far the nearest lattice point lies off the plane of sum 0
    nearest *= ranges
    rest = elevated - nearest
    rank = torch.zeros_like(rest)  # of each coordinate among the descending ones; of equals the first is the larger
    for i in range(ranges):
        for j in range(i + 1, ranges):
            is_smaller = (rest[i] < rest[j]).to(features.dtype)
            rank[i] += is_smaller
            rank[j] += 1 - is_smaller
    rank += total
    moved = ranges * ((rank < 0).to(features.dtype) - (rank > dims).to(features.dtype))  # back to the plane
    nearest += moved
    rank_index = (rank + moved).long()
    ordered = torch.zeros_like(rest).scatter_(0, rank_index, (elevated - nearest) / ranges)  # the largest first
    shares = torch.empty_like(ordered)
    shares[1:] = (ordered[:-1] - ordered[1:]).flip(0)
    shares[0] = 1 + ordered[-1] - ordered[0]
    # corner r lies at nearest + r, less D + 1 in the r coordinates of the highest ranks
    factors = torch.cat([_multipliers(features, dims), torch.zeros(1, dtype=torch.int64, device=features.device)])
    base = (nearest.long() * factors[:, None]).sum(0)
    by_rank = torch.empty_like(rank_index).scatter_(0, rank_index, factors[:, None].expand(ranges, n))
    numbers = torch.arange(ranges, device=features.device)[:, None] * factors.sum() + base
    numbers[1:] -= ranges * by_rank.flip(0)[:-1].cumsum(0)
    return numbers, shares


def _elevation(dims: int) -> Tensor:
    """float64 [D,D+1]: takes features to the plane of sum 0, scaled so that the blur is a Gaussian of deviation 1."""
    matrix = torch.zeros(dims, dims + 1, dtype=torch.float64)
    for i in range(dims):
        scale = math.sqrt(2 / 3) * (dims + 1) / math.sqrt((i + 1) * (i + 2))
        matrix[i, : i + 1] = scale
        matrix[i, i + 1] = -scale * (i + 1)
    return matrix

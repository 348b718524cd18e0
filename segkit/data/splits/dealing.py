"""Deals items to the parts of a split: by shares, whole groups, and so that rare classes occur in every part.

Arrays alone, and a function of its arguments: n items, G groups, P parts, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.files import DataError

SUM = 1e-6
"""By how much the sum of shares may differ from 1."""

MOST_REPAIRS = 2000
"""Exchanges tried at most for classes that the first dealing left out of a part."""


def target_sizes(shares: Sequence[float], count: int) -> np.ndarray:
    """Divides a number of items by shares (largest remainders), one item at least for each part.

    Args:
        shares: P positive numbers whose sum is 1.
        count: n, P or more.

    Returns:
        int64 [P], of sum n. Each differs from share * n by less than 1, where no share is below 1 / n.
    """
    exact = np.asarray(shares, np.float64) * count
    sizes = np.floor(exact + SUM).astype(np.int64)
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: count - int(sizes.sum())]] += 1
    while (sizes == 0).any():
        sizes[int(sizes.argmax())] -= 1
        sizes[int(np.flatnonzero(sizes == 0)[0])] += 1
    return sizes


def check_shares(shares: Sequence[float], names: Sequence[str], at: str) -> None:
    """Checks the shares of a split.

    Args:
        shares: one number for each part.
        names: of the parts.
        at: what the shares are called, for the error.

    Raises:
        DataError: there is another number of them, one is not positive, or their sum is not 1.
    """
    values = [float(share) for share in shares]
    if len(values) != len(names):
        raise DataError(f"{at} = {list(shares)}: give {len(names)} numbers, for {', '.join(names)}")
    if min(values) <= 0:
        empty = names[int(np.argmin(values))]
        raise DataError(f"{at} = {list(shares)}: leaves '{empty}' empty; each share must be above 0, or left out")
    if abs(sum(values) - 1) > SUM:
        shown = ", ".join(f"{value / sum(values):.3g}" for value in values)
        raise DataError(f"{at} = {list(shares)}: the sum is {sum(values):g}, not 1; in these proportions: {shown}")


def deal(
    shares: Sequence[float],
    groups: np.ndarray,
    present: Sequence[np.ndarray] | None = None,
    *,
    num_classes: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """Deals items to parts.

    Guarantees: each item is in one part, no group in two, no part is empty, and no part exceeds its target_sizes by as
    much as the largest group; without groups the sizes are the target_sizes. With classes, each group goes, the rarest
    class first, where that class is still missing, then where its share is furthest from what it should be; classes
    that are missing somewhere are exchanged for others while that leaves fewer gaps.

    Args:
        shares: P positive numbers of sum 1.
        groups: integer [n], the group of each item.
        present: n integer arrays, the classes of each item; None leaves classes out of account.
        num_classes: K.
        seed: of the choice.

    Returns:
        int64 [n], the part of each item.

    Raises:
        DataError: there are fewer groups than parts.

    Sechidis et al., On the Stratification of Multi-Label Data, ECML PKDD 2011, for the order of the classes.
    """
    _, unit_of, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    unit_of, num_parts = unit_of.reshape(-1), len(shares)
    if len(sizes) < num_parts:
        raise DataError(f"{len(sizes)} groups for {num_parts} parts: a group goes whole to one part, so some are empty")
    rng = np.random.default_rng(seed)
    holds = np.zeros((len(sizes), num_classes if present is not None else 0), np.int64)
    for unit, classes in zip(unit_of, present if present is not None else ()):
        holds[unit, classes] += 1
    targets = target_sizes(shares, len(unit_of))
    if sizes.max() == 1 and not holds.any():
        parts = np.empty(len(sizes), np.int64)
        parts[rng.permutation(len(sizes))] = np.repeat(np.arange(num_parts), targets)
        return parts[unit_of]
    state = _Dealing(sizes, holds, np.asarray(shares, np.float64), targets, rng)
    state.deal()
    state.repair()
    return state.parts[unit_of]


@dataclass
class _Dealing:
    """Groups on their way to parts.

    Attributes:
        sizes: int64 [G], items of each group.
        holds: int64 [G,K], items of each group that hold each class.
        shares: float64 [P].
        targets: int64 [P].
        rng: breaks ties.
    """

    sizes: np.ndarray
    holds: np.ndarray
    shares: np.ndarray
    targets: np.ndarray
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.parts = np.full(len(self.sizes), -1, np.int64)
        self.room = self.targets.astype(np.float64)
        self.left = len(self.sizes)
        self.used = np.zeros(len(self.shares), bool)
        # what each part should still get of each class, and how many groups of the class it has
        self.wanted = self.shares[:, None] * self.holds.sum(0)[None, :]
        self.cover = np.zeros((len(self.shares), self.holds.shape[1]), np.int64)
        shuffled = self.rng.permutation(len(self.sizes))
        self.order = shuffled[np.argsort(-self.sizes[shuffled], kind="stable")]  # the largest first

    def deal(self) -> None:
        """Deals every group, those of the rarest class first and those without a class last."""
        has, remaining = self.holds > 0, self.holds.shape[1]
        waiting = has.sum(0)
        while remaining:
            rarest = int(np.where(waiting > 0, waiting, np.iinfo(np.int64).max).argmin())
            if not waiting[rarest]:
                break
            for unit in self.order[has[self.order, rarest] & (self.parts[self.order] < 0)]:
                self._put(int(unit), rarest)
                waiting = waiting - has[unit]
            remaining -= 1
        for unit in self.order[self.parts[self.order] < 0]:
            self._put(int(unit), None)

    def _put(self, unit: int, rarest: int | None) -> None:
        """Chooses the part of a group: where its class is missing, then where most of it is wanted."""
        open_parts = self.room > 0
        if self.left <= (~self.used).sum():
            open_parts = ~self.used
        candidates = np.flatnonzero(open_parts)
        if rarest is not None:
            gaps = candidates[self.cover[candidates, rarest] == 0]
            if len(gaps):
                candidates = gaps[self.shares[gaps] >= self.shares[gaps].max() - SUM]
            candidates = _largest(self.wanted[candidates, rarest], candidates)
        candidates = _largest(self.room[candidates], candidates)
        part = int(self.rng.choice(candidates))
        self.parts[unit] = part
        self.room[part] -= self.sizes[unit]
        self.wanted[part] -= self.holds[unit]
        self.cover[part] += self.holds[unit] > 0
        self.used[part] = True
        self.left -= 1

    def repair(self) -> None:
        """Exchanges groups of equal size while that leaves fewer classes missing in a part that could have them."""
        has = self.holds > 0
        possible = has.sum(0) >= len(self.shares)
        for _ in range(MOST_REPAIRS):
            gaps = np.argwhere((self.cover == 0) & possible[None, :])
            if not any(self._exchange(has, int(part), int(label)) for part, label in gaps):
                return

    def _exchange(self, has: np.ndarray, part: int, label: int) -> bool:
        """Brings a group of a class into a part that has none of it; False where no exchange leaves fewer gaps."""
        inside = np.flatnonzero(self.parts == part)
        for unit in np.flatnonzero(has[:, label]):
            other = int(self.parts[unit])
            # of each group inside: which classes a part gains and loses by the exchange
            partners = inside[self.sizes[inside] == self.sizes[unit]]
            if not len(partners):
                continue
            change = has[unit].astype(np.int64) - has[partners]
            before = int((self.cover[part] == 0).sum() + (self.cover[other] == 0).sum())
            after = (self.cover[part] + change <= 0).sum(1) + (self.cover[other] - change <= 0).sum(1)
            best = int(after.argmin())
            if after[best] < before:
                self.cover[part] += change[best]
                self.cover[other] -= change[best]
                self.parts[unit], self.parts[partners[best]] = part, other
                return True
        return False


def _largest(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Those of the candidates whose value is the largest."""
    return of[values >= values.max() - SUM]

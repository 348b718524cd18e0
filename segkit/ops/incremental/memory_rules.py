"""Rules that choose the images a class step remembers for the next ones. n candidates, K classes."""

from collections.abc import Sequence

import numpy as np


def round_robin(
    shown: Sequence[Sequence[int]], classes: Sequence[int], size: int, rng: np.random.RandomState
) -> list[int]:
    """Lets the classes choose in turn, each the first candidate left that shows it: SSUL's rule.

    Candidates and the order of the classes are shuffled once. It ends where no candidate shows a class any more; the
    published code then never does.

    SSUL, Cha et al., NeurIPS 2021, https://arxiv.org/abs/2106.11562.

    Args:
        shown: of each of n candidates the classes it shows.
        classes: K classes that choose.
        size: candidates to choose at most.
        rng: of both shuffles.

    Returns:
        Indices of the chosen, grouped by the class that chose them, in the order of `classes`.
    """
    left, order = list(range(len(shown))), list(classes)
    rng.shuffle(left)
    rng.shuffle(order)
    taken: dict[int, list[int]] = {number: [] for number in classes}
    count, is_moving = 0, True
    while count < size and is_moving:
        is_moving = False
        for number in order:
            first = next((index for index in left if number in shown[index]), None)
            if first is None or count == size:
                continue
            left.remove(first)
            taken[number].append(first)
            count, is_moving = count + 1, True
    return [index for indices in taken.values() for index in indices]


def greedy(counts: np.ndarray, target: np.ndarray, size: int, start: np.ndarray | None = None) -> list[int]:
    """Adds one candidate after the other, each time the one that brings the classes' shares nearest to the target.

    Near is the sum of absolute differences; of equal ones the first is taken. BalConpas, Chen et al., ECCV 2024.

    Args:
        counts: int [n,K], how often each candidate shows each class, 0 or 1 for whether it does.
        target: float [K], shares of the classes that sum to 1.
        size: candidates to choose at most.
        start: int [K], counts of what is chosen already; None for nothing.

    Returns:
        Indices of the chosen in their order.
    """
    total = np.zeros(counts.shape[1]) if start is None else start.astype(np.float64)
    chosen: list[int] = []
    is_left = np.ones(len(counts), bool)
    for _ in range(min(size, len(counts))):
        sums = total + counts
        shares = sums / np.maximum(sums.sum(1, keepdims=True), 1e-12)
        distance = np.where(is_left, np.abs(shares - target).sum(1), np.inf)
        best = int(distance.argmin())
        total, is_left[best] = sums[best], False
        chosen.append(best)
    return chosen

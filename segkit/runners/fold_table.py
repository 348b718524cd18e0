"""Scores of the models of a cross-validation: mean, standard deviation and the interval of the mean. n folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.engine.evaluate import flat_scores

NO_SCORES = ("images", "images_per_second")
"""Numbers of an evaluation that say nothing about the model."""

LEVEL = 0.95
"""Of the interval."""


@dataclass(frozen=True)
class Spread:
    """A score over all folds.

    Attributes:
        values: of each fold.
        mean: of them.
        deviation: sample standard deviation, with n - 1.
        half: half the width of the interval that holds the mean of many such trainings with a probability of 95 %, by
            the t-distribution with n - 1 degrees of freedom. Folds share training images, so it is rather too narrow.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    half: float


def spread(values: Sequence[float]) -> Spread:
    """Computes the spread of a score; values: one of each fold, 2 or more."""
    from scipy.stats import t

    array, count = np.asarray(values, np.float64), len(values)
    deviation = float(array.std(ddof=1))
    half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * deviation / count**0.5
    return Spread(tuple(float(value) for value in values), float(array.mean()), deviation, half)


def spreads(scores: Sequence[dict[str, Any]]) -> dict[str, Spread]:
    """Computes the spread of every score that all folds have.

    Args:
        scores: what `evaluate` returned for each fold.
    """
    flat = [flat_scores(of_fold) for of_fold in scores]
    names = [name for name in flat[0] if name not in NO_SCORES and all(name in other for other in flat)]
    return {name: spread([of_fold[name] for of_fold in flat]) for name in names}


def rows(found: dict[str, Spread], ensemble: dict[str, float]) -> list[list[str]]:
    """Returns the cells of the table, the head first.

    Args:
        found: spreads by score.
        ensemble: scores of the ensemble on the test set; {} without one.
    """
    count = len(next(iter(found.values())).values)
    head = ["score", *(f"fold {number}" for number in range(count)), "mean", "std", "95 % interval"]
    table = [[*head, "ensemble, test"] if ensemble else head]
    for name, one in found.items():
        cells = [f"{value:.2f}" for value in (*one.values, one.mean, one.deviation)]
        cells.append(f"{one.mean - one.half:.2f} .. {one.mean + one.half:.2f}")
        if ensemble:
            cells.append(f"{ensemble[name]:.2f}" if name in ensemble else "")
        table.append([name, *cells])
    return table


def as_text(table: list[list[str]]) -> str:
    """Returns a table for a terminal."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))] for row in table
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in lines)


def as_markdown(table: list[list[str]]) -> str:
    """Returns a table in Markdown."""
    ruled = [table[0], ["---", *("---:" for _ in table[0][1:])], *table[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ruled)

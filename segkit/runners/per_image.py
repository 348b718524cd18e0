"""Scores of each image of an evaluation as a CSV file, the worst image first."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segkit import dist
from segkit.engine.hooks import Hook
from segkit.files import write_whole
from segkit.metrics.per_image import ImageScores, Row, in_order
from segkit.types import Batch, Prediction

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class PerImage(Hook):
    """Scores each image of an evaluation.

    Args:
        scores: of Runner.image_scores.
    """

    def __init__(self, scores: ImageScores):
        self.scores = scores
        self._rows: list[Row] = []

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        self._rows += self.scores.rows(predictions, batch)

    def ordered(self) -> list[Row]:
        """Returns the rows of all processes, the worst first; called on every process."""
        rows = [row for of_process in dist.gather_objects(self._rows) for row in of_process]
        return in_order(rows, self.scores.worst_first)

    def write(self, path: Path) -> None:
        """Writes the rows as CSV, numbers with 4 decimals and empty cells for what has no score; on every process."""
        rows = self.ordered()
        if dist.is_main():
            write_csv(path, rows)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows of equal columns as CSV in UTF-8; floats have 4 decimals at most, None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    write_whole(path, text.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return "" if value is None else value

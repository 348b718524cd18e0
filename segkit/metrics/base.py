"""Base class of metrics."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from segkit.types import Batch, WithArguments


class LabelledSet(Protocol):
    """What metrics of label maps read of a data set.

    Attributes:
        classes: K names.
        ignore: label of pixels that are not scored.
    """

    classes: tuple[str, ...]
    ignore: int


class AnnotatedSet(Protocol):
    """What metrics of instances read of a data set.

    Attributes:
        annotations: images, categories and annotations in COCO form.
    """

    annotations: dict[str, list[dict]]


class Metric(WithArguments):
    """Scores the predictions for a data set.

    An evaluation calls `start` and `reset`, then `update` with each batch, then `compute`. With several processes each
    updates a metric of its own, and `compute` scores what all of them have seen.

    Attributes:
        section: key under which the scores stand among those of other metrics; None puts them beside one another.
        main_score: the score that chooses best.pt where loop.monitor names none; None for any.
        lower_is_better: patterns of the scores whose lower values are better ("NoC@*"), () for none; higher values of
            all others are better. None where the metric does not say, and loop.better does.
    """

    section: str | None = None
    main_score: str | None = None
    lower_is_better: tuple[str, ...] | None = None

    def start(self, dataset: Any) -> None:
        """Reads what the metric needs of the data set: its classes and ignore value, or its annotations."""
        raise NotImplementedError(f"{type(self).__name__} has no start()")

    def reset(self) -> None:
        """Forgets all batches."""
        raise NotImplementedError(f"{type(self).__name__} has no reset()")

    def update(self, predictions: Sequence[Any], batch: Batch) -> None:
        """Takes the predictions of a batch.

        Args:
            predictions: one per image of the batch.
            batch: the batch, whose labels are at the images' original size.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def compute(self) -> dict[str, Any]:
        """Returns the scores as numbers, lists and dictionaries, ready for JSON; None where nothing can be scored."""
        raise NotImplementedError(f"{type(self).__name__} has no compute()")

    def empty_scores(self, dataset: Any) -> dict[str, Any]:
        """Returns what compute() returns before any batch: the names of the scores, known before a training begins.

        Args:
            dataset: that will be scored. It is not read beyond its classes.
        """
        self.start(dataset)
        self.reset()
        return self.compute()

    def matrix(self) -> Tensor | None:
        """Returns the confusion matrix, int64 [K,K], rows = truth; None for metrics that have none."""
        return None

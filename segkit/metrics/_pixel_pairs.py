"""Counts (truth, prediction) pairs of pixels and checks that every value is a class."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from segkit.files import DataError
from segkit.metrics._histogram import joint_histogram, joint_histogram_of_tensors
from segkit.types import Batch, ClickPrediction, Meta, SemanticPrediction

NOTHING_BAD = -(2**31)

LabelMap: TypeAlias = SemanticPrediction | ClickPrediction
"""Predictions with a label map, "labels" [H0,W0]."""

P = TypeVar("P")


class PixelPairs:
    """Counts the pairs of an image as a K x K matrix; rows = truth, columns = prediction.

    A value outside 0..K-1 is a ValueError with the image's id: at once on the CPU, in check() for tensors on a GPU,
    which is never waited for.

    Args:
        num_classes: K.
        ignore: value of the truth whose pixels are not counted, or None.
    """

    def __init__(self, num_classes: int, ignore: int | None):
        self.num_classes = num_classes
        self.ignore = ignore
        self._unchecked: list[tuple[str, Tensor]] = []

    def forget(self) -> None:
        """Drops what check() has not checked yet."""
        self._unchecked = []

    def of_batch(self, predictions: Sequence[LabelMap], batch: Batch) -> Iterator[tuple[Tensor, str]]:
        """Counts the images of a batch, one after the other.

        Args:
            predictions: B with "labels" [H0,W0].
            batch: "mask" holds B of [H0,W0].

        Yields:
            The matrix of an image, int64 [K,K], and its id.
        """
        for prediction, truth, image in labelled_images(predictions, batch):
            yield self.of_image(prediction["labels"], truth, image), image

    def of_image(self, labels: Tensor | np.ndarray, truth: Tensor | np.ndarray, image: str) -> Tensor:
        """Counts one image.

        Args:
            labels: predicted integers [H0,W0] of any layout.
            truth: true integers [H0,W0].
            image: id, for error messages.

        Returns:
            int64 [K,K] on the device of the labels.

        Raises:
            ValueError: the sizes differ, or a value is no class.
        """
        labels, truth = torch.as_tensor(labels), torch.as_tensor(truth)
        if labels.shape != truth.shape:
            raise ValueError(
                f"{image}: the prediction is of {tuple(labels.shape)} pixels, the truth of {tuple(truth.shape)}; "
                "must be of the same size"
            )
        if labels.device.type != "cpu":
            return self._on_any_device(labels, truth.to(labels.device, non_blocking=True), image)
        if self._fits_bytes(labels) and self._fits_bytes(truth):
            return self._on_bytes(labels.to(torch.uint8), truth.cpu().to(torch.uint8), image)
        counts = self._on_any_device(labels, truth.cpu(), image)
        self.check()
        return counts

    def check(self) -> None:
        """Checks the values counted on a GPU, which it waits for.

        Raises:
            ValueError: names the first image with a value outside the classes.
        """
        unchecked, self._unchecked = self._unchecked, []
        for image, values in unchecked:
            for what, value in zip(("label", "prediction"), values.tolist()):
                if value != NOTHING_BAD:
                    raise self._outside(image, what, value)

    def _fits_bytes(self, values: Tensor) -> bool:
        if values.dtype == torch.uint8 or not values.numel():
            return self.num_classes <= 256
        return self.num_classes <= 256 and int(values.min()) >= 0 and int(values.max()) <= 255

    def _on_bytes(self, labels: Tensor, truth: Tensor, image: str) -> Tensor:
        num_classes = self.num_classes
        if labels.numel() and int(labels.max()) >= num_classes:
            raise self._outside(image, "prediction", int(labels.max()))
        rows = joint_histogram(truth.numpy(), labels.numpy(), num_classes)
        if self.ignore is not None and 0 <= self.ignore < len(rows):
            rows[self.ignore] = 0
        if rows[num_classes:].any():
            raise self._outside(image, "label", num_classes + int(np.flatnonzero(rows[num_classes:].any(1))[0]))
        return torch.from_numpy(rows[:num_classes])

    def _on_any_device(self, labels: Tensor, truth: Tensor, image: str) -> Tensor:
        num_classes = self.num_classes
        labels, truth = labels.long(), truth.long()
        ignored = torch.zeros_like(truth, dtype=torch.bool) if self.ignore is None else truth == self.ignore
        bad_truth = ((truth < 0) | (truth >= num_classes)) & ~ignored
        bad_label = (labels < 0) | (labels >= num_classes)
        marked = ((bad_truth, truth), (bad_label, labels))
        worst = [torch.where(is_bad, values, NOTHING_BAD).max() for is_bad, values in marked]
        self._unchecked.append((image, torch.stack(worst)))
        rows = torch.where(ignored | bad_truth | bad_label, num_classes, truth)
        columns = labels.clamp(0, num_classes - 1)
        return joint_histogram_of_tensors(rows, columns, num_classes + 1, num_classes)[:num_classes]

    def _outside(self, image: str, what: str, value: int) -> ValueError:
        way_out = {
            "label": "name the missing classes, or map the value (label_map)",
            "prediction": "is the model of the same classes?",
        }
        known = f"there are {self.num_classes} (0..{self.num_classes - 1}), ignored is {self.ignore}"
        return ValueError(f"{image}: {what} {value} is outside the classes: {known}; {way_out[what]}")


def labelled_images(predictions: Sequence[P], batch: Batch) -> Iterator[tuple[P, Tensor, str]]:
    """Goes through the images of a batch.

    Yields:
        A prediction, its truth of batch["mask"] and its id of batch["meta"].

    Raises:
        DataError: the batch has no masks.
    """
    if batch.get("mask") is None:
        raise DataError("this metric needs labelled images, and the batch has no mask; score another split")
    metas = batch.get("meta") or [Meta() for _ in predictions]
    for i, (prediction, truth, meta) in enumerate(zip(predictions, batch["mask"], metas, strict=True)):
        yield prediction, truth, str(meta.get("id", f"image {i} of the batch"))

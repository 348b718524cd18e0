"""What takes the predictions of an evaluation in, image by image, for ImageRecord."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit import dist
from segkit.analysis.click_table import ClickTable
from segkit.analysis.label_table import LabelTable, counts_of
from segkit.analysis.matching import match_table
from segkit.analysis.record import ImageRecord
from segkit.analysis.regions import band_counts, region_counts
from segkit.metrics._pixel_pairs import PixelPairs, labelled_images
from segkit.metrics._rle_results import RleResults
from segkit.metrics._scores import class_indices
from segkit.metrics.base import AnnotatedSet, LabelledSet, Metric
from segkit.metrics.coco_ap import CocoAP
from segkit.metrics.confusion import Confusion
from segkit.metrics.noc import NoC
from segkit.types import Batch


class ImageRecorder:
    """Takes predictions in and gives a record; a subclass gives both methods."""

    def add(self, predictions: Sequence[Any], batch: Batch) -> None:
        """Takes the predictions of a batch."""
        raise NotImplementedError(f"{type(self).__name__} gives no add()")

    def result(self) -> ImageRecord:
        """Returns the record of the images of all processes, ordered by their names; called on every process."""
        raise NotImplementedError(f"{type(self).__name__} gives no result()")


class _LabelRow(NamedTuple):
    image: str
    path: str
    counts: np.ndarray
    bands: np.ndarray
    regions: np.ndarray


class LabelRecorder(ImageRecorder):
    """Counts the pixels of label maps: by class, by distance from outlines, and by the size of regions.

    Args:
        dataset: gives classes and the ignore value.
        metrics: of the evaluation; the first Confusion says which classes are in the means.
    """

    def __init__(self, dataset: LabelledSet, metrics: Sequence[Metric]):
        self.classes, self.ignore = tuple(map(str, dataset.classes)), dataset.ignore
        self._pairs = PixelPairs(len(self.classes), dataset.ignore)
        confusion = next((metric for metric in metrics if isinstance(metric, Confusion)), Confusion())
        self.absent, self.kept = confusion.absent, np.ones(len(self.classes), bool)
        self.kept[class_indices(confusion.exclude, self.classes, "Confusion.exclude")] = False
        self._rows: list[_LabelRow] = []

    def add(self, predictions: Sequence[Any], batch: Batch) -> None:
        images = labelled_images(predictions, batch)
        for (prediction, truth, image), meta in zip(images, batch["meta"], strict=True):
            labels, truth = torch.as_tensor(prediction["labels"]).cpu(), torch.as_tensor(truth).cpu()
            matrix = self._pairs.of_image(labels, truth, image).numpy()
            maps = (truth.numpy(), labels.numpy())
            bands = band_counts(*maps, len(self.classes), self.ignore)
            regions = region_counts(*maps, self.ignore)
            self._rows.append(_LabelRow(image, str(meta.get("path", "")), counts_of(matrix), bands, regions))

    def result(self) -> ImageRecord:
        rows = sorted((row for of_process in dist.gather_objects(self._rows) for row in of_process), key=_image)
        counts = np.stack([row.counts for row in rows])
        table = LabelTable(_names(rows), self.classes, counts, self.kept, self.absent)
        paths = tuple(row.path for row in rows)
        return ImageRecord(table, paths, np.stack([row.bands for row in rows]), np.stack([row.regions for row in rows]))


def _names(rows: Sequence[_LabelRow]) -> tuple[str, ...]:
    """Ids; paths where several images share an id, as in sets that were put together."""
    ids = tuple(row.image for row in rows)
    return ids if len(set(ids)) == len(ids) else tuple(row.path or row.image for row in rows)


class _ClickRow(NamedTuple):
    image: str
    path: str
    ious: np.ndarray
    area: int


class ClickRecorder(ImageRecorder):
    """Keeps the IoU after each click of clicked objects.

    Args:
        metrics: of the evaluation; the first NoC gives thresholds and limit.
    """

    def __init__(self, metrics: Sequence[Metric]):
        noc = next((metric for metric in metrics if isinstance(metric, NoC)), NoC())
        self.thresholds, self.limit = noc.thresholds, noc.limits[0]
        self._rows: list[_ClickRow] = []

    def add(self, predictions: Sequence[Any], batch: Batch) -> None:
        masks = batch.get("mask") or [torch.zeros(0)] * len(predictions)
        for prediction, meta, mask in zip(predictions, batch["meta"], masks, strict=True):
            ious = torch.as_tensor(prediction["ious"]).float().cpu().numpy()[: self.limit]
            self._rows.append(_ClickRow(str(meta["id"]), str(meta.get("path", "")), ious, int((mask == 1).sum())))

    def result(self) -> ImageRecord:
        rows = sorted((row for of_process in dist.gather_objects(self._rows) for row in of_process), key=_image)
        # objects without a path are units of their own
        names = [row.path or row.image for row in rows]
        images = tuple(sorted(set(names)))
        place = {name: number for number, name in enumerate(images)}
        ious = np.full((len(rows), self.limit), np.nan, np.float32)
        for i, row in enumerate(rows):
            ious[i, : len(row.ious)] = row.ious
        table = ClickTable(
            images,
            ("",) * len(images),
            tuple(row.image for row in rows),
            np.array([place[name] for name in names], np.int64),
            ious,
            np.array([row.area for row in rows], np.int64),
            self.thresholds,
            self.limit,
        )
        return ImageRecord(table, images)


class MatchRecorder(ImageRecorder):
    """Keeps detections, and matches them with the objects at the end.

    Args:
        dataset: gives annotations in COCO form.
        metrics: of the evaluation; the first CocoAP says whether masks or boxes are scored, and how many.
    """

    def __init__(self, dataset: AnnotatedSet, metrics: Sequence[Metric]):
        scored = [metric for metric in metrics if isinstance(metric, CocoAP) and not metric.filled]
        self.metric = next(iter(scored), CocoAP())
        self._results = RleResults(dataset.annotations, outlines=self.metric.iou_type == "segm")
        self._paths: dict[str, str] = {}

    def add(self, predictions: Sequence[Any], batch: Batch) -> None:
        self._results.add(predictions, batch)
        self._paths |= {str(meta["id"]): str(meta.get("path", "")) for meta in batch["meta"]}

    def result(self) -> ImageRecord:
        paths = {name: path for of_process in dist.gather_objects(self._paths) for name, path in of_process.items()}
        table = match_table(self._results, self.metric.iou_type, self.metric.max_detections)
        return ImageRecord(table, tuple(paths.get(name, "") for name in table.images))


def _image(row: _LabelRow | _ClickRow) -> tuple[str, str]:
    """By id, and by path where sets that were put together share ids: the same order on any number of processes."""
    return row.image, row.path

"""LVIS v1 for training with clicks. Gupta, Dollar, Girshick, CVPR 2019, https://www.lvisdataset.org."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.coco_json import check_segmentations, draw, image_size, read_coco
from segkit.data.files.flat_index import cached_index
from segkit.data.files.lvis import lvis_file
from segkit.data.files.outlines import reason
from segkit.data.files.pairs import choose_split
from segkit.data.interactive.base import ClickTraining, Packed, in_layers
from segkit.data.interactive.coco import Names
from segkit.files import DataError, brief, shortened
from segkit.registry import DATASETS
from segkit.types import ClickObject

MOST_COVERED = 0.5
"""An object is left out where more than this share of it, or of an earlier one below it, would be covered."""


def name_of(image: dict) -> str:
    """Name without suffix of an entry of "images"."""
    return PurePosixPath(image.get("coco_url") or image["file_name"]).stem


def filled(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """Draws a mask as the published code does: corners rounded to pixels, each polygon filled with its outline.

    Args:
        segmentation: list of polygons, or a run-length code, which is decoded.
        size: (H, W) of the image.

    Returns:
        bool [H,W].
    """
    if isinstance(segmentation, dict):
        return draw(segmentation, *size)
    mask = np.zeros(size, np.uint8)
    for polygon in segmentation:
        corners = np.round(np.asarray(polygon, np.float64).reshape(-1, 2)).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1)
    return mask.astype(bool)


def records(path: Path) -> Iterator[bytes]:
    """Reads an annotation file and yields one record for each image with annotations.

    Yields:
        A line of JSON with [name, height, width], then a line with [annotation id, segmentation] of each annotation.
    """
    lvis = read_coco(path)
    check_segmentations(lvis)
    for image in lvis.images:
        try:
            rows = [[entry["id"], entry["segmentation"]] for entry in lvis.annotations[image["id"]]]
            head = [name_of(image), *image_size(image, path)]
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path}, image {brief(image.get('id'))}: {reason(error)}; no annotations of LVIS"
            ) from error
        if rows:
            yield json.dumps(head).encode() + b"\n" + json.dumps(rows).encode()


def without_covered(masks: Sequence[np.ndarray], order: Sequence[int]) -> tuple[np.ndarray, list[int]]:
    """Draws masks over one another and leaves out those that overlap too much.

    A mask is left out where more than half of it is covered already, or where it would cover more than half of what is
    visible of an earlier one.

    Args:
        masks: bool [H,W] each.
        order: in which the masks are drawn, later ones over earlier ones.

    Returns:
        int32 [H,W] with n + 1 where mask n is visible, and the numbers of the masks that were drawn.
    """
    drawn, kept = np.zeros(masks[0].shape, np.int32), []
    areas = np.zeros(len(masks) + 1, np.int64)
    for number in order:
        mask = masks[number]
        area = int(np.count_nonzero(mask))
        if area == 0:
            continue
        below = np.bincount(drawn[mask], minlength=len(areas))
        hidden = np.flatnonzero(below[1:]) + 1
        covered = [below[1:].sum() / area, *(below[label] / areas[label] for label in hidden)]
        if max(covered) > MOST_COVERED:
            continue
        areas -= np.where(np.arange(len(areas)) > 0, below, 0)
        areas[number + 1] = area
        drawn[mask] = number + 1
        kept.append(number)
    return drawn, kept


@DATASETS.register
class LVISClicks(ClickTraining):
    """The objects of LVIS v1: 100,170 train or 19,809 val images.

    Files below root: <split>/lvis_<split>.json (or lvis_v1_<split>.json) and <split>/images/NAME.jpg with the names of
    the images' COCO addresses. Objects lie in one layer, drawn over one another in random order.

    Args:
        root: folder of the data set.
        split: "train" or "val".

    Raises:
        DataError: the annotation file is missing or has no object.
    """

    folder = "lvis"

    def __init__(self, root: str | None = None, split: str = "train"):
        choose_split(split, ("train", "val"), "LVISClicks")
        base = resolve_root(root, self.folder)
        self._file, self._images = lvis_file(base, split), base / split / "images"
        self._index = cached_index([self._file], "lvis polygons 2", partial(records, self._file))
        if not len(self._index):
            raise DataError(f"{self._file}: no image has an object")
        self.ids = Names(np.array([json.loads(record.partition(b"\n")[0])[0] for record in self._index]))

    def path(self, index: int) -> str:
        return str(self._images / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return f"{self._file}, image {self.ids[index]}"

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Draws the image's objects by annotation id; rng chooses which one is drawn over which."""
        head, _, rows = self._index[index].partition(b"\n")
        _, *size = json.loads(head)
        annotation_ids, segmentations = zip(*json.loads(rows))
        try:
            masks = [filled(segmentation, tuple(size)) for segmentation in segmentations]
        except (TypeError, ValueError, KeyError, IndexError, cv2.error) as error:
            raise DataError(
                f"{self.mask_path(index)}: a segmentation cannot be drawn ({shortened(error, 200)})"
            ) from error
        drawn, kept = without_covered(masks, rng.permutation(len(masks)).tolist())
        layers, slots = in_layers(drawn.astype(np.uint16), [number + 1 for number in kept])
        objects = {annotation_ids[number]: ClickObject(*slot) for number, slot in zip(kept, slots)}
        return Packed(layers, objects, [])

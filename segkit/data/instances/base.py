"""Data sets of object instances: boxes and labels to learn from, masks only where they are asked for. n objects, H W
image, K classes."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.coco_json import to_rle
from segkit.data.files.flat_index import FlatIndex
from segkit.data.files.images import read_image
from segkit.data.files.pairs import some
from segkit.files import DataError
from segkit.registry import did_you_mean
from segkit.types import Sample, default_palette

SMALLEST_SIDE = 32
"""Images with a shorter side are not trained on, as in mmdetection."""


class Source(NamedTuple):
    """Where the annotations come from. place: the file, for messages; boxes: record 0 is the JSON list of category
    entries, record i + 1 the JSON of [image entry, rows] with a Row per object; masks: -> an index whose record i is
    the JSON list of the segmentations of these rows (None where there is none); it is called where masks are read."""

    place: str
    boxes: FlatIndex
    masks: Callable[[], FlatIndex]


class Row(NamedTuple):
    """One object without its outline; x, y, w, h in pixels, as in COCO's bbox."""

    number: int | str | None
    category: int
    crowd: int
    area: float
    x: float
    y: float
    w: float
    h: float


class Instances(Dataset):
    """Images with boxes, labels, crowd marks and, on request, masks of n objects each.

    classes: names to keep, which become labels 0..K-1 in this order (None: all of the source in its order); objects of
    other classes are left out. Boxes with area <= 0, w < 1 or h < 1 and those wholly outside the image are left out,
    the others cut at its border.
    filtered: for training: crowds are left out, and images with a side below 32 pixels or without a box.
    boxes_only: samples hold no masks, and the segmentations are never looked at.
    """

    def __init__(
        self,
        source: Source,
        images: Path,
        *,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: bool = True,
    ):
        self._source, self._images, self._filtered = source, images, filtered
        self._categories = chosen(json.loads(source.boxes[0]), classes, source.place)
        self._labels = {one["id"]: label for label, one in enumerate(self._categories)}
        self.classes = tuple(one["name"] for one in self._categories)
        self.palette = default_palette(len(self.classes) + 1)[1:]
        self._masks = None if boxes_only else source.masks()
        total = len(source.boxes) - 1
        kept = [(number, head) for number, head, rows in self._records(range(total)) if self._is_kept(head, rows)]
        if not kept:
            why = f"none of {total} images has a box of these classes and {SMALLEST_SIDE} pixels a side"
            raise DataError(f"{source.place}: {why if filtered else 'no image is listed'}")
        self._numbers = np.array([number for number, _ in kept], np.int64)
        self.sizes = np.array([(head["height"], head["width"]) for _, head in kept], np.int32)
        """int32 [images, 2] of (H, W), for samplers."""
        self.ids = [str(head["id"]) for _, head in kept]
        self._files = [head["file_name"] for _, head in kept]
        if missing := missing_files(images, self._files):
            raise DataError(f"{images}: {len(missing)} of {len(kept)} images are missing: {some(missing)}; set images")
        if len(kept) < total:
            self.notes = (f"{total - len(kept)} of {total} images are left out: no box, or a side below 32 pixels",)

    def _records(self, numbers: Iterable[int]) -> Iterator[tuple[int, dict, list[Row]]]:
        for number in numbers:
            head, rows = json.loads(self._source.boxes[int(number) + 1])
            yield number, head, [Row(*row) for row in rows]

    def _is_kept(self, head: dict, rows: list[Row]) -> bool:
        if not self._filtered:
            return True
        return min(head["height"], head["width"]) >= SMALLEST_SIDE and bool(self._usable(head, rows))

    def _usable(self, head: dict, rows: list[Row]) -> list[int]:
        """-> places of the rows that a sample holds."""
        return [
            place
            for place, row in enumerate(rows)
            if row.category in self._labels
            and not (row.crowd and self._filtered)
            and row.area > 0
            and row.w >= 1
            and row.h >= 1
            and min(row.x + row.w, head["width"]) > max(row.x, 0)
            and min(row.y + row.h, head["height"]) > max(row.y, 0)
        ]

    def path(self, index: int) -> str:
        return str(self._images / self._files[index])

    def mask_path(self, index: int) -> str:
        return f"{self._source.place}, image {self.ids[index]}"

    def image(self, index: int) -> np.ndarray:
        """-> uint8 [H,W,3] RGB."""
        return read_image(self.path(index))

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> image, boxes float32 [n,4], labels int64 [n], crowd bool [n], and masks, n compressed RLE, unless
        boxes_only; meta["id"] is the image's id as text."""
        image = self.image(index)
        size = image.shape[:2]
        number, head, rows = next(self._records([self._numbers[index]]))
        self.check_size(index, (head["height"], head["width"]), size)
        places = self._usable(head, rows)
        boxes = np.array([rows[place][4:] for place in places], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sample = Sample(
            image=image,
            boxes=np.clip(boxes, 0, np.array(size[::-1] * 2)).astype(np.float32),
            labels=np.array([self._labels[rows[place].category] for place in places], np.int64),
            crowd=np.array([rows[place].crowd for place in places], bool),
            meta=dict(id=self.ids[index], path=self.path(index), size=size),
        )
        if self._masks is not None:
            segmentations = json.loads(self._masks[int(number)])
            sample["masks"] = [
                as_rle(segmentations[place], size, f"{self._source.place}, annotation {rows[place].number}")
                for place in places
            ]
        return sample

    def areas(self, index: int) -> list[float]:
        """-> the annotated area, in pixels, of each object that the sample holds."""
        _, head, rows = next(self._records([self._numbers[index]]))
        return [rows[place].area for place in self._usable(head, rows)]

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """The truth in COCO form for CocoAP, VocAP and LvisAP, with outlines as RLE where there are any; categories in
        the order of the labels, crowds and boxes of any size included. It is read anew at each call."""
        masks = self._source.masks() if self._masks is None else self._masks
        images, annotations = [], []
        for number, head, rows in self._records(self._numbers):
            images.append(head)
            size = (head["height"], head["width"])
            for row, outline in zip(rows, json.loads(masks[int(number)]), strict=True):
                if row.category in self._labels:
                    place = f"{self._source.place}, annotation {row.number}"
                    outline = None if outline is None else as_rle(outline, size, place)
                    annotations.append(annotation(row, head["id"], outline))
        return dict(images=images, categories=self._categories, annotations=annotations)


def annotation(row: Row, image_id: int | str, segmentation: dict | None) -> dict:
    """-> an entry of COCO's annotations; without an outline it has no "segmentation"."""
    entry = dict(
        id=row.number, image_id=image_id, category_id=row.category, iscrowd=row.crowd, area=row.area, bbox=[*row[4:]]
    )
    return entry if segmentation is None else dict(entry, segmentation=segmentation)


def chosen(categories: list[dict], classes: Sequence[str] | None, place: str) -> list[dict]:
    """-> the category entries of these names in their order; None: all. DataError for a name that is not there."""
    by_name = {one["name"]: one for one in categories}
    if classes is None:
        return categories
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{place}: classes = {classes!r}: at least one name, none of them twice")
    for name in classes:
        if name not in by_name:
            known = ", ".join([*by_name][:8]) + (" ..." if len(by_name) > 8 else "")
            raise DataError(f"{place}: no category '{name}'{did_you_mean(name, by_name)}; there are {known}")
    return [by_name[name] for name in classes]


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """-> the names (paths below folder) without a file; each folder is listed once."""
    there: dict[Path, set[str]] = {}
    missing = []
    for name in names:
        path = folder / name
        if path.parent not in there:
            there[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
        if path.name not in there[path.parent]:
            missing.append(name)
    return missing


def as_rle(segmentation: list | dict | None, size: tuple[int, int], place: str) -> dict:
    """-> compressed RLE of size (H, W); polygons of fewer than three corners draw nothing. DataError where there is no
    outline, it cannot be drawn or is of another size."""
    from pycocotools import mask as coco_mask

    if segmentation is None:
        raise DataError(f"{place}: it has no segmentation; set boxes_only=True to learn from boxes alone")
    try:
        if not isinstance(segmentation, list | dict):
            raise TypeError(f"{segmentation!r} is neither polygons nor RLE")
        if isinstance(segmentation, list):
            segmentation = [polygon for polygon in segmentation if len(polygon) >= 6]
        rle = to_rle(segmentation, *size) if segmentation else coco_mask.encode(np.zeros(size, np.uint8, order="F"))
        found = tuple(rle["size"])
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{place}: the segmentation cannot be drawn ({error})") from error
    if found != tuple(size):
        raise DataError(f"{place}: a mask of {found[1]}x{found[0]} pixels for an image of {size[1]}x{size[0]}")
    return rle

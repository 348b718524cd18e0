"""Base class of data sets of object instances: boxes and labels, and masks only where they are asked for.

n objects, H W image, K classes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.coco_json import to_rle
from segkit.data.files.images import read_image
from segkit.data.files.named import find_named
from segkit.data.files.outlines import reason
from segkit.files import DataError
from segkit.ops.instances.box_masks import box_masks
from segkit.registry import did_you_mean
from segkit.types import RLE, Meta, Sample, default_palette

BoxesOnly: TypeAlias = bool | Literal["mixed"]
"""Whether samples hold no masks; "mixed": they hold the outlines of those objects that have one."""

SMALLEST_SIDE = 32
"""Images with a shorter side are not trained on, as in mmdetection."""


class Source(NamedTuple):
    """The annotations of a data set, as two indices of JSON records.

    Args:
        path: the annotation file, for messages.
        boxes: record 0 is the list of category entries, record i + 1 is [image entry, rows] with the values of a
            BoxAnnotation per row.
        masks: opens an index whose record i is the list of the segmentations of these rows, None where there is none.
            It is called only where masks are read.
        qualities: opens an index whose record i is the list of what the file says of the quality of these outlines,
            0..1 or None each. None: nothing is said.
        points: opens an index whose record i is the list of [coordinates, labels] of the labelled points of these rows.
            It is called only where points are read; None where the source has none.
    """

    path: str
    boxes: Sequence[bytes]
    masks: Callable[[], Sequence[bytes]]
    qualities: Callable[[], Sequence[bytes]] | None = None
    points: Callable[[], Sequence[bytes]] | None = None


class BoxAnnotation(NamedTuple):
    """One annotated object without its outline.

    Args:
        number: id of the annotation.
        category: id of its category in the file.
        crowd: 1 for a crowd, otherwise 0.
        area: annotated area in pixels.
        x: left side of the box in pixels, as in COCO's bbox.
        y: upper side of the box.
        w: width of the box.
        h: height of the box.
    """

    number: int | str | None
    category: int
    crowd: int
    area: float
    x: float
    y: float
    w: float
    h: float


class InstanceDataset(Dataset):
    """Images with boxes, labels, crowd marks and, on request, masks of n objects each.

    Objects of other classes, boxes with area <= 0, w < 1 or h < 1 and boxes wholly outside the image are left out; the
    others are cut at the image's border.

    Args:
        source: the annotations.
        images: folder of the images.
        classes: names of the classes to keep, which become labels 0..K-1 in this order. None keeps all classes of the
            source in its order.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks, and the segmentations are never read. "mixed": objects may have an outline or
            none; samples hold `masks`, the filled box where there is no outline, and `mask_quality`, 0 there.
        outside: whether file names may lead out of `images`.
        points: samples hold labelled points.

    Raises:
        DataError: no image is left, a file name leads out of the folder, images are missing, a class is not in the
            source, or points are asked of a source without.
    """

    def __init__(
        self,
        source: Source,
        images: Path,
        *,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: BoxesOnly = True,
        outside: bool = False,
        points: bool = False,
    ):
        self._source, self._images, self._filtered = source, images, filtered
        self._categories = chosen(json.loads(source.boxes[0]), classes, source.path)
        self._labels = {category["id"]: label for label, category in enumerate(self._categories)}
        self.classes = tuple(category["name"] for category in self._categories)
        self.palette = default_palette(len(self.classes) + 1)[1:]
        self._masks = None if boxes_only is True else source.masks()
        self._is_mixed = boxes_only == "mixed"
        self._qualities = source.qualities() if self._is_mixed and source.qualities is not None else None
        if points and source.points is None:
            raise DataError(f"{source.path}: this data set holds no labelled points; leave out points=True")
        self._points = source.points() if points and source.points is not None else None
        total = len(source.boxes) - 1
        kept = [(number, head) for number, head, rows in self._records(range(total)) if self._is_kept(head, rows)]
        if not kept:
            why = f"none of {total} images has a box of these classes and {SMALLEST_SIDE} pixels a side"
            raise DataError(f"{source.path}: {why if filtered else 'no image is listed'}")
        self._numbers = np.array([number for number, _ in kept], np.int64)
        self.sizes = np.array([(head["height"], head["width"]) for _, head in kept], np.int32)
        """int32 [images, 2] of (H, W), for samplers."""
        self.image_ids = [head["id"] for _, head in kept]
        self.ids = [str(number) for number in self.image_ids]
        self._files = self.find_files([head["file_name"] for _, head in kept], outside=outside)
        if len(kept) < total:
            self.notes = (f"{total - len(kept)} of {total} images are left out: no box, or a side below 32 pixels",)

    def find_files(self, names: Sequence[str], *, outside: bool) -> list[str]:
        """Finds the files of the images below their folder, see find_named."""
        return find_named(self._images, names, self._source.path, outside=outside)

    def _records(self, numbers: Iterable[int]) -> Iterator[tuple[int, dict, list[BoxAnnotation]]]:
        for number in numbers:
            head, rows = json.loads(self._source.boxes[int(number) + 1])
            yield number, head, [BoxAnnotation(*row) for row in rows]

    def _is_kept(self, head: dict, rows: list[BoxAnnotation]) -> bool:
        if not self._filtered:
            return True
        return min(head["height"], head["width"]) >= SMALLEST_SIDE and bool(self._usable(head, rows))

    def _usable(self, head: dict, rows: list[BoxAnnotation]) -> list[int]:
        """Indices of the rows that a sample holds."""
        return [
            index
            for index, row in enumerate(rows)
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
        return f"{self._source.path}, image {self.ids[index]}"

    def image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 or float32 [H,W,3] RGB."""
        return read_image(self.path(index), **self.reading._asdict())

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads an image and its objects; rng is not used.

        Returns:
            image, boxes float32 [n,4], labels int64 [n], crowd bool [n], meta (its id is the image's id as text);
            unless boxes_only, masks, n compressed run-length codes; with `points`, points float32 [n,P,2], the centres
            of the labelled pixels, and point_labels int8 [n,P], -1 where an object has fewer points than others.
        """
        image, _ = self.filled(index)
        height, width = image.shape[:2]
        number, head, rows = next(self._records([self._numbers[index]]))
        self.check_size(index, (head["height"], head["width"]), (height, width))
        usable = self._usable(head, rows)
        boxes = np.array([rows[row][4:] for row in usable], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sample = Sample(
            image=image,
            boxes=np.clip(boxes, 0, np.array((width, height) * 2)).astype(np.float32),
            labels=np.array([self._labels[rows[row].category] for row in usable], np.int64),
            crowd=np.array([rows[row].crowd for row in usable], bool),
            meta=Meta(id=self.ids[index], path=self.path(index), size=(height, width)),
        )
        if self._masks is not None:
            segmentations = json.loads(self._masks[int(number)])
            outlines = [segmentations[row] for row in usable]
            if self._is_mixed:
                said = [None] * len(rows) if self._qualities is None else json.loads(self._qualities[int(number)])
                quality = [0.0 if segmentations[row] is None else said[row] for row in usable]
                sample["mask_quality"] = np.array([1.0 if value is None else value for value in quality], np.float32)
                outlines = with_boxes(outlines, sample["boxes"], (height, width))
            sample["masks"] = [
                as_rle(outline, (height, width), f"{self._source.path}, annotation {rows[row].number}")
                for row, outline in zip(usable, outlines)
            ]
        if self._points is not None:
            records = json.loads(self._points[int(number)])
            sample["points"], sample["point_labels"] = _point_arrays([records[row] for row in usable])
        return sample

    def objects(self) -> Iterator[tuple[int, BoxAnnotation]]:
        """Yields the index of the image, and the annotation, of each object that the samples hold."""
        for index, (_, head, rows) in enumerate(self._records(self._numbers)):
            for row in self._usable(head, rows):
                yield index, rows[row]

    def areas(self, index: int) -> list[float]:
        """Annotated area, in pixels, of each object that the sample holds."""
        _, head, rows = next(self._records([self._numbers[index]]))
        return [rows[row].area for row in self._usable(head, rows)]

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """Ground truth in COCO's format for CocoAP, VocAP and LvisAP, read anew at each call.

        Categories come in the order of the labels; outlines are run-length codes where there are any. Crowds and boxes
        of any size are included.
        """
        masks = self._source.masks() if self._masks is None else self._masks
        images, annotations = [], []
        for number, head, rows in self._records(self._numbers):
            images.append(head)
            size = (head["height"], head["width"])
            for row, outline in zip(rows, json.loads(masks[int(number)]), strict=True):
                if row.category in self._labels:
                    source = f"{self._source.path}, annotation {row.number}"
                    outline = None if outline is None else as_rle(outline, size, source)
                    annotations.append(annotation(row, head["id"], outline))
        return dict(images=images, categories=self._categories, annotations=annotations)


def with_boxes(outlines: list, boxes: np.ndarray, size: tuple[int, int]) -> list:
    """Puts filled boxes in the place of outlines that are missing.

    They move with the image as a mask does, so that transforms leave out the same objects as without masks.

    Args:
        outlines: n segmentations of COCO's format, None where there is none.
        boxes: float32 [n,4] x0, y0, x1, y1.
        size: (H, W) of the image.

    Returns:
        n segmentations.
    """
    from pycocotools import mask as coco_mask

    return [
        coco_mask.encode(np.asfortranarray(box_masks(box[None], size)[0])) if outline is None else outline
        for outline, box in zip(outlines, boxes)
    ]


def _point_arrays(records: list[list]) -> tuple[np.ndarray, np.ndarray]:
    """The points float32 [n,P,2] and labels int8 [n,P] of [coordinates in whole pixels, labels] of n objects."""
    most = max((len(labels) for _, labels in records), default=0)
    points, labels = np.zeros((len(records), most, 2), np.float32), np.full((len(records), most), -1, np.int8)
    for place, known, (coordinates, values) in zip(points, labels, records):
        if values:
            place[: len(values)], known[: len(values)] = np.array(coordinates, np.float32) + 0.5, values
    return points, labels


def annotation(row: BoxAnnotation, image_id: int | str, segmentation: RLE | None) -> dict:
    """Makes an entry of COCO's annotations.

    Args:
        row: the annotation without its outline.
        image_id: id of its image in the file.
        segmentation: run-length code of the outline; None makes an entry without "segmentation".
    """
    entry = dict(
        id=row.number, image_id=image_id, category_id=row.category, iscrowd=row.crowd, area=row.area, bbox=[*row[4:]]
    )
    return entry if segmentation is None else dict(entry, segmentation=segmentation)


def chosen(categories: list[dict], classes: Sequence[str] | None, source: str) -> list[dict]:
    """Selects categories by name.

    Args:
        categories: entries of the annotation file.
        classes: names in the order that the labels shall have; None selects all entries.
        source: file, for error messages.

    Raises:
        DataError: a name is not in the file or listed twice, or there is no name.
    """
    by_name = {category["name"]: category for category in categories}
    if classes is None:
        return categories
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{source}: classes = {classes!r}: must be at least one name, none of them twice")
    for name in classes:
        if name not in by_name:
            known = ", ".join([*by_name][:8]) + (" ..." if len(by_name) > 8 else "")
            raise DataError(f"{source}: no category '{name}'{did_you_mean(name, by_name)}; available: {known}")
    return [by_name[name] for name in classes]


def as_rle(segmentation: list | dict | None, size: tuple[int, int], source: str) -> RLE:
    """Converts a segmentation of COCO's format to a compressed run-length code.

    Args:
        segmentation: polygons, or a run-length code; an empty list is an object of no pixel.
        size: (H, W) of the image.
        source: file and annotation, for error messages.

    Raises:
        DataError: there is no segmentation, or it cannot be drawn.
    """
    if segmentation is None:
        raise DataError(
            f"{source}: it has no segmentation; set boxes_only=True to learn from boxes alone, or boxes_only='mixed' "
            "to learn from the masks of the other objects too"
        )
    try:
        return to_rle(segmentation, *size)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{source}: the segmentation cannot be drawn ({reason(error)})") from error

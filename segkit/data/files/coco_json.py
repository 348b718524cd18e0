"""COCO annotation files: reading and checking them, and segmentations as masks.

Format: https://cocodataset.org/#format-data
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segkit.files import MAX_PIXELS, DataError, brief, limit, parse_json, read_bytes, shortened
from segkit.types import RLE


class CocoFile(NamedTuple):
    """The content of an annotation file.

    Attributes:
        path: the file.
        images: the image entries in the file's order.
        annotations: the annotation entries of each image id.
        names: the name of each category id.
        categories: the category entries in the file's order.
    """

    path: str
    images: list[dict]
    annotations: dict[Any, list[dict]]
    names: dict[int, str]
    categories: list[dict]


def read_coco(path: str | Path) -> CocoFile:
    """Reads a COCO JSON file and groups its annotations by image.

    Args:
        path: the file.

    Raises:
        DataError: where it is no such file, or an annotation belongs to an image or category that is not listed.
    """
    content = parse_json(read_bytes(path), path)
    missing = (
        [key for key in ("images", "categories") if key not in content] if isinstance(content, dict) else ["images"]
    )
    if missing:
        raise DataError(
            f"{path}: no COCO annotations: '{missing[0]}' is missing; expected images, annotations, categories"
        )
    try:
        names, groups = _grouped(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: {brief(error)}: images need an id, categories an id and a name, annotations an image_id and "
            "a category_id"
        ) from error
    return CocoFile(str(path), content["images"], groups, names, content["categories"])


def _grouped(content: dict, path: str | Path) -> tuple[dict[int, str], dict[Any, list[dict]]]:
    """The name of each category id, and the annotations of each image id."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    for what, values in (("id", names), ("name", set(names.values()))):
        if len(values) < len(content["categories"]):
            raise DataError(f"{path}: two categories have the same {what}; each needs its own")
    groups: dict[Any, list[dict]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content.get("annotations", ()):
        for key, known in (("image_id", groups), ("category_id", names)):
            if entry[key] not in known:
                word = key.removesuffix("_id")
                has = "is of" if word == "image" else "has"
                number, value = brief(entry.get("id")), brief(entry[key])
                raise DataError(f"{path}: annotation {number} {has} {word} {value}, which is not listed")
        groups[entry["image_id"]].append(entry)
    return names, groups


def image_size(image: dict, path: str | Path) -> tuple[int, int]:
    """Reads the size that an entry of "images" declares.

    Args:
        image: the entry.
        path: the annotation file, for the error.

    Returns:
        (H, W) in pixels.

    Raises:
        DataError: they are no whole numbers above 0, or more pixels than SEGKIT_MAX_PIXELS.
        KeyError, TypeError, ValueError: one is missing or no number.
    """
    height, width = int(image["height"]), int(image["width"])
    if height < 1 or width < 1 or height * width > limit(MAX_PIXELS):
        raise DataError(
            f"{path}, image {brief(image.get('id'))}: height {shortened(height, 20)} and width "
            f"{shortened(width, 20)} are no size of an image; at most {limit(MAX_PIXELS):,} pixels ({MAX_PIXELS[0]})"
        )
    return height, width


LONGEST_OUTLINE = 10_000_000
"""Pixels of all outlines of an object at most; drawing takes memory for each."""


def _check_drawable(segmentation: list | dict, height: int, width: int) -> None:
    """ValueError where drawing a segmentation would take memory far beyond the size of its image."""
    if isinstance(segmentation, dict):
        size, counts = segmentation["size"], segmentation["counts"]
        if not isinstance(size, list | tuple) or [*size] != [height, width]:
            size = [int(side) for side in size]
            if len(size) != 2 or min(size) < 1 or size[0] * size[1] > limit(MAX_PIXELS):
                raise ValueError(f"its run-length code has the size {shortened(size, 50)}")
        if isinstance(counts, str | bytes):
            counts = _run_lengths(counts)
        if isinstance(counts, list) and (min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]):
            raise ValueError("its run lengths do not add up to the pixels of its size")
        return
    length = 0.0
    for polygon in segmentation:
        corners = np.asarray(polygon, np.float64).reshape(-1)
        if not np.isfinite(corners).all():
            raise ValueError("a corner is not finite")
        length += float(np.abs(np.diff(corners[: len(corners) // 2 * 2].reshape(-1, 2), axis=0)).sum())
        if length > LONGEST_OUTLINE or np.abs(corners).max(initial=0) > 10 * LONGEST_OUTLINE:
            raise ValueError("its corners lie far outside of the image")


def _run_lengths(counts: str | bytes) -> list[int]:
    """The run lengths of a compressed code: groups of 5 bits from low to high, and differences from the fourth on."""
    digits = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or not len(ends) or ends[-1] != len(digits) - 1:
        raise ValueError("its run-length code is damaged")
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > 7:
        raise ValueError("its run-length code is damaged")
    places = np.arange(len(digits)) - np.repeat(starts, sizes)
    runs = np.add.reduceat((digits & 31) << 5 * places, starts)
    runs -= np.where(digits[ends] & 16, 1 << 5 * sizes, 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs.tolist()


def to_rle(segmentation: list | dict, height: int, width: int) -> RLE:
    """Encodes a segmentation.

    Args:
        segmentation: a list of polygons, or uncompressed or compressed RLE.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        Compressed RLE, dict(size=[H, W], counts=bytes).
    """
    from pycocotools import mask as coco_mask

    _check_drawable(segmentation, height, width)
    if isinstance(segmentation, dict):
        is_raw = isinstance(segmentation["counts"], list)
        return coco_mask.frPyObjects(segmentation, height, width) if is_raw else segmentation
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def row_of(mask: np.ndarray) -> dict:
    """Describes a mask as the fields of a COCO annotation.

    Args:
        mask: [H,W], not 0 where the object is, with at least one such pixel.

    Returns:
        area in pixels, tight bbox [x, y, w, h], and segmentation as RLE whose counts are text, as JSON needs it.
    """
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return dict(
        area=int(coco_mask.area(rle)),
        bbox=[int(side) for side in coco_mask.toBbox(rle)],
        segmentation=dict(size=[int(side) for side in rle["size"]], counts=rle["counts"].decode("ascii")),
    )


def draw(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Draws the segmentation of one annotation.

    Args:
        segmentation: as for `to_rle`. Polygons of fewer than three corners, and an empty list, draw nothing.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        bool [H,W].
    """
    from pycocotools import mask as coco_mask

    polygons = segmentation
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]  # fewer than three corners have no area
    if not polygons:
        return np.zeros((height, width), bool)
    return coco_mask.decode(to_rle(polygons, height, width)).astype(bool)

"""COCO annotation files: reading and checking them, and segmentations as masks.

Format: https://cocodataset.org/#format-data
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segkit.data.files.images import read_bytes
from segkit.files import DataError
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
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, UnicodeDecodeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: no valid JSON ({error}); copy the file again") from error
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
            f"{path}: {error!r}: images need an id, categories an id and a name, annotations an image_id and a "
            "category_id"
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
                raise DataError(f"{path}: annotation {entry.get('id')} {has} {word} {entry[key]}, which is not listed")
        groups[entry["image_id"]].append(entry)
    return names, groups


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

"""COCO annotation files: reading and checking them, and segmentations as masks.

Format: https://cocodataset.org/#format-data
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segkit.data.files.outlines import check_segmentation, reason, whole_number
from segkit.files import MAX_PIXELS, DataError, brief, limit, parse_json, read_bytes, shortened
from segkit.types import RLE


class CocoFile(NamedTuple):
    """The content of an annotation file.

    Attributes:
        path: the file.
        images: the image entries in the file's order; their ids are unique.
        annotations: the annotation entries of each image id; their ids are unique, and an entry without one has a free
            number.
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
        DataError: where it is no such file, two images, annotations or categories have the same id, or an annotation
            belongs to an image or category that is not listed.
    """
    return coco_of(parse_json(read_bytes(path), path), path)


def coco_of(content: Any, path: str | Path) -> CocoFile:
    """Groups the annotations of a COCO file's content by image; see read_coco.

    Args:
        content: what the JSON holds.
        path: the file, for error messages.
    """
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
    for number, name in names.items():
        if not isinstance(name, str):
            raise DataError(f"{path}: category {brief(number)} has the name {brief(name)}; a name must be text")
    groups: dict[Any, list[dict]] = {entry["id"]: [] for entry in content["images"]}
    annotations = content.get("annotations", ())
    _refuse_twice((entry["id"] for entry in content["images"]), "images", path)
    _number(annotations)
    _refuse_twice((entry["id"] for entry in annotations), "annotations", path)
    for entry in annotations:
        for key, known in (("image_id", groups), ("category_id", names)):
            if entry[key] not in known:
                word = key.removesuffix("_id")
                has = "is of" if word == "image" else "has"
                number, value = brief(entry["id"]), brief(entry[key])
                hint = _other_type(entry[key], known)
                raise DataError(f"{path}: annotation {number} {has} {word} {value}, which is not listed{hint}")
        groups[entry["image_id"]].append(entry)
    return names, groups


def _number(annotations: Iterable[dict]) -> None:
    """Gives the annotations without an id the numbers above the largest one."""
    bare = [entry for entry in annotations if entry.get("id") is None]
    if bare:
        used = (entry.get("id") for entry in annotations)
        first = max((number for number in used if isinstance(number, int)), default=0) + 1
        for number, entry in enumerate(bare, first):
            entry["id"] = number


def _refuse_twice(ids: Iterable[Any], what: str, path: str | Path) -> None:
    """Raises a DataError where an id occurs twice; 1 and "1" count as the same, since items are named by the text."""
    counts = Counter(map(str, ids))
    if len(counts) < counts.total():
        twice = [(number, count) for number, count in counts.items() if count > 1]
        number, count = twice[0]
        more = f" (and {len(twice) - 1} more ids occur twice or more often)" if len(twice) > 1 else ""
        raise DataError(
            f"{path}: {count} {what} have the id {shortened(number, 100)}{more}; each needs its own, because what "
            "belongs to which is unknown: number them anew where files were merged"
        )


def _other_type(value: Any, known: Iterable[Any]) -> str:
    """The end of the sentence about an id that is listed as a number where it is text here, or the reverse."""
    other = next((number for number in known if str(number) == str(value)), None)
    if other is None:
        return ""
    words = {str: "text", int: "a number"}
    listed, used = (words.get(type(number), f"a {type(number).__name__}") for number in (other, value))
    return f": it is {used} here and {listed} in the list ({other!r}); write ids of one type"


def image_size(image: dict, path: str | Path) -> tuple[int, int]:
    """Reads the size that an entry of "images" declares.

    Args:
        image: the entry.
        path: the annotation file, for the error.

    Returns:
        (H, W) in pixels.

    Raises:
        DataError: one is missing, or they are no whole numbers above 0, or more pixels than SEGKIT_MAX_PIXELS.
    """
    try:
        height, width = (whole_number(image[side], side) for side in ("height", "width"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}, image {brief(image.get('id'))}: {reason(error)}; images need id, file_name, height and width"
        ) from error
    if height < 1 or width < 1 or height * width > limit(MAX_PIXELS):
        raise DataError(
            f"{path}, image {brief(image.get('id'))}: height {shortened(height, 20)} and width "
            f"{shortened(width, 20)} are no size of an image; at most {limit(MAX_PIXELS):,} pixels ({MAX_PIXELS[0]})"
        )
    return height, width


def is_crowd(entry: dict, source: str) -> bool:
    """Whether an annotation is marked as a crowd.

    Args:
        entry: of "annotations"; without iscrowd, or with null, it is none.
        source: file and annotation, for the error.

    Raises:
        DataError: iscrowd is neither 0 nor 1.
    """
    value = entry.get("iscrowd")
    if value is None or value in (0, 1):
        return bool(value)
    raise DataError(f"{source}: iscrowd {brief(value)} must be 0 or 1")


def area_of(entry: dict, source: str) -> float | None:
    """Reads the annotated area in pixels.

    Args:
        entry: of "annotations".
        source: file and annotation, for the error.

    Returns:
        The area; None where it is missing or null.

    Raises:
        DataError: it is no finite number.
    """
    value = entry.get("area")
    if value is None:
        return None
    try:
        area = float(value)
    except (TypeError, ValueError, OverflowError):
        area = math.nan
    if not math.isfinite(area):
        raise DataError(f"{source}: area {brief(value)} must be a number of pixels")
    return area


def bbox_of(entry: dict, source: str) -> tuple[float, float, float, float]:
    """Reads the box of an annotation that has one.

    Args:
        entry: of "annotations", with "bbox".
        source: file and annotation, for the error.

    Returns:
        x, y, w, h in pixels.

    Raises:
        DataError: it is not four finite numbers.
    """
    try:
        x, y, w, h = (float(side) for side in entry["bbox"])
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: bbox {brief(entry['bbox'])} is not [x, y, w, h] in pixels ({error})") from error
    if not all(math.isfinite(side) for side in (x, y, w, h)):
        raise DataError(f"{source}: bbox {brief(entry['bbox'])} has a side that is not finite")
    return x, y, w, h


def check_segmentations(coco: CocoFile, *, is_needed: bool = True) -> None:
    """Checks the segmentations of all annotations of a file.

    Args:
        coco: the file.
        is_needed: whether each annotation must have one; False passes over those without.

    Raises:
        DataError: names the first annotation that cannot be drawn, why, and how many there are.
    """
    wrong = []
    for image, entries in _by_image(coco):
        size = image_size(image, coco.path) if entries else (0, 0)
        for entry in entries:
            segmentation = entry.get("segmentation")
            if segmentation is None and not is_needed:
                continue
            try:
                if segmentation is None:
                    raise ValueError("it has no segmentation")
                check_segmentation(segmentation, *size)
            except (TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
                wrong.append((entry["id"], reason(error)))
    if wrong:
        number, why = wrong[0]
        others = ", ".join(shortened(other, 40) for other, _ in wrong[1:MOST_NAMED])
        more = f"; {len(wrong) - 1} more cannot, such as {others}" if others else ""
        raise DataError(
            f"{coco.path}, annotation {shortened(number, 100)}: the segmentation cannot be drawn ({why}){more}; "
            "correct or remove such annotations"
        )


MOST_NAMED = 4
"""Annotations named in a message; the rest is counted."""


def _by_image(coco: CocoFile) -> Iterator[tuple[dict, list[dict]]]:
    return ((image, coco.annotations[image["id"]]) for image in coco.images)


def to_rle(segmentation: list | dict, height: int, width: int) -> RLE:
    """Encodes a segmentation.

    Args:
        segmentation: a list of polygons, or uncompressed or compressed RLE.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        Compressed RLE, dict(size=[H, W], counts=bytes); of an empty list that of no pixel.

    Raises:
        ValueError, TypeError, KeyError: see check_segmentation.
    """
    from pycocotools import mask as coco_mask

    check_segmentation(segmentation, height, width)
    if not segmentation:
        return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
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
        segmentation: as for `to_rle`; an empty list draws nothing.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        bool [H,W].
    """
    from pycocotools import mask as coco_mask

    return coco_mask.decode(to_rle(segmentation, height, width)).astype(bool)

"""Panoptic annotation files: a JSON file that describes segments, and a PNG of segment ids for each image.

Kirillov et al., CVPR 2019, https://arxiv.org/abs/1801.00868; format: https://cocodataset.org/#format-data.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.files.images import AS_COLOR, decode
from segkit.files import DataError, brief, parse_json, read_bytes

LAYOUT = "COCO panoptic expects annotations/panoptic_SPLIT.json, annotations/panoptic_SPLIT/*.png and SPLIT/*.jpg"


class PanopticFile(NamedTuple):
    """The content of a panoptic annotation file.

    Attributes:
        images: the image entries in the file's order.
        annotations: an entry for each image with its PNG, `file_name`, and its segments, `segments_info`.
        categories: the category entries in the file's order.
        is_thing: for each category id whether it is a thing.
    """

    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    is_thing: dict[int, bool]


def read_panoptic(path: Path) -> PanopticFile:
    """Reads a panoptic annotation file.

    Args:
        path: the file.

    Raises:
        DataError: the file holds no panoptic annotations.
    """
    try:
        content = parse_json(read_bytes(path), path)
        things = {entry["id"]: bool(entry["isthing"]) for entry in content["categories"]}
        return PanopticFile(content.get("images", []), content["annotations"], content["categories"], things)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no panoptic annotations ({brief(error)}); {LAYOUT}") from error


def read_ids(path: str | Path) -> np.ndarray:
    """Reads the segment ids of a panoptic PNG, R + 256 G + 65536 B, as int32 [H,W]."""
    picture = decode(read_bytes(path), AS_COLOR, path).astype(np.int32)
    return picture[..., 2] + (picture[..., 1] << 8) + (picture[..., 0] << 16)


def colors_of(ids: np.ndarray) -> np.ndarray:
    """Returns the picture of a panoptic PNG, uint8 [H,W,3] RGB, from segment ids, int [H,W] below 2 ** 24."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], 2).astype(np.uint8)

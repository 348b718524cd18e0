"""Labelled points of objects instead of their outlines.

Cheng, Parkhi and Kirillov, PointSup, CVPR 2022, section 4.1, https://arxiv.org/abs/2104.06404; numbers and fields as in
its published tool, https://github.com/facebookresearch/detectron2/tree/main/projects/PointSup.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.files.coco_json import bbox_of, coco_of, draw, image_size
from segkit.data.files.outlines import reason
from segkit.files import DataError, brief, parse_json, read_bytes, write_whole

SEED = 12345
"""Of the published tool."""


def points_of(content: dict[str, Any], source: str, *, count: int = 10, seed: int = SEED) -> dict[str, Any]:
    """Replaces the outlines of a COCO file by labelled points.

    Each object, a crowd too, gets `count` points, uniform in its box: floor(u (w, h) + (x, y)), u of one stream of
    random numbers for the whole file, in the order of its annotations.

    Args:
        content: of the file; it stays as it is.
        source: the file, for errors.
        count: points of each object.
        seed: of the random numbers.

    Returns:
        The content with `point_coords`, [[x, y], ...] in whole pixels, and `point_labels`, 1 on the object and 0 beside
        it, in place of `segmentation`.

    Raises:
        DataError: it is no COCO file, or an annotation has no box or no outline that can be drawn.
    """
    coco = coco_of(content, source)
    sizes = {image["id"]: image_size(image, source) for image in coco.images}
    stream = np.random.RandomState(seed)
    annotations = []
    for entry in content.get("annotations", ()):
        at = f"{source}, annotation {brief(entry.get('id'))}"
        if entry.get("segmentation") is None or "bbox" not in entry:
            raise DataError(f"{at}: it has no outline or no box; points are made of objects that have both")
        size = sizes[entry["image_id"]]
        x, y, w, h = bbox_of(entry, at)
        places = np.floor(stream.rand(count, 2) * (w, h) + (x, y)).astype(np.int64)
        try:
            mask = draw(entry["segmentation"], *size)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise DataError(f"{at}: the segmentation cannot be drawn ({reason(error)})") from error
        column, row = (np.clip(places[:, axis], 0, size[1 - axis] - 1) for axis in (0, 1))
        kept = {key: value for key, value in entry.items() if key != "segmentation"}
        labels = mask[row, column].astype(int).tolist()
        annotations.append({**kept, "point_coords": places.tolist(), "point_labels": labels})
    return {**content, "annotations": annotations}


def prepare_points(path: Path, out: Path, *, count: int = 10, seed: int = SEED) -> int:
    """Writes a COCO file with labelled points in place of outlines.

    Args:
        path: the file with outlines.
        out: the file to write; it is replaced.
        count: points of each object.
        seed: of the random numbers.

    Returns:
        The number of objects.

    Raises:
        DataError: see points_of.
    """
    content = points_of(parse_json(read_bytes(path), path), str(path), count=count, seed=seed)
    write_whole(out, json.dumps(content).encode(), "choose another file by --out")
    return len(content["annotations"])

"""COCO's panoptic annotations for training with clicks.

Kirillov et al., CVPR 2019, https://cocodataset.org/#format-data.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from segkit.constraints.named import Fraction
from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import cached_index
from segkit.data.files.pairs import some
from segkit.data.files.panoptic import LAYOUT, read_ids, read_panoptic
from segkit.data.interactive.base import ClickTraining, Packed, check_share, in_layers
from segkit.data.interactive.coco import Names
from segkit.files import DataError, brief, inside
from segkit.registry import DATASETS
from segkit.types import ClickObject


def records(path: Path) -> Iterator[bytes]:
    """Reads a panoptic annotation file and yields one JSON record per image.

    Yields:
        [name of the PNG, ids of the things that are no crowd, ids of the stuff].

    Raises:
        DataError: a segment has a category that the file does not list.
    """
    content = read_panoptic(path)
    try:
        yield from _records(content.annotations, content.is_thing, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no panoptic annotations ({brief(error)}); {LAYOUT}") from error


def _records(entries: list[dict], is_thing: dict[int, bool], path: Path) -> Iterator[bytes]:
    for entry in entries:
        segments = entry.get("segments_info", [])
        unknown = [segment["category_id"] for segment in segments if segment["category_id"] not in is_thing]
        if unknown:
            raise DataError(
                f"{path}: {entry['file_name']} has category {unknown[0]}, which the file's categories do not list"
            )
        things = [
            segment["id"] for segment in segments if is_thing[segment["category_id"]] and not segment.get("iscrowd", 0)
        ]
        stuff = [segment["id"] for segment in segments if not is_thing[segment["category_id"]]]
        yield json.dumps([inside(path.with_suffix(""), entry["file_name"], path), things, stuff]).encode()


@DATASETS.register
class COCOPanopticClicks(ClickTraining):
    """The things of COCO's panoptic annotations: 118,287 train2017 or 5,000 val2017 images.

    Files below root: annotations/panoptic_<split>.json, annotations/panoptic_<split>/NAME.png and <split>/NAME.jpg.
    Crowds are background. Images that could have no object are left out.

    Args:
        root: folder of COCO.
        split: "train2017" or "val2017".
        stuff_prob: probability that a sample keeps the regions of stuff as objects; otherwise they are background.

    Raises:
        DataError: a file is missing or damaged, no image has an object, or stuff_prob is no probability.
    """

    folder = "coco"

    def __init__(self, root: str | None = None, split: str = "train2017", *, stuff_prob: Fraction = 0.0):
        self.stuff_prob = check_share(stuff_prob, "stuff_prob")
        base = resolve_root(root, self.folder)
        path = base / "annotations" / f"panoptic_{split}.json"
        self._labels, self._images = path.with_suffix(""), base / split
        self._index = cached_index([path], "coco panoptic", partial(records, path))
        rows = [json.loads(record) for record in self._index]
        self._rows = np.array(
            [row for row, (_, things, stuff) in enumerate(rows) if things or (stuff_prob > 0 and stuff)]
        )
        if not len(self._rows):
            raise DataError(f"{path}: no image has an object")
        names = [Path(rows[row][0]).stem for row in self._rows]
        self.ids = Names(np.array(names))
        missing = [name for name in names if not (self._labels / f"{name}.png").is_file()]
        if missing:
            raise DataError(
                f"{self._labels}: {len(missing)} of {len(names)} PNGs are missing: {some(missing)}; {LAYOUT}"
            )

    def path(self, index: int) -> str:
        return str(self._images / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._labels / f"{self.ids[index]}.png")

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the image's objects, by the segment ids of the file."""
        _, things, stuff = json.loads(self._index[int(self._rows[index])])
        kept = things + stuff if self.stuff_prob > 0 and rng.random() < self.stuff_prob else things
        layers, slots = in_layers(read_ids(self.mask_path(index)), kept)
        objects = {segment_id: ClickObject(*slot) for segment_id, slot in zip(kept, slots)}
        return Packed(layers, objects, [])

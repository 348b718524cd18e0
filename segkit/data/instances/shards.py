"""Instances in shards: an image and a JSON file of its objects in COCO's form for each sample."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segkit.constraints.named import PositiveFloat
from segkit.data.files.coco_json import check_segmentation
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.outlines import reason
from segkit.data.instances.base import InstanceDataset, Source
from segkit.data.instances.coco import box_values, head_of
from segkit.data.shards.cache import ShardCache
from segkit.data.shards.content import OBJECTS, Contents, image_kinds
from segkit.data.shards.reader import ShardSet
from segkit.files import DataError, brief, parse_json
from segkit.registry import DATASETS


@DATASETS.register
class ShardInstances(InstanceDataset):
    """Object instances in shards, as `segkit shard` writes them: KEY.jpg and KEY.json for each sample.

    KEY.json holds `image` (height, width, id) and `annotations` as in COCO's files; shards.json the categories. The
    JSON files are read once, and what they say of boxes is remembered on this machine.

    Args:
        urls: as for Shards.
        classes: names of the classes to keep, in the order of their labels; None keeps all.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks, and the segmentations are never read.
        image: suffixes of the images; None for any of an image file.
        skip_damaged: passes over shards that are missing or damaged at the start.
        cache, cache_gb: as for Shards.

    Raises:
        DataError: shards are missing or damaged, there is no list of categories, or no image is left.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        classes: Sequence[str] | None = None,
        *,
        filtered: bool = False,
        boxes_only: bool = True,
        image: str | Sequence[str] | None = None,
        skip_damaged: bool = False,
        cache: str | None = None,
        cache_gb: PositiveFloat | None = None,
    ):
        self.urls = urls
        self.shards = ShardSet(urls, skip_damaged=skip_damaged, cache=ShardCache(cache, cache_gb))
        where = self.shards.names[0]
        contents = Contents.of(self.shards.about, "instances", where)
        if not contents.categories:
            raise DataError(f"{where}: no shards.json beside it names the categories; write shards by segkit shard")
        self.read_by(contents.reading)
        self._image = image_kinds(self.shards.kinds, image, None, IMAGE_SUFFIXES)
        boxes = self.shards.remembered("boxes 1", partial(_boxes, self.shards, contents.categories))
        masks = partial(self.shards.remembered, "outlines 1", partial(_outlines, self.shards))
        super().__init__(Source(where, boxes, masks), Path(), classes=classes, filtered=filtered, boxes_only=boxes_only)
        self.blocks = np.searchsorted(self._numbers, self.shards.starts)
        self.facts = (f"{len(self.shards.names):,} shards, {len(self.shards):,} samples",)
        if self.shards.skipped:
            first = self.shards.skipped[0]
            self.notes += (f"{len(self.shards.skipped)} shards are passed over, the first: {first}",)

    def find_files(self, names: Sequence[str], *, outside: bool) -> list[str]:
        """Returns the keys of the samples, by which messages name them."""
        return list(names)

    def read_ahead(self, indices: Sequence[int]) -> None:
        self.shards.read_ahead([int(self._numbers[index]) for index in indices])

    def path(self, index: int) -> str:
        number = int(self._numbers[index])
        return self.shards.name(number, self.shards.kind_of(number, self._image))

    def mask_path(self, index: int) -> str:
        return self.shards.name(int(self._numbers[index]), OBJECTS)

    def content(self, index: int) -> bytes:
        """Returns the bytes of the image file."""
        return self.shards.need(int(self._numbers[index]), self._image).content

    def image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 or float32 [H,W,3] RGB."""
        file = self.shards.need(int(self._numbers[index]), self._image)
        return read_image(file.name, **self.reading._asdict(), content=file.content)


def _entries(shards: ShardSet) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Name, entry of "images" and annotations of each sample, those without an id numbered."""
    free = 0
    for number in range(len(shards)):
        name, content = shards.need(number, (OBJECTS,))
        value = parse_json(content, name)
        image = value.get("image") if isinstance(value, dict) else None
        rows = value.get("annotations") if isinstance(value, dict) else None
        if not isinstance(image, dict) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{name}: {brief(value)} is no entry of an image with `image` and `annotations`")
        numbered = []
        for row in rows:
            free -= 1
            numbered.append({"id": free, **row})
        key = shards.keys[number]
        yield name, {"id": key, **image, "file_name": key}, numbered


def _boxes(shards: ShardSet, categories: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """The records of Source.boxes."""
    if not all("id" in row and "name" in row for row in categories):
        raise DataError(f"{shards.names[0]}: a category of shards.json without id or name; write the shards again")
    known = {row["id"] for row in categories}
    yield json.dumps(list(categories)).encode()
    for name, image, rows in _entries(shards):
        for row in rows:
            if row.get("category_id") not in known:
                raise DataError(f"{name}: category_id {brief(row.get('category_id'))} is not in shards.json")
        yield json.dumps([head_of(image, name), [box_values(row, name) for row in rows]]).encode()


def _outlines(shards: ShardSet) -> Iterator[bytes]:
    """The records of Source.masks."""
    for name, image, rows in _entries(shards):
        head = head_of(image, name)
        for row in rows:
            try:
                if row.get("segmentation") is not None:
                    check_segmentation(row["segmentation"], head["height"], head["width"])
            except (TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
                raise DataError(f"{name}, annotation {brief(row['id'])}: cannot be drawn ({reason(error)})") from error
        yield json.dumps([row.get("segmentation") for row in rows]).encode()

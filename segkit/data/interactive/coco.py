"""Objects of any annotation file in COCO's format (https://cocodataset.org/#format-data), to learn clicks from and to
score clicks on."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.coco_json import draw, read_coco
from segkit.data.files.flat_index import FlatIndex, cached_index
from segkit.data.files.pairs import some
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed, no_object
from segkit.data.interactive.packing import pack_masks
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject

SURE_AREA = 16.0
"""Annotated areas from here on have a pixel; smaller ones and unnamed ones are drawn to see."""


def records(path: Path) -> Iterator[bytes]:
    """The annotation file -> per image with an object: a line of JSON (id, file_name, height, width, objects: ids of
    the annotations that are objects), and a line with [annotation id, is crowd, segmentation] of each."""
    coco = read_coco(path)
    for image in coco.images:
        rows = []
        for entry in coco.annotations[image["id"]]:
            if _has_pixel(entry, image, coco.path):
                rows.append([entry["id"], int(entry.get("iscrowd", 0)), entry["segmentation"]])
        head = {key: image[key] for key in ("id", "file_name", "height", "width")}
        head["objects"] = [number for number, is_crowd, _ in rows if not is_crowd]
        if head["objects"]:
            yield json.dumps(head).encode() + b"\n" + json.dumps(rows).encode()


def _has_pixel(entry: dict, image: dict, path: str) -> bool:
    if entry.get("area", 0) >= SURE_AREA and entry["segmentation"]:
        return True
    return bool(_drawn(entry["segmentation"], image, f"{path}, annotation {entry['id']}").any())


def _drawn(segmentation: list | dict, image: dict, place: str) -> np.ndarray:
    """-> bool [H,W]; DataError where the segmentation is none, or of another size than the image."""
    size = (image["height"], image["width"])
    try:
        mask = draw(segmentation, *size)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{place}: the segmentation cannot be drawn ({error})") from error
    if mask.shape != size:
        raise DataError(
            f"{place}: a mask of {mask.shape[1]}x{mask.shape[0]} pixels for an image that the file says to be "
            f"{size[1]}x{size[0]}; correct the file"
        )
    return mask


class CocoFiles:
    """An annotation file and its folder of images, as a flat index of the images that have an object."""

    def __init__(self, annotations: Path, images: Path):
        self.annotations, self.images = annotations, images
        self.index: FlatIndex = cached_index([annotations], "coco objects", partial(records, annotations))
        if not len(self.index):
            raise DataError(f"{annotations}: none of the images has an annotated object")
        heads = [self.head(number) for number in range(len(self.index))]
        if not images.is_dir():
            raise DataError(f"{images}: no such folder of images; set images=...")
        missing = [head["file_name"] for head in heads if not (images / head["file_name"]).is_file()]
        if missing:
            raise DataError(f"{images}: {len(missing)} of {len(heads)} images are missing: {some(missing)}")
        self.ids = np.array([str(head["id"]) for head in heads])

    def head(self, number: int) -> dict:
        """What the index says of an image beside its segmentations."""
        return json.loads(self.index[number].partition(b"\n")[0])

    def path(self, number: int) -> str:
        return str(self.images / self.head(number)["file_name"])

    def masks(self, number: int) -> tuple[tuple[int, int], list[tuple[int, bool, np.ndarray]]]:
        """-> (H, W) as the file says, and of every annotation (its id, whether it is a crowd, bool [H,W])."""
        line, _, rows = self.index[number].partition(b"\n")
        head, found = json.loads(line), []
        for own, is_crowd, segmentation in json.loads(rows):
            mask = _drawn(segmentation, head, f"{self.annotations}, annotation {own}")
            found.append((own, bool(is_crowd), mask))
        return (head["height"], head["width"]), found


class Names(Sequence):
    """Text from a flat array of numpy, which costs a process no object per item."""

    def __init__(self, names: np.ndarray):
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        return str(self._names[index])


def _files(root: str | None, split: str, annotations: str | None, images: str | None) -> CocoFiles:
    place = resolve_root(root, "coco")
    own = place / "annotations" / f"instances_{split}.json"
    return CocoFiles(
        own if annotations is None else Path(annotations).expanduser(),
        place / split if images is None else Path(images).expanduser(),
    )


@DATASETS.register
class COCOClicks(ClickTraining):
    """Every annotation of a COCO file as an object; crowds are ignored regions. Images without an object are left out.

    Files: root/annotations/instances_<split>.json and root/<split>/, or any: annotations, images.
    """

    def __init__(
        self,
        root: str | None = None,
        split: str = "train2017",
        *,
        annotations: str | None = None,
        images: str | None = None,
    ):
        self._files = _files(root, split, annotations, images)
        self.ids = Names(self._files.ids)

    def path(self, index: int) -> str:
        return self._files.path(index)

    def mask_path(self, index: int) -> str:
        return f"{self._files.annotations}, image {self.ids[index]}"

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the image's objects, overlapping ones in layers of their own, and its crowds as ignored regions."""
        size, rows = self._files.masks(index)
        rows = [row for row in rows if row[2].any()]
        layers, places = pack_masks([mask for _, _, mask in rows])
        objects = {row[0]: ClickObject(*place) for row, place in zip(rows, places) if not row[1]}
        planes = np.stack(layers or [np.zeros(size, np.uint8)])
        return Packed(planes.transpose(1, 2, 0), objects, [place for row, place in zip(rows, places) if row[1]])


@DATASETS.register
class COCOClicksEval(ClickEvaluation):
    """Every annotation of a COCO file that is no crowd, one item each, with the id "image_annotation"; files as of
    COCOClicks. Crowds of the image are not scored, except where the object lies."""

    def __init__(
        self,
        root: str | None = None,
        split: str = "val2017",
        *,
        annotations: str | None = None,
        images: str | None = None,
    ):
        self._files = _files(root, split, annotations, images)
        objects = [self._files.head(number)["objects"] for number in range(len(self._files.index))]
        self._image = np.repeat(np.arange(len(objects)), [len(own) for own in objects])
        self._object = np.array([own for inner in objects for own in inner])
        self.ids = Names(np.array([f"{self._files.ids[i]}_{own}" for i, own in zip(self._image, self._object)]))

    def path(self, index: int) -> str:
        return self._files.path(int(self._image[index]))

    def mask_path(self, index: int) -> str:
        return f"{self._files.annotations}, annotation {self._object[index]}"

    def mask(self, index: int) -> np.ndarray:
        """-> int8 [H,W] of 0, 1 and -1."""
        size, rows = self._files.masks(int(self._image[index]))
        mask = np.zeros(size, np.int8)
        for _, _, crowd in filter(lambda row: row[1], rows):
            mask[crowd] = -1
        own = next(drawn for number, _, drawn in rows if number == self._object[index])
        if not own.any():
            raise no_object(self.mask_path(index))
        mask[own] = 1
        return mask

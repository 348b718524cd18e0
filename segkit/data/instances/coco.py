"""Instances of annotation files in COCO's format (https://cocodataset.org/#format-data): COCO, LVIS, VOC, iSAID and any
other."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite
from pathlib import Path

from segkit.data.dataset import resolve_root
from segkit.data.files.coco_json import CocoFile, read_coco
from segkit.data.files.flat_index import cached_index
from segkit.data.files.lvis import lvis_file
from segkit.data.files.pairs import choose_split
from segkit.data.instances.base import Instances, Source
from segkit.files import DataError
from segkit.registry import DATASETS

LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")
"""What LVIS says of an image and its evaluation needs."""


def file_name(image: dict) -> str:
    """Of an entry of "images". LVIS v1 names files by their address at COCO alone: its last two parts are the name."""
    return image.get("file_name") or "/".join(image["coco_url"].split("/")[-2:])


def head_of(image: dict, path: str) -> dict:
    """An entry of "images" -> id, file_name, height, width and LVIS' lists."""
    try:
        head = dict(id=image["id"], file_name=file_name(image), height=int(image["height"]), width=int(image["width"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}, image {image.get('id')}: {error!r}: file_name, height, width are needed") from error
    return head | {key: image[key] for key in LVIS_KEYS if key in image}


def row_of(entry: dict, path: str) -> list:
    """An annotation -> the values of a Row; its segmentation is not looked at. DataError where bbox is wrong."""
    place = f"{path}, annotation {entry.get('id')}"
    if "bbox" not in entry:
        raise DataError(f"{place}: it has no bbox; add [x, y, w, h] in pixels")
    try:
        x, y, w, h = (float(side) for side in entry["bbox"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: bbox {entry['bbox']} is not [x, y, w, h] in pixels ({error})") from error
    if not all(isfinite(side) for side in (x, y, w, h)):
        raise DataError(f"{place}: bbox {entry['bbox']} has a side that is not finite")
    area, crowd = (w * h if entry.get("area") is None else entry["area"]), entry.get("iscrowd") or 0
    try:
        return [entry.get("id"), entry["category_id"], int(crowd), float(area), x, y, w, h]
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: iscrowd {crowd!r} is 0 or 1, area {area!r} a number ({error})") from error


def box_records(path: Path) -> Iterator[bytes]:
    """-> the records of Source.boxes."""
    coco = read_coco(path)
    yield json.dumps(coco.categories).encode()
    for image in coco.images:
        rows = [row_of(entry, coco.path) for entry in coco.annotations[image["id"]]]
        yield json.dumps([head_of(image, coco.path), rows]).encode()


def mask_records(path: Path) -> Iterator[bytes]:
    """-> the records of Source.masks."""
    coco: CocoFile = read_coco(path)
    for image in coco.images:
        yield json.dumps([entry.get("segmentation") for entry in coco.annotations[image["id"]]]).encode()


def coco_source(path: Path) -> Source:
    """-> boxes of a file at once, outlines when they are asked for; large files are indexed once per machine."""
    boxes = cached_index([path], "instances boxes", partial(box_records, path))
    return Source(str(path), boxes, partial(cached_index, [path], "instances masks", partial(mask_records, path)))


@DATASETS.register
class COCOInstances(Instances):
    """Things of COCO (train2017: 118,287 images, 80 classes) or of any file in its format.

    root, split: annotations/instances_<split>.json and <split>/ below root, unless annotations and images name the file
    and its folder of images. classes, filtered, boxes_only: see Instances.
    """

    folder = "coco"

    def __init__(
        self,
        root: str | None = None,
        split: str = "train2017",
        *,
        annotations: str | None = None,
        images: str | None = None,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: bool = True,
    ):
        place = resolve_root(root, self.folder)
        path = place / "annotations" / f"instances_{split}.json" if annotations is None else Path(annotations)
        folder = place / split if images is None else Path(images)
        super().__init__(
            coco_source(path.expanduser()),
            folder.expanduser(),
            classes=classes,
            filtered=filtered,
            boxes_only=boxes_only,
        )


@DATASETS.register
class LVISInstances(Instances):
    """LVIS v1, Gupta et al., CVPR 2019, https://www.lvisdataset.org: 1,203 classes on COCO's images.

    split: "train" or "val", lvis_v1_<split>.json below root, or <split>/lvis_<split>.json; images: COCO's folder with
    train2017 and val2017, both of which LVIS' val needs ($SEGKIT_DATA/coco). For LvisAP.
    """

    folder = "lvis"

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        images: str | None = None,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: bool = True,
    ):
        choose_split(split, ("train", "val"), "LVISInstances")
        source = coco_source(lvis_file(resolve_root(root, self.folder), split))
        folder = resolve_root(images, "coco")
        super().__init__(source, folder, classes=classes, filtered=filtered, boxes_only=boxes_only)


@DATASETS.register
class VOCInstances(Instances):
    """Objects of Pascal VOC 2012 and SBD, 20 classes: 10,582 train (VOC's and SBD's without val), 1,449 val images.

    annotations/voc_2012_<split>.json below root, made by prepare_data.py voc_instances, and JPEGImages.
    """

    folder = "VOCdevkit/VOC2012"

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: bool = True,
    ):
        choose_split(split, ("train", "val"), "VOCInstances")
        place = resolve_root(root, self.folder)
        path = place / "annotations" / f"voc_2012_{split}.json"
        if not path.is_file():
            raise DataError(f"{path}: no such file; make it: python tools/prepare_data.py voc_instances --root {place}")
        images = place / "JPEGImages"
        super().__init__(coco_source(path), images, classes=classes, filtered=filtered, boxes_only=boxes_only)


@DATASETS.register
class ISAIDInstances(Instances):
    """iSAID, Waqas Zamir et al., CVPR Workshops 2019, https://captain-whu.github.io/iSAID: 15 classes of aerial images,
    cut by its development kit into patches: <split>/instancesonly_filtered_<split>.json and <split>/images below root.
    """

    folder = "iSAID_patches"

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: bool = True,
    ):
        choose_split(split, ("train", "val"), "ISAIDInstances")
        place = resolve_root(root, self.folder) / split
        source = coco_source(place / f"instancesonly_filtered_{split}.json")
        super().__init__(source, place / "images", classes=classes, filtered=filtered, boxes_only=boxes_only)

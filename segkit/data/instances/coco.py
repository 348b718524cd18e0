"""Instances of annotation files in COCO's format: COCO, LVIS, VOC, iSAID and any other.

Format: https://cocodataset.org/#format-data
"""

import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from segkit.data.dataset import Bands, NoData, ScaleRange, check_reading, resolve_root
from segkit.data.files.coco_json import area_of, bbox_of, check_segmentations, image_size, is_crowd, read_coco
from segkit.data.files.flat_index import cached_index
from segkit.data.files.lvis import lvis_file
from segkit.data.files.outlines import reason
from segkit.data.files.pairs import choose_split
from segkit.data.instances.base import BoxesOnly, InstanceDataset, Source
from segkit.files import DataError, brief
from segkit.registry import DATASETS

LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")
"""What LVIS says of an image and its evaluation needs."""


def file_name(image: dict) -> str:
    """File name of an entry of "images".

    LVIS v1 names files only by their address at COCO; its last two parts are the name.
    """
    return image.get("file_name") or "/".join(image["coco_url"].split("/")[-2:])


def head_of(image: dict, path: str) -> dict:
    """Reads an entry of "images".

    Args:
        image: the entry.
        path: the annotation file, for error messages.

    Returns:
        id, file_name, height, width, and the lists of LVIS where the entry has them.

    Raises:
        DataError: one of the first four is missing.
    """
    try:
        height, width = image_size(image, path)
        head = dict(id=image["id"], file_name=file_name(image), height=height, width=width)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}, image {brief(image.get('id'))}: {reason(error)}: file_name, height, width are needed"
        ) from error
    return head | {key: image[key] for key in LVIS_KEYS if key in image}


def box_values(entry: dict, path: str) -> list:
    """Reads an annotation without its segmentation.

    Args:
        entry: of "annotations"; without an area, that of the box counts.
        path: the annotation file, for error messages.

    Returns:
        The values of a BoxAnnotation.

    Raises:
        DataError: bbox, area or iscrowd is missing or wrong.
    """
    source = f"{path}, annotation {brief(entry.get('id'))}"
    if "bbox" not in entry:
        raise DataError(f"{source}: it has no bbox; add [x, y, w, h] in pixels")
    x, y, w, h = bbox_of(entry, source)
    area = area_of(entry, source)
    return [
        entry["id"],
        entry["category_id"],
        int(is_crowd(entry, source)),
        w * h if area is None else area,
        x,
        y,
        w,
        h,
    ]


def box_records(path: Path) -> Iterator[bytes]:
    """Yields the records of `Source.boxes`."""
    coco = read_coco(path)
    yield json.dumps(coco.categories).encode()
    for image in coco.images:
        rows = [box_values(entry, coco.path) for entry in coco.annotations[image["id"]]]
        yield json.dumps([head_of(image, coco.path), rows]).encode()


def mask_records(path: Path) -> Iterator[bytes]:
    """Yields the records of `Source.masks`."""
    coco = read_coco(path)
    check_segmentations(coco, is_needed=False)
    for image in coco.images:
        yield json.dumps([entry.get("segmentation") for entry in coco.annotations[image["id"]]]).encode()


def quality_records(path: Path) -> Iterator[bytes]:
    """Yields the records of `Source.qualities`, from the key mask_quality of annotations."""
    coco = read_coco(path)
    for image in coco.images:
        rows = [
            quality_of(entry, f"{coco.path}, annotation {brief(entry.get('id'))}")
            for entry in coco.annotations[image["id"]]
        ]
        yield json.dumps(rows).encode()


def quality_of(entry: dict, source: str) -> float | None:
    """Reads how good an annotation's mask is, see `segkit label`.

    Args:
        entry: of "annotations".
        source: file and annotation, for the error.

    Returns:
        A number in 0..1; None where nothing is said.

    Raises:
        DataError: it is no such number.
    """
    value = entry.get("mask_quality")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(f"{source}: mask_quality {brief(value)} must be a number from 0 to 1")
    return float(value)


def point_values(entry: dict, path: str) -> list:
    """Reads the labelled points of an annotation.

    Cheng, Parkhi and Kirillov, PointSup, CVPR 2022, https://arxiv.org/abs/2104.06404: `point_coords`, [[x, y], ...] in
    whole pixels, and `point_labels`, 1 on the object and 0 beside it.

    Args:
        entry: of "annotations"; a crowd may have none.
        path: the annotation file, for error messages.

    Returns:
        The coordinates and the labels.

    Raises:
        DataError: they are missing or wrong.
    """
    source = f"{path}, annotation {brief(entry.get('id'))}"
    if "point_coords" not in entry and is_crowd(entry, source):
        return [[], []]
    try:
        coordinates = [[float(x), float(y)] for x, y in entry["point_coords"]]
        labels = [int(label) for label in entry["point_labels"]]
        is_right = len(coordinates) == len(labels) and {*labels} <= {0, 1}
        is_right = is_right and all(math.isfinite(side) for point in coordinates for side in point)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{source}: no labelled points ({reason(error)}): point_coords [[x, y], ...] and point_labels [0 or 1, ...]"
            " are needed; `segkit prepare points` makes them of outlines, or leave out points=True"
        ) from error
    if not is_right:
        raise DataError(f"{source}: point_labels must be 0 or 1 for each of point_coords, whose numbers are finite")
    return [coordinates, labels]


def point_records(path: Path) -> Iterator[bytes]:
    """Yields the records of `Source.points`."""
    coco = read_coco(path)
    for image in coco.images:
        yield json.dumps([point_values(entry, coco.path) for entry in coco.annotations[image["id"]]]).encode()


def coco_source(path: Path) -> Source:
    """Opens an annotation file: boxes at once, outlines and their quality when they are asked for.

    Large files are indexed once per machine.
    """
    boxes = cached_index([path], "instances boxes 2", partial(box_records, path))
    masks = partial(cached_index, [path], "instances masks 2", partial(mask_records, path))
    qualities = partial(cached_index, [path], "instances mask quality 1", partial(quality_records, path))
    points = partial(cached_index, [path], "instances points 1", partial(point_records, path))
    return Source(str(path), boxes, masks, qualities, points)


@DATASETS.register
class COCOInstances(InstanceDataset):
    """Things of COCO (train2017: 118,287 images, 80 classes), or of any file in its format.

    Args:
        root: folder with annotations/instances_<split>.json and <split>/.
        split: part of COCO, such as "train2017".
        annotations: any other annotation file in COCO's format.
        images: folder of its images.
        classes: names of the classes to keep, in the order of their labels; None keeps all.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks, and the segmentations are never read. "mixed": objects may have an outline or
            none, see InstanceDataset; mask_quality of an annotation, in 0..1, says how good its outline is.
        outside: whether file names of the annotation file may be absolute or lead out of `images` by "..". Set it for a
            file of your own alone: names of others could be any file of this machine.
        points: samples hold the labelled points of the file (`point_coords`, see `segkit prepare points`).
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: a file is missing or wrong, or no image is left.
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
        boxes_only: BoxesOnly = True,
        outside: bool = False,
        points: bool = False,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.read_by(check_reading(exif, nodata, scale, bands))
        base = resolve_root(root, self.folder)
        path = base / "annotations" / f"instances_{split}.json" if annotations is None else Path(annotations)
        folder = base / split if images is None else Path(images)
        super().__init__(
            coco_source(path.expanduser()),
            folder.expanduser(),
            classes=classes,
            filtered=filtered,
            boxes_only=boxes_only,
            outside=outside,
            points=points,
        )


@DATASETS.register
class LVISInstances(InstanceDataset):
    """LVIS v1: 1,203 classes on COCO's images, scored by LvisAP.

    Gupta et al., CVPR 2019, https://www.lvisdataset.org. Files below root: lvis_v1_<split>.json or
    <split>/lvis_<split>.json.

    Args:
        root: folder of the annotations.
        split: "train" or "val".
        images: COCO's folder with train2017 and val2017, both of which LVIS' val needs; $SEGKIT_DATA/coco by default.
        classes: names of the classes to keep, in the order of their labels; None keeps all.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks, and the segmentations are never read.

    Raises:
        DataError: a file is missing or wrong, or no image is left.
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
class VOCInstances(InstanceDataset):
    """Objects of Pascal VOC 2012 and SBD, 20 classes: 10,582 train (VOC's and SBD's without val) or 1,449 val images.

    Files below root: annotations/voc_2012_<split>.json, made by `segkit prepare voc_instances`, and JPEGImages.

    Args:
        root: folder VOCdevkit/VOC2012.
        split: "train" or "val".
        classes: names of the classes to keep, in the order of their labels; None keeps all.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks, and the segmentations are never read.

    Raises:
        DataError: a file is missing or wrong, or no image is left.
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
        base = resolve_root(root, self.folder)
        path = base / "annotations" / f"voc_2012_{split}.json"
        if not path.is_file():
            raise DataError(f"{path}: no such file; make it: segkit prepare voc_instances --root {base}")
        images = base / "JPEGImages"
        super().__init__(coco_source(path), images, classes=classes, filtered=filtered, boxes_only=boxes_only)


@DATASETS.register
class ISAIDInstances(InstanceDataset):
    """iSAID: 15 classes of aerial images, cut into patches by its development kit.

    Waqas Zamir et al., CVPR Workshops 2019, https://captain-whu.github.io/iSAID. Files below root:
    <split>/instancesonly_filtered_<split>.json and <split>/images.

    Args:
        root: folder of the patches.
        split: "train" or "val".
        classes: names of the classes to keep, in the order of their labels; None keeps all.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks, and the segmentations are never read.

    Raises:
        DataError: a file is missing or wrong, or no image is left.
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
        base = resolve_root(root, self.folder) / split
        source = coco_source(base / f"instancesonly_filtered_{split}.json")
        super().__init__(source, base / "images", classes=classes, filtered=filtered, boxes_only=boxes_only)

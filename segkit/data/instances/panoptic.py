"""Panoptic annotations as the segments of an image: COCO, Cityscapes, ADE20K, and any other in COCO's format.

Kirillov et al., Panoptic Segmentation, CVPR 2019, https://arxiv.org/abs/1801.00868; format:
https://cocodataset.org/#format-data.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.coco_json import row_of
from segkit.data.files.flat_index import LazySequence, cached_index
from segkit.data.files.named import find_named
from segkit.data.files.pairs import choose_split
from segkit.data.files.panoptic import LAYOUT, read_ids, read_panoptic
from segkit.data.instances.base import BoxAnnotation, InstanceDataset, Source
from segkit.data.instances.coco import box_values, head_of
from segkit.files import DataError, brief, inside
from segkit.registry import DATASETS


def segment_records(path: Path) -> Iterator[bytes]:
    """Yields the records of `Source.boxes`; the entry of an image also names its PNG, `segments`.

    Args:
        path: a panoptic annotation file.

    Raises:
        DataError: an entry is missing or wrong, or two images have one id.
    """
    content = read_panoptic(path)
    images = {image["id"]: image for image in content.images}
    if len(images) < len(content.images):
        raise DataError(f"{path}: two images have the same id; each needs its own")
    yield json.dumps([{**entry, "isthing": content.is_thing[entry["id"]]} for entry in content.categories]).encode()
    seen = set()
    for entry in content.annotations:
        if entry["image_id"] not in images:
            raise DataError(f"{path}: {entry['file_name']} is of image {brief(entry['image_id'])}, which is not listed")
        if entry["image_id"] in seen:
            raise DataError(f"{path}: image {brief(entry['image_id'])} is annotated twice; leave one of them")
        seen.add(entry["image_id"])
        rows = [box_values(segment, str(path)) for segment in entry["segments_info"]]
        unknown = [row[1] for row in rows if row[1] not in content.is_thing]
        if unknown:
            raise DataError(f"{path}: {entry['file_name']} has category {brief(unknown[0])}, which is not listed")
        head = head_of(images[entry["image_id"]], str(path))
        yield json.dumps([{**head, "segments": entry["file_name"]}, rows]).encode()


def checked_records(path: Path) -> Iterator[bytes]:
    """As segment_records; whatever else is wrong with the file is a DataError, too."""
    try:
        yield from segment_records(path)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no panoptic annotations ({brief(error)}); {LAYOUT}") from error


class SegmentMasks(LazySequence[bytes]):
    """The records of `Source.masks`, made from the PNG of an image when they are read.

    Args:
        boxes: the records of `Source.boxes`.
        folder: of the PNGs.
        source: the annotation file, for errors.
    """

    def __init__(self, boxes: Sequence[bytes], folder: Path, source: str):
        self._boxes, self._folder, self._source = boxes, folder, source

    def __len__(self) -> int:
        return len(self._boxes) - 1

    def item(self, index: int) -> bytes:
        """Encodes the segments of an image.

        Raises:
            DataError: the PNG is of another size, or its ids are not those of the annotation file.
        """
        head, rows = json.loads(self._boxes[range(len(self))[index] + 1])
        path = self._folder / inside(self._folder, head["segments"], self._source)
        ids = read_ids(path)
        if ids.shape != (head["height"], head["width"]):
            raise DataError(
                f"{path}: {ids.shape[1]}x{ids.shape[0]} pixels, and {self._source} says "
                f"{head['width']}x{head['height']} of image {head['id']}; take both from one release"
            )
        listed = [BoxAnnotation(*row).number for row in rows]
        drawn = set(np.unique(ids).tolist()) - {0}
        for number, where in (
            (drawn - {*listed}, "is not listed in"),
            ({*listed} - drawn, "is drawn in no pixel; see"),
        ):
            if number:
                raise DataError(
                    f"{path}: segment {brief(min(number, key=str))} {where} {self._source}; take both from one release"
                )
        return json.dumps([row_of(ids == number)["segmentation"] for number in listed]).encode()


class PanopticDataset(InstanceDataset):
    """Images with the segments of a panoptic annotation file, a mask each.

    Attributes:
        things: for each class whether it is a thing.

    Args:
        path: the annotation file.
        segments: folder of its PNGs.
        images: folder of the images.
        classes, filtered, outside: as of InstanceDataset.
    """

    def __init__(
        self,
        path: Path,
        segments: Path,
        images: Path,
        *,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        outside: bool = False,
    ):
        boxes = cached_index([path], "panoptic segments 1", partial(checked_records, path))
        masks = partial(SegmentMasks, boxes, segments, str(path))
        source = Source(str(path), boxes, masks)
        super().__init__(source, images, classes=classes, filtered=filtered, boxes_only=False, outside=outside)
        if not segments.is_dir():
            raise DataError(f"{segments}: no such folder; it holds the PNGs that {path} names. {LAYOUT}")
        self.things = tuple(bool(category["isthing"]) for category in self._categories)


@DATASETS.register
class COCOPanoptic(PanopticDataset):
    """Things and stuff of COCO (train2017: 118,287 images, 80 and 53 classes), or of any files in its panoptic format.

    A sample holds one mask for each thing and each class of stuff. Pixels without a segment are void.

    Args:
        root: folder with annotations/panoptic_<split>.json, annotations/panoptic_<split>/NAME.png and <split>/.
        split: part of COCO, such as "train2017".
        annotations: any other panoptic annotation file.
        segments: folder of its PNGs; by default the file's name without .json.
        images: folder of its images.
        classes: names of the classes to keep, in the order of their labels; None keeps all. Pixels of the others are
            void.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a segment.
        outside: whether file names of images may be absolute or lead out of `images` by "..".

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
        segments: str | None = None,
        images: str | None = None,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        outside: bool = False,
    ):
        base = resolve_root(root, self.folder)
        path = base / "annotations" / f"panoptic_{split}.json" if annotations is None else Path(annotations)
        path = path.expanduser()
        super().__init__(
            path,
            path.with_suffix("") if segments is None else Path(segments).expanduser(),
            (base / split if images is None else Path(images)).expanduser(),
            classes=classes,
            filtered=filtered,
            outside=outside,
        )


@DATASETS.register
class CityscapesPanoptic(PanopticDataset):
    """Things and stuff of Cityscapes: 2,975 train and 500 val images, 8 and 11 classes.

    Files below root: gtFine/cityscapes_panoptic_<split>.json and .../NAME.png, made by cityscapesscripts'
    createPanopticImgs, and leftImg8bit/<split>.

    Args:
        root: folder of Cityscapes.
        split: "train" or "val".
        filtered: for training: leaves out crowds.

    Raises:
        DataError: a file is missing or wrong.
    """

    folder = "cityscapes"

    def __init__(self, root: str | None = None, split: str = "train", *, filtered: bool = False):
        choose_split(split, ("train", "val"), "CityscapesPanoptic")
        base = resolve_root(root, self.folder)
        path = base / "gtFine" / f"cityscapes_panoptic_{split}.json"
        super().__init__(path, path.with_suffix(""), base / "leftImg8bit" / split, filtered=filtered)

    def find_files(self, names: Sequence[str], *, outside: bool) -> list[str]:
        """Finds the images by their ids, CITY_NUMBER_FRAME: the names in the file lack the folder of the city."""
        files = [f"{name.partition('_')[0]}/{name}_leftImg8bit.png" for name in self.ids]
        return find_named(self._images, files, self._source.path, outside=outside)


@DATASETS.register
class ADE20KPanoptic(PanopticDataset):
    """Things and stuff of ADE20K: 20,210 train and 2,000 val images, 100 and 50 classes in ADE20K's order.

    Files below root, ADEChallengeData2016: ade20k_panoptic_<split>.json and ade20k_panoptic_<split>/NAME.png, made by
    Mask2Former's datasets/prepare_ade20k_pan_seg.py, and images/training or images/validation.

    Args:
        root: folder of ADE20K.
        split: "train" or "val".
        filtered: for training: leaves out images without a segment.

    Raises:
        DataError: a file is missing or wrong.
    """

    folder = "ADEChallengeData2016"

    def __init__(self, root: str | None = None, split: str = "train", *, filtered: bool = False):
        choose_split(split, ("train", "val"), "ADE20KPanoptic")
        base = resolve_root(root, self.folder)
        path = base / f"ade20k_panoptic_{split}.json"
        images = base / "images" / {"train": "training", "val": "validation"}[split]
        super().__init__(path, path.with_suffix(""), images, filtered=filtered)

    def find_files(self, names: Sequence[str], *, outside: bool) -> list[str]:
        """Finds the images: JPEGs, where the file gives the names of their labels."""
        files = [f"{name.rpartition('.')[0]}.jpg" for name in names]
        return find_named(self._images, files, self._source.path, outside=outside)

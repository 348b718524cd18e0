"""Objects of annotation files in COCO's format, for training and scoring clicks.

Format: https://cocodataset.org/#format-data
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.dataset import Bands, NoData, ScaleRange, check_reading, resolve_root
from segkit.data.files.coco_json import area_of, check_segmentations, draw, image_size, is_crowd, read_coco
from segkit.data.files.flat_index import FlatIndex, LazySequence, cached_index
from segkit.data.files.named import find_named
from segkit.data.files.outlines import reason
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed, no_object
from segkit.data.interactive.packing import pack_masks
from segkit.files import DataError, brief
from segkit.registry import DATASETS
from segkit.types import ClickObject

SURE_AREA = 16.0
"""Objects of this annotated area or more have a pixel; smaller ones and those without an area are drawn to find out."""


def records(path: Path) -> Iterator[bytes]:
    """Reads an annotation file and yields one record for each image that has an object.

    Yields:
        A line of JSON with id, file_name, height, width and objects (ids of the annotations that are objects), then a
        line with [annotation id, is crowd, segmentation] of each annotation.
    """
    coco = read_coco(path)
    check_segmentations(coco)
    for image in coco.images:
        rows = []
        try:
            head = {"id": image["id"], "file_name": image["file_name"]}
            head["height"], head["width"] = image_size(image, coco.path)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path}, image {brief(image.get('id'))}: {reason(error)}: images need id, file_name, height and width"
            ) from error
        for entry in coco.annotations[image["id"]]:
            source = f"{path}, annotation {brief(entry['id'])}"
            if _has_pixel(entry, head, source):
                rows.append([entry["id"], int(is_crowd(entry, source)), entry["segmentation"]])
        head["objects"] = [number for number, crowd, _ in rows if not crowd]
        if head["objects"]:
            yield json.dumps(head).encode() + b"\n" + json.dumps(rows).encode()


def _has_pixel(entry: dict, image: dict, source: str) -> bool:
    if (area_of(entry, source) or 0) >= SURE_AREA and entry["segmentation"]:
        return True
    return bool(_drawn(entry["segmentation"], image, source).any())


def _drawn(segmentation: list | dict, image: dict, source: str) -> np.ndarray:
    """Draws a mask, bool [H,W]; DataError where it cannot be drawn or has another size than the image."""
    try:
        return draw(segmentation, image["height"], image["width"])
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{source}: the segmentation cannot be drawn ({reason(error)})") from error


class CocoFiles:
    """An annotation file and its folder of images, as a flat index of the images that have an object.

    Args:
        annotations: the JSON file.
        images: folder of the images.
        outside: whether file names may lead out of it.

    Raises:
        DataError: the file has no object, or images are missing.
    """

    def __init__(self, annotations: Path, images: Path, *, outside: bool = False):
        self.annotations, self.images = annotations, images
        self.index: FlatIndex = cached_index([annotations], "coco objects 2", partial(records, annotations))
        if not len(self.index):
            raise DataError(f"{annotations}: none of the images has an annotated object")
        heads = [self.head(number) for number in range(len(self.index))]
        if not images.is_dir():
            raise DataError(f"{images}: no such folder of images; set images=...")
        names = [head["file_name"] for head in heads]
        found = find_named(images, names, annotations, outside=outside)
        self._renamed = {number: name for number, name in enumerate(found) if name != names[number]}
        self.ids = np.array([str(head["id"]) for head in heads])

    def head(self, number: int) -> dict:
        """Entry of an image without its segmentations: id, file_name, height, width and objects."""
        return json.loads(self.index[number].partition(b"\n")[0])

    def path(self, number: int) -> str:
        """File of an image."""
        return str(self.images / (self._renamed.get(number) or self.head(number)["file_name"]))

    def masks(self, number: int) -> tuple[tuple[int, int], list[tuple[int, bool, np.ndarray]]]:
        """Draws the annotations of an image.

        Returns:
            (H, W) as the file declares it, and for each annotation its id, whether it is a crowd, and its mask,
            bool [H,W].
        """
        line, _, rows = self.index[number].partition(b"\n")
        head, masks = json.loads(line), []
        for annotation_id, crowd, segmentation in json.loads(rows):
            mask = _drawn(segmentation, head, f"{self.annotations}, annotation {annotation_id}")
            masks.append((annotation_id, bool(crowd), mask))
        return (head["height"], head["width"]), masks


class Names(LazySequence[str]):
    """A sequence of texts stored in one numpy array, which costs a process no Python object per item.

    Args:
        names: texts [n].
    """

    def __init__(self, names: np.ndarray):
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> str:
        """Reads a text."""
        return str(self._names[index])


def _files(root: str | None, split: str, annotations: str | None, images: str | None, *, outside: bool) -> CocoFiles:
    base = resolve_root(root, "coco")
    standard = base / "annotations" / f"instances_{split}.json"
    return CocoFiles(
        standard if annotations is None else Path(annotations).expanduser(),
        base / split if images is None else Path(images).expanduser(),
        outside=outside,
    )


@DATASETS.register
class COCOClicks(ClickTraining):
    """Every annotation of a COCO file as an object; crowds are ignored regions.

    Images without an object are left out. Overlapping objects lie in different layers.

    Args:
        root: folder with annotations/instances_<split>.json and <split>/.
        split: part of COCO, such as "train2017".
        annotations: any other annotation file in COCO's format.
        images: folder of its images.
        outside: whether file names of the annotation file may be absolute or lead out of `images` by "..". Set it for a
            file of your own alone: names of others could be any file of this machine.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: the file has no object, or images are missing.
    """

    def __init__(
        self,
        root: str | None = None,
        split: str = "train2017",
        *,
        annotations: str | None = None,
        images: str | None = None,
        outside: bool = False,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.read_by(check_reading(exif, nodata, scale, bands))
        self._files = _files(root, split, annotations, images, outside=outside)
        self.ids = Names(self._files.ids)

    def path(self, index: int) -> str:
        return self._files.path(index)

    def mask_path(self, index: int) -> str:
        return f"{self._files.annotations}, image {self.ids[index]}"

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Draws the image's objects, by their annotation ids, and its crowds as ignored regions."""
        size, rows = self._files.masks(index)
        rows = [row for row in rows if row[2].any()]
        layers, slots = pack_masks([mask for _, _, mask in rows])
        objects = {row[0]: ClickObject(*slot) for row, slot in zip(rows, slots) if not row[1]}
        planes = np.stack(layers or [np.zeros(size, np.uint8)])
        return Packed(planes.transpose(1, 2, 0), objects, [slot for row, slot in zip(rows, slots) if row[1]])


@DATASETS.register
class COCOClicksEval(ClickEvaluation):
    """Every annotation of a COCO file that is no crowd, one item each, with the id "image_annotation".

    Crowds of the image are not scored, except where the object lies.

    Args:
        root: folder with annotations/instances_<split>.json and <split>/.
        split: part of COCO, such as "val2017".
        annotations: any other annotation file in COCO's format.
        images: folder of its images.
        outside: whether file names of the annotation file may be absolute or lead out of `images` by "..". Set it for a
            file of your own alone: names of others could be any file of this machine.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: the file has no object, or images are missing.
    """

    def __init__(
        self,
        root: str | None = None,
        split: str = "val2017",
        *,
        annotations: str | None = None,
        images: str | None = None,
        outside: bool = False,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.read_by(check_reading(exif, nodata, scale, bands))
        self._files = _files(root, split, annotations, images, outside=outside)
        objects = [self._files.head(number)["objects"] for number in range(len(self._files.index))]
        self._image = np.repeat(np.arange(len(objects)), [len(object_ids) for object_ids in objects])
        self._object = np.array([object_id for object_ids in objects for object_id in object_ids])
        ids = [f"{self._files.ids[image]}_{object_id}" for image, object_id in zip(self._image, self._object)]
        self.ids = Names(np.array(ids))

    def path(self, index: int) -> str:
        return self._files.path(int(self._image[index]))

    def mask_path(self, index: int) -> str:
        return f"{self._files.annotations}, annotation {self._object[index]}"

    def mask(self, index: int) -> np.ndarray:
        """Draws the target mask, int8 [H,W] of 0, 1 and -1."""
        size, rows = self._files.masks(int(self._image[index]))
        mask = np.zeros(size, np.int8)
        for _, crowd, pixels in rows:
            if crowd:
                mask[pixels] = -1
        target = next(drawn for object_id, _, drawn in rows if object_id == self._object[index])
        if not target.any():
            raise no_object(self.mask_path(index))
        mask[target] = 1
        return mask

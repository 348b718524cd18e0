"""Labels of any known format as a data set of boxes and masks, without converting them."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.dataset import Bands, NoData, ScaleRange, check_reading
from segkit.data.files.flat_index import LazySequence, in_memory
from segkit.data.formats.base import LabelledImage
from segkit.data.formats.chosen import Objects, chosen_items
from segkit.data.formats.draw import box_of, object_codes
from segkit.data.formats.known import open_labels
from segkit.data.instances.base import InstanceDataset, Source
from segkit.registry import DATASETS


class _Masks(LazySequence[bytes]):
    """Record i is the list of run-length codes of the i-th image, null for a box alone; made when it is read."""

    def __init__(self, objects: Objects, items: Sequence[int]):
        self._objects, self._items = objects, items

    def __len__(self) -> int:
        return len(self._items)

    def item(self, index: int) -> bytes:
        """Reads a record."""
        codes = object_codes(_of_classes(self._objects.read(self._items[index]), self._objects.names))
        texts = [None if code is None else dict(size=[*code["size"]], counts=_text(code["counts"])) for code in codes]
        return json.dumps(texts).encode()


def _text(counts: bytes | str) -> str:
    return counts if isinstance(counts, str) else counts.decode("ascii")


def _of_classes(image: LabelledImage, names: Sequence[str]) -> LabelledImage:
    """The image without regions of no class, which boxes cannot mark as ignored."""
    return replace(image, shapes=tuple(shape for shape in image.shapes if shape.label in names))


def _rows(image: LabelledImage, number_of: dict[str, int], first: int) -> list[list]:
    """The values of a BoxAnnotation for each object, their ids counted from `first`."""
    from pycocotools import mask as coco_mask

    rows = []
    for number, (shape, code) in enumerate(zip(image.shapes, object_codes(image)), first):
        x0, y0, x1, y1 = box_of(shape, code)
        area = (x1 - x0) * (y1 - y0) if code is None else int(coco_mask.area(code))
        rows.append([number, number_of[shape.label], int(shape.crowd), area, x0, y0, x1 - x0, y1 - y0])
    return rows


@DATASETS.register
class LabelledInstances(InstanceDataset):
    """Images with labels in any known format (COCO, YOLO, Pascal VOC, folders of masks ...), as boxes and masks.

    Boxes are those that the files state, else the ones around outlines or masks. Of maps of classes each connected
    region of a class is an object. Images that nobody has labelled are left out.

    Args:
        root: folder or file of the labels, with the images.
        format: name of the format; None to find it out.
        split: name of a split of the data; None for all images. "valid" and "validation" mean "val".
        classes: names of the classes to keep, in the order of their labels; None keeps all but the background.
        filtered: for training: leaves out crowds, and images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale, bands: as for Folder.

    Raises:
        DataError: the format is unknown or not clear, there is no such split or class, files are missing, a label
            cannot be read, or no image is left.
    """

    def __init__(
        self,
        root: str,
        format: str | None = None,
        *,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        filtered: bool = False,
        boxes_only: bool = True,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.root, self.format, self.split = root, format, split
        self.read_by(check_reading(exif, nodata, scale, bands))
        reader = open_labels(root, format)
        items, ids = chosen_items(reader, split, root)
        objects = Objects(reader, classes, root)
        number_of = {name: number for number, name in enumerate(objects.names, 1)}
        base = Path(os.path.commonpath([Path(path).parent for path in reader.images]))
        records = [json.dumps([dict(id=number, name=name) for name, number in number_of.items()]).encode()]
        labelled, first = [], 1
        for item, name in zip(items, ids):
            image = _of_classes(objects.read(item), objects.names)
            if not image.is_labelled:
                continue
            labelled.append(item)
            rows = _rows(image, number_of, first)
            first += len(rows)
            file, (height, width) = Path(image.path).relative_to(base).as_posix(), image.size
            records.append(json.dumps([dict(id=name, file_name=file, height=height, width=width), rows]).encode())
        source = Source(str(Path(root)), in_memory(records), partial(_Masks, objects, labelled))
        self._reader, self._items = reader, labelled
        super().__init__(source, base, filtered=filtered, boxes_only=boxes_only)
        self.notes = (*reader.notes, *self.notes)

    def find_files(self, names: Sequence[str], *, outside: bool) -> list[str]:
        """Returns the names as they are: the reader has found the files."""
        return list(names)

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 or float32 [H,W,3] RGB."""
        pixels = self._reader.pixels(self._items[int(self._numbers[index])])
        return super().image(index) if pixels is None else pixels

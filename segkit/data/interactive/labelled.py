"""Labels of any known format for training and scoring clicks, without converting them."""

from collections.abc import Sequence

import numpy as np

from segkit.data.dataset import Bands, NoData, ScaleRange, check_reading
from segkit.data.formats.chosen import Objects, chosen_items
from segkit.data.formats.draw import object_codes
from segkit.data.formats.known import open_labels
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed
from segkit.data.interactive.packing import pack_masks
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import RLE, ClickObject


class _ClickFiles:
    """The images of labels that have an object to click on, and the numbers of these objects.

    Objects without a pixel, and boxes alone, are passed over; crowds are ignored regions.
    """

    def __init__(self, root: str, format: str | None, split: str | None, classes: Sequence[str] | None):
        from pycocotools import mask as coco_mask

        self.root = root
        self.reader = open_labels(root, format)
        self.objects = Objects(self.reader, classes, root)
        self.items: list[int] = []
        self.ids: list[str] = []
        self.numbers: list[list[int]] = []
        boxes = 0
        for item, name in zip(*chosen_items(self.reader, split, root)):
            image = self.objects.read(item)
            codes = object_codes(image)
            boxes += sum(code is None for code in codes)
            numbers = [
                number
                for number, (shape, code) in enumerate(zip(image.shapes, codes))
                if not shape.crowd and code is not None and coco_mask.area(code)
            ]
            if numbers:
                self.items.append(item)
                self.ids.append(name)
                self.numbers.append(numbers)
        if not self.items:
            why = f": {boxes} objects are boxes without an outline" if boxes else ""
            raise DataError(
                f"{root}: none of the images has an object to click on{why}; outline some, or name another split"
            )
        self.notes = self.reader.notes
        if boxes:
            self.notes += (f"{boxes} objects are boxes without an outline and cannot be clicked on",)

    def path(self, number: int) -> str:
        return str(self.reader.images[self.items[number]])

    def pixels(self, number: int) -> np.ndarray | None:
        """Reads an image that is no file of its own; see LabelReader.pixels."""
        return self.reader.pixels(self.items[number])

    def codes(self, number: int) -> list[tuple[RLE, bool]]:
        """Reads the objects of an image that have a mask: run-length code, and whether it is a crowd."""
        image = self.objects.read(self.items[number])
        codes = zip(object_codes(image), image.shapes)
        return [(code, shape.crowd) for code, shape in codes if code is not None]


def _decoded(code: RLE) -> np.ndarray:
    from pycocotools import mask as coco_mask

    return coco_mask.decode(code).astype(bool)


@DATASETS.register
class LabelledClicks(ClickTraining):
    """Images with labels in any known format (COCO, YOLO, Pascal VOC, folders of masks ...), for training with clicks.

    Every object with a pixel is one to click on; of maps of classes each connected region of a class. Crowds are
    ignored regions, boxes alone are passed over, and images without an object are left out.

    Args:
        root: folder or file of the labels, with the images.
        format: name of the format; None to find it out.
        split: name of a split of the data; None for all images. "valid" and "validation" mean "val".
        classes: names of the classes whose objects are kept; None keeps all but the background.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale, bands: as for Folder.

    Raises:
        DataError: the format is unknown or not clear, there is no such split or class, files are missing, a label
            cannot be read, or there is no object.
    """

    def __init__(
        self,
        root: str,
        format: str | None = None,
        *,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.root, self.format, self.split = root, format, split
        self.read_by(check_reading(exif, nodata, scale, bands))
        self._files = _ClickFiles(root, format, split, classes)
        self.ids, self.notes = self._files.ids, self._files.notes

    def path(self, index: int) -> str:
        return self._files.path(index)

    def stored(self, index: int) -> np.ndarray:
        """Reads an image as it is stored, uint8 or float32 [H,W,3]."""
        pixels = self._files.pixels(index)
        return super().stored(index) if pixels is None else pixels

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Draws the image's objects, numbered from 1 in the order of the labels; overlapping ones in several layers."""
        rows = [(_decoded(code), crowd) for code, crowd in self._files.codes(index)]
        rows = [row for row in rows if row[0].any()]
        layers, slots = pack_masks([mask for mask, _ in rows])
        kept = [slot for slot, row in zip(slots, rows) if not row[1]]
        objects = {number: ClickObject(*slot) for number, slot in enumerate(kept, 1)}
        ignored = [slot for slot, row in zip(slots, rows) if row[1]]
        return Packed(np.stack(layers).transpose(1, 2, 0), objects, ignored)


@DATASETS.register
class LabelledClicksEval(ClickEvaluation):
    """Images with labels in any known format, one item per object, for scoring clicks. See `LabelledClicks`.

    Args:
        root: folder or file of the labels, with the images.
        format: name of the format; None to find it out.
        split: name of a split of the data; None for all images. "valid" and "validation" mean "val".
        classes: names of the classes whose objects are kept; None keeps all but the background.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale, bands: as for Folder.

    Raises:
        DataError: see LabelledClicks.
    """

    def __init__(
        self,
        root: str,
        format: str | None = None,
        *,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.root, self.format, self.split = root, format, split
        self.read_by(check_reading(exif, nodata, scale, bands))
        self._files = _ClickFiles(root, format, split, classes)
        self._places = [(i, number) for i, numbers in enumerate(self._files.numbers) for number in numbers]
        self.ids = [f"{self._files.ids[i]}:{number + 1}" for i, number in self._places]
        self.notes = self._files.notes

    def path(self, index: int) -> str:
        return self._files.path(self._places[index][0])

    def stored(self, index: int) -> np.ndarray:
        """Reads an image as it is stored, uint8 or float32 [H,W,3]."""
        pixels = self._files.pixels(self._places[index][0])
        return super().stored(index) if pixels is None else pixels

    def mask_path(self, index: int) -> str:
        return f"{self.path(index)}, object {self._places[index][1] + 1}"

    def mask(self, index: int) -> np.ndarray:
        """Draws the target, int8 [H,W] of 0, 1 and, where a crowd is, -1."""
        position, number = self._places[index]
        image = self._files.objects.read(self._files.items[position])
        target = np.zeros(image.size, np.int8)
        codes = object_codes(image)
        for shape, code in zip(image.shapes, codes):
            if shape.crowd and code is not None:
                target[_decoded(code)] = -1
        code = codes[number]
        assert code is not None, "objects without a mask have no item"
        target[_decoded(code)] = 1
        return target

"""Photographs of recyclable waste: COCO-format annotations of ten materials, drawn into semantic masks.

The layout is that of the Boostcamp AI Tech recycling competition: batch_*/NNNN.jpg beside train.json, val.json and
test.json.
"""

from collections.abc import Mapping

import numpy as np

from segkit.data.dataset import Bands, Dataset, NoData, ScaleRange, check_reading, resolve_root
from segkit.data.files.coco_json import area_of, check_segmentations, draw, image_size, read_coco, to_rle
from segkit.data.files.images import read_image
from segkit.data.files.labels import class_index
from segkit.data.files.named import find_named
from segkit.data.files.outlines import reason
from segkit.files import DataError, brief
from segkit.registry import DATASETS, did_you_mean
from segkit.types import default_palette

CLASSES = (
    *("Background", "General trash", "Paper", "Paper pack", "Metal", "Glass", "Plastic", "Styrofoam"),
    *("Plastic bag", "Battery", "Clothing"),
)


def normalized(name: str) -> str:
    """Returns a category name in the form that is compared: without case, and with spaces for _ and -."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


@DATASETS.register
class Trash(Dataset):
    """Photographs of waste with 11 classes; what no annotation covers is Background (0).

    Where annotations overlap, larger areas are painted first, so that small objects stay visible; of equal areas the
    later one wins. Categories are matched by name, whatever their ids. Crowd regions are painted like any other. Images
    that the file lists without annotations are all Background, unless the file has no annotations at all: then it is
    an unlabelled split.

    Args:
        root: the folder of the annotation files; image names in them are relative to it. None for the default.
        split: "train" for root/train.json, likewise any other name.
        category_map: {category name: class name, index or "ignore"} for names that are no class, such as
            {"UNKNOWN": "ignore"}.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others, and their labels are ignored.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: where a file is missing, a category is no class, or a segmentation cannot be drawn.
    """

    folder = "trash"
    classes = CLASSES
    palette = default_palette(11)

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        category_map: Mapping[str, str] | None = None,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.read_by(check_reading(exif, nodata, scale, bands))
        self.root, self.split, self.category_map = resolve_root(root, self.folder), split, category_map
        coco = read_coco(self.root / f"{split}.json")
        if not coco.images:
            raise DataError(f"{coco.path}: the file lists no images")
        self._file, self._images = coco.path, coco.images
        self._is_labelled = any(coco.annotations.values())
        check_segmentations(coco)
        labels = {number: self._label(name, category_map or {}) for number, name in coco.names.items()}
        heads = [self._head(entry) for entry in coco.images]
        self.ids, self._sizes = [name for name, _ in heads], [size for _, size in heads]
        self._shapes = [
            self._ordered(coco.annotations[entry["id"]], labels, size)
            for entry, size in zip(coco.images, self._sizes, strict=True)
        ]
        self._files = find_named(self.root, self.ids, coco.path, remedy="correct the file")

    def _label(self, name: str, category_map: Mapping[str, str]) -> int:
        """The class index of a category name, or IGNORE."""
        if name in category_map:
            return class_index(category_map[name], self.classes, name)
        known = {normalized(cls): index for index, cls in enumerate(self.classes)}
        if normalized(name) not in known:
            hint = did_you_mean(name, self.classes)
            raise DataError(
                f"{self._file}: category '{name}' is no class{hint}; to leave it out: "
                f"category_map={{'{name}': 'ignore'}}"
            )
        return known[normalized(name)]

    def _head(self, entry: dict) -> tuple[str, tuple[int, int]]:
        """File name and (H, W) of an image."""
        try:
            return entry["file_name"], image_size(entry, self._file)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self._file}, image {brief(entry['id'])}: {reason(error)}: images need file_name, height and width"
            ) from error

    def _ordered(
        self, annotations: list[dict], labels: dict[int, int], size: tuple[int, int]
    ) -> list[tuple[int, list | dict]]:
        """(label, segmentation) of each annotation, in the order of painting."""
        order = sorted(annotations, key=lambda entry: -self._area(entry, size))
        return [(labels[entry["category_id"]], entry["segmentation"]) for entry in order]

    def _area(self, entry: dict, size: tuple[int, int]) -> float:
        """The annotated area in pixels, or that of the outline where there is none."""
        from pycocotools import mask as coco_mask

        area = area_of(entry, f"{self._file}, annotation {brief(entry['id'])}")
        return float(coco_mask.area(to_rle(entry["segmentation"], *size))) if area is None else area

    def path(self, index: int) -> str:
        return str(self.root / self._files[index])

    def mask_path(self, index: int) -> str:
        return f"{self._file}, image {self._images[index]['id']} ({self.ids[index]})"

    def has_mask(self, index: int) -> bool:
        return self._is_labelled

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 [H,W,3] RGB."""
        return read_image(self.path(index), **self.reading._asdict())

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices, and IGNORE where category_map says so.

        Args:
            index: the item.
        """
        mask = np.zeros(self._sizes[index], np.uint8)
        for label, segmentation in self._shapes[index]:
            mask[draw(segmentation, *mask.shape)] = label
        return mask

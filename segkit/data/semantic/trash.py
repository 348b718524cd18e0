"""Photographs of recyclable waste: COCO-format annotations of ten materials, drawn into semantic masks.

The layout is that of the Boostcamp AI Tech recycling competition: batch_*/NNNN.jpg beside train.json, val.json and
test.json.
"""

from collections.abc import Mapping

import numpy as np

from segkit.data.dataset import Dataset, resolve_root
from segkit.data.files.coco_json import draw, read_coco
from segkit.data.files.images import read_image
from segkit.data.files.labels import class_index
from segkit.data.files.pairs import some
from segkit.files import DataError
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

    Raises:
        DataError: where a file is missing or a category is no class.
    """

    folder = "trash"
    classes = CLASSES
    palette = default_palette(11)

    def __init__(self, root: str | None = None, split: str = "train", *, category_map: Mapping[str, str] | None = None):
        self.root, self.split, self.category_map = resolve_root(root, self.folder), split, category_map
        coco = read_coco(self.root / f"{split}.json")
        if not coco.images:
            raise DataError(f"{coco.path}: the file lists no images")
        self._file, self._images = coco.path, coco.images
        self._is_labelled = any(coco.annotations.values())
        labels = {number: self._label(name, category_map or {}) for number, name in coco.names.items()}
        self._shapes = [self._ordered(coco.annotations[entry["id"]], labels) for entry in coco.images]
        self.ids = [entry["file_name"] for entry in coco.images]
        missing = [name for name in self.ids if not (self.root / name).is_file()]
        if missing:
            raise DataError(f"{coco.path}: {len(missing)} of {len(self.ids)} images are missing: {some(missing)}")

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

    @staticmethod
    def _ordered(annotations: list[dict], labels: dict[int, int]) -> list[tuple[int, list | dict]]:
        """(label, segmentation) of each annotation, in the order of painting."""
        order = sorted(annotations, key=lambda entry: -float(entry.get("area", 0)))
        return [(labels[entry["category_id"]], entry["segmentation"]) for entry in order]

    def path(self, index: int) -> str:
        return str(self.root / self.ids[index])

    def mask_path(self, index: int) -> str:
        return f"{self._file}, image {self._images[index]['id']} ({self.ids[index]})"

    def has_mask(self, index: int) -> bool:
        return self._is_labelled

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 [H,W,3] RGB."""
        return read_image(self.path(index))

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices, and IGNORE where category_map says so.

        Args:
            index: the item.

        Raises:
            DataError: where a segmentation cannot be drawn.
        """
        entry = self._images[index]
        mask = np.zeros((entry["height"], entry["width"]), np.uint8)
        for label, segmentation in self._shapes[index]:
            try:
                mask[draw(segmentation, *mask.shape)] = label
            except (TypeError, ValueError, KeyError, IndexError) as error:
                raise DataError(f"{self.mask_path(index)}: a segmentation cannot be drawn ({error})") from error
        return mask

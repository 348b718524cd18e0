"""Cityscapes, Cordts et al., CVPR 2016, https://www.cityscapes-dataset.com."""

from typing import NamedTuple

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.labels import LabelTable
from segkit.data.files.masks import read_mask
from segkit.data.files.pairs import FilePairs, choose_split, list_files, need_masks, pair
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import Color

LAYOUT = "Cityscapes expects leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png"
IMAGE_END = "_leftImg8bit"
NUM_IDS = 34
"""Ids in *_labelIds.png are 0..33; the licence plate's -1 is stored as 255."""


class CityscapesClass(NamedTuple):
    """An evaluated class; its position in CLASSES is its train id.

    Attributes:
        name: as the benchmark names it.
        id: its label in *_labelIds.png.
        color: (r, g, b) in 0..255.
    """

    name: str
    id: int
    color: Color


CLASSES = (
    CityscapesClass("road", 7, (128, 64, 128)),
    CityscapesClass("sidewalk", 8, (244, 35, 232)),
    CityscapesClass("building", 11, (70, 70, 70)),
    CityscapesClass("wall", 12, (102, 102, 156)),
    CityscapesClass("fence", 13, (190, 153, 153)),
    CityscapesClass("pole", 17, (153, 153, 153)),
    CityscapesClass("traffic light", 19, (250, 170, 30)),
    CityscapesClass("traffic sign", 20, (220, 220, 0)),
    CityscapesClass("vegetation", 21, (107, 142, 35)),
    CityscapesClass("terrain", 22, (152, 251, 152)),
    CityscapesClass("sky", 23, (70, 130, 180)),
    CityscapesClass("person", 24, (220, 20, 60)),
    CityscapesClass("rider", 25, (255, 0, 0)),
    CityscapesClass("car", 26, (0, 0, 142)),
    CityscapesClass("truck", 27, (0, 0, 70)),
    CityscapesClass("bus", 28, (0, 60, 100)),
    CityscapesClass("train", 31, (0, 80, 100)),
    CityscapesClass("motorcycle", 32, (0, 0, 230)),
    CityscapesClass("bicycle", 33, (119, 11, 32)),
)


def id_table() -> dict[int, int | str]:
    """Returns the label map of *_labelIds.png: {id: train id or "ignore"}.

    cityscapesscripts/helpers/labels.py.
    """
    table: dict[int, int | str] = dict.fromkeys((-1, *range(NUM_IDS), 255), "ignore")
    return table | {entry.id: index for index, entry in enumerate(CLASSES)}


@DATASETS.register
class Cityscapes(FilePairs):
    """Street scenes of 2048x1024 pixels with 19 classes; 2,975 train, 500 val and 1,525 test images.

    Masks are *_labelTrainIds.png where an image has one, else *_labelIds.png, mapped to the same 19 classes.

    Args:
        root: the folder that holds leftImg8bit and gtFine; None for the default.
        split: "train", "val", "test" (without public labels) or, with labels="gtCoarse", "train_extra".
        labels: "gtFine" or "gtCoarse", the folder of the masks.

    Raises:
        DataError: where files are missing.
    """

    folder = "cityscapes"
    classes = tuple(entry.name for entry in CLASSES)
    palette = tuple(entry.color for entry in CLASSES)

    def __init__(self, root: str | None = None, split: str = "train", *, labels: str = "gtFine"):
        if labels not in ("gtFine", "gtCoarse"):
            raise DataError(f"Cityscapes: labels = '{labels}': must be one of 'gtFine' and 'gtCoarse'")
        choose_split(split, ("train", "val", "test", "train_extra"), "Cityscapes")
        self.root, self.split, self.labels = resolve_root(root, self.folder), split, labels
        self.label_table = LabelTable(self.classes, source="Cityscapes")
        self._id_table = LabelTable(self.classes, label_map=id_table(), source="Cityscapes")
        image_folder = self.root / "leftImg8bit" / split
        files = list_files(image_folder, (".png", ".jpg"), LAYOUT)
        images = {key.removesuffix(IMAGE_END): path for key, path in files.items() if key.endswith(IMAGE_END)}
        pairs: dict[str, str | None] = dict.fromkeys(images)
        if split != "test":
            mask_folder = self.root / labels / split
            masks = list_files(mask_folder, (".png",), LAYOUT)
            pairs = pair(images, masks, (f"_{labels}_labelTrainIds", f"_{labels}_labelIds"))
            need_masks(pairs, images, mask_folder, LAYOUT)
        self.keep(list(images), list(images.values()), list(pairs.values()), image_folder)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of train ids and IGNORE."""
        path = self._masks[index]
        if path is None or path.endswith("_labelTrainIds.png"):
            return super().mask(index)
        return self._id_table.apply(read_mask(path), path)

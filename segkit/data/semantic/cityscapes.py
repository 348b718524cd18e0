"""Cityscapes, Cordts et al., CVPR 2016, https://www.cityscapes-dataset.com."""

from typing import NamedTuple

from segkit.data.dataset import resolve_root
from segkit.data.files.labels import LabelTable
from segkit.data.files.masks import read_mask
from segkit.data.files.pairs import FilePairs, choose_split, list_files, need_masks, pair
from segkit.files import DataError
from segkit.registry import DATASETS

LAYOUT = "Cityscapes expects leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png"
IMAGE_END = "_leftImg8bit"
NUM_IDS = 34
"""Ids in *_labelIds.png are 0..33; the licence plate's -1 is stored as 255."""


class Row(NamedTuple):
    """One evaluated class: its id in *_labelIds.png and its color. Its place in CLASSES is its train id."""

    name: str
    id: int
    color: tuple[int, int, int]


CLASSES = (
    Row("road", 7, (128, 64, 128)),
    Row("sidewalk", 8, (244, 35, 232)),
    Row("building", 11, (70, 70, 70)),
    Row("wall", 12, (102, 102, 156)),
    Row("fence", 13, (190, 153, 153)),
    Row("pole", 17, (153, 153, 153)),
    Row("traffic light", 19, (250, 170, 30)),
    Row("traffic sign", 20, (220, 220, 0)),
    Row("vegetation", 21, (107, 142, 35)),
    Row("terrain", 22, (152, 251, 152)),
    Row("sky", 23, (70, 130, 180)),
    Row("person", 24, (220, 20, 60)),
    Row("rider", 25, (255, 0, 0)),
    Row("car", 26, (0, 0, 142)),
    Row("truck", 27, (0, 0, 70)),
    Row("bus", 28, (0, 60, 100)),
    Row("train", 31, (0, 80, 100)),
    Row("motorcycle", 32, (0, 0, 230)),
    Row("bicycle", 33, (119, 11, 32)),
)


def id_table() -> dict[int, int | str]:
    """Every id of *_labelIds.png -> train id or "ignore": cityscapesscripts/helpers/labels.py."""
    table: dict[int, int | str] = dict.fromkeys((-1, *range(NUM_IDS), 255), "ignore")
    return table | {row.id: index for index, row in enumerate(CLASSES)}


@DATASETS.register
class Cityscapes(FilePairs):
    """Street scenes of 2048x1024, 19 classes; 2,975 train, 500 val, 1,525 test images.

    split: "train", "val", "test" (no public labels) or, with labels="gtCoarse", "train_extra". Masks are
    *_labelTrainIds.png where an image has one, else *_labelIds.png, mapped to the same 19 classes.
    """

    folder = "cityscapes"
    classes = tuple(row.name for row in CLASSES)
    palette = tuple(row.color for row in CLASSES)

    def __init__(self, root: str | None = None, split: str = "train", *, labels: str = "gtFine"):
        if labels not in ("gtFine", "gtCoarse"):
            raise DataError(f"Cityscapes: labels = '{labels}'; there are 'gtFine' and 'gtCoarse'")
        choose_split(split, ("train", "val", "test", "train_extra"), "Cityscapes")
        place = resolve_root(root, self.folder)
        self.labels = LabelTable(self.classes, source="Cityscapes")
        self._ids = LabelTable(self.classes, label_map=id_table(), source="Cityscapes")
        folder = place / "leftImg8bit" / split
        files = list_files(folder, (".png", ".jpg"), LAYOUT)
        images = {key.removesuffix(IMAGE_END): path for key, path in files.items() if key.endswith(IMAGE_END)}
        pairs: dict[str, str | None] = dict.fromkeys(images)
        if split != "test":
            masks = list_files(place / labels / split, (".png",), LAYOUT)
            pairs = pair(images, masks, (f"_{labels}_labelTrainIds", f"_{labels}_labelIds"))
            need_masks(pairs, images, place / labels / split, LAYOUT)
        self.keep(list(images), list(images.values()), list(pairs.values()), folder)

    def mask(self, index: int):
        """-> uint8 [H,W]: train ids and IGNORE."""
        path = self._masks[index]
        if path is None or path.endswith("_labelTrainIds.png"):
            return super().mask(index)
        return self._ids.apply(read_mask(path), path)

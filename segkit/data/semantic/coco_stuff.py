"""COCO-Stuff 164k, Caesar et al., CVPR 2018, https://github.com/nightrome/cocostuff."""

from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.labels import LabelTable
from segkit.data.files.masks import read_mask
from segkit.data.files.pairs import FilePairs, choose_split, list_files, need_masks, pair, split_names
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import default_palette

LAYOUT = "COCOStuff expects images/train2017/*.jpg and stuffthingmaps/train2017/*.png, the same for val2017"
MASK_FOLDERS = ("stuffthingmaps", "annotations", "stuffthingmaps_trainval2017")
"""Usual names of the folder of pixel maps, first choice first."""

NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign, stop
sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-
tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-
other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-
other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement,
pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand,
sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-
other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood,
water-other, waterdrops, window-blind, window-other, wood
"""
"""Names of ids 1..182 as in labels.txt of COCO-Stuff; pixel maps hold id - 1."""

ABSENT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Ids of things that have a name but no annotation; 171 classes are left."""


def raw_table() -> dict[int, int | str]:
    """Returns the label map of the official pixel maps, whose values are id - 1: {value: one of 171 classes}.

    Things without annotations are ignored.
    """
    kept = [number for number in range(1, 183) if number not in ABSENT]
    table: dict[int, int | str] = {number - 1: "ignore" for number in ABSENT}
    return table | {number - 1: index for index, number in enumerate(kept)}


@DATASETS.register
class COCOStuff(FilePairs):
    """Images of COCO 2017 with 80 thing and 91 stuff classes; 118,287 train and 5,000 val images.

    Masks are NAME_labelTrainIds.png (0..170) where an image has one, else the official NAME.png (0..181, mapped); 255
    is ignored. The set has no palette of its own: colors are default_palette's, from the second on.

    Args:
        root: the folder that holds images (or train2017 and val2017) and the pixel maps; None for the default.
        split: "train" or "val".

    Raises:
        DataError: where files are missing.
    """

    folder = "coco_stuff164k"
    classes = tuple(name for number, name in enumerate(split_names(NAMES), 1) if number not in ABSENT)
    palette = default_palette(172)[1:]

    def __init__(self, root: str | None = None, split: str = "train"):
        name = choose_split(split, ("train", "val"), "COCOStuff") + "2017"
        self.root, self.split = resolve_root(root, self.folder), split
        self.label_table = LabelTable(self.classes, source="COCO-Stuff")
        self._raw_table = LabelTable(self.classes, label_map=raw_table(), source="COCO-Stuff")
        image_folder = self.root / "images" / name if (self.root / "images").is_dir() else self.root / name
        mask_folder = find_masks(self.root, name)
        images = list_files(image_folder, IMAGE_SUFFIXES, LAYOUT)
        pairs = pair(images, list_files(mask_folder, (".png",), LAYOUT), ("_labelTrainIds", ""))
        need_masks(pairs, images, mask_folder, LAYOUT)
        self.keep(list(images), list(images.values()), list(pairs.values()), image_folder)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of 0..170 and IGNORE."""
        path = self.mask_path(index)
        table = self.label_table if path.endswith("_labelTrainIds.png") else self._raw_table
        return table.apply(read_mask(path), path)


def find_masks(root: Path, name: str) -> Path:
    """Finds the folder of pixel maps.

    Args:
        root: of the data set.
        name: of the split's folder, "train2017" or "val2017".

    Returns:
        The folder below one of MASK_FOLDERS.

    Raises:
        DataError: where there is none.
    """
    for parent in MASK_FOLDERS:
        if (root / parent / name).is_dir():
            return root / parent / name
    raise DataError(f"{root}: no folder {' or '.join(f'{parent}/{name}' for parent in MASK_FOLDERS)}; {LAYOUT}")

"""Instances of Penn-Fudan, Wang et al., ACCV 2007, https://www.cis.upenn.edu/~jshi/ped_html."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from segkit.data.dataset import resolve_root
from segkit.data.files.coco_json import row_of
from segkit.data.files.flat_index import cached_index
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.masks import MASK_SUFFIXES, read_mask, values_of
from segkit.data.files.pairs import choose_split, list_files, need_masks, pair
from segkit.data.instances.base import InstanceDataset, Source
from segkit.files import DataError
from segkit.registry import DATASETS

LAYOUT = "PennFudanInstances expects PNGImages/NAME.png and PedMasks/NAME_mask.png below root"
NUM_TRAIN = 120
SPLITS = {"train": slice(0, NUM_TRAIN), "test": slice(NUM_TRAIN, None), "all": slice(None)}


def mask_rows(path: str) -> list[dict]:
    """Reads the objects of a mask, by their values: area, bbox and segmentation of each."""
    labels = read_mask(path)
    return [row_of(labels == value) for value in values_of(labels)]


def box_records(files: Sequence[tuple[str, str, str]], root: Path) -> Iterator[bytes]:
    """Yields the records of `Source.boxes`.

    Args:
        files: (name, image, mask) of each item.
        root: folder that the file names of the images are relative to.
    """
    yield json.dumps([dict(id=1, name="pedestrian")]).encode()
    for name, image, mask in files:
        height, width = read_mask(mask).shape
        head = dict(id=name, file_name=str(Path(image).relative_to(root)), height=height, width=width)
        rows = [
            [f"{name}_{number}", 1, 0, entry["area"], *entry["bbox"]] for number, entry in enumerate(mask_rows(mask), 1)
        ]
        yield json.dumps([head, rows]).encode()


def mask_records(files: Sequence[tuple[str, str, str]]) -> Iterator[bytes]:
    """Yields the records of `Source.masks`; files: (name, image, mask) of each item."""
    for _, _, mask in files:
        yield json.dumps([entry["segmentation"] for entry in mask_rows(mask)]).encode()


@DATASETS.register
class PennFudanInstances(InstanceDataset):
    """170 street photographs with 423 pedestrians, one class.

    Files below root: PNGImages/NAME.* and PedMasks/NAME_mask.png. Boxes are the tight ones around the masks; image ids
    are the names of the files.

    Args:
        root: folder of the data set.
        split: "train", the first 120 images by name, "test", the other 50, or "all".
        filtered: for training: leaves out images with a side below 32 pixels or without a box.
        boxes_only: samples hold no masks.

    Raises:
        DataError: there are no images, or an image has no mask.
    """

    folder = "PennFudanPed"

    def __init__(
        self, root: str | None = None, split: str = "train", *, filtered: bool = False, boxes_only: bool = True
    ):
        choose_split(split, tuple(SPLITS), "PennFudanInstances")
        base = resolve_root(root, self.folder)
        image_folder, mask_folder = base / "PNGImages", base / "PedMasks"
        images = list_files(image_folder, IMAGE_SUFFIXES, LAYOUT)
        if not images:
            raise DataError(f"{image_folder}: no images here; {LAYOUT}")
        masks = pair(images, list_files(mask_folder, MASK_SUFFIXES, LAYOUT), ("_mask",))
        need_masks(masks, images, mask_folder, LAYOUT)
        files = [(name, path, str(masks[name])) for name, path in images.items()][SPLITS[split]]
        index = partial(cached_index, [image_folder, mask_folder], keep=True)
        boxes = index(f"penn fudan boxes {split}", partial(box_records, files, base))
        outlines = partial(index, f"penn fudan masks {split}", partial(mask_records, files))
        super().__init__(Source(str(mask_folder), boxes, outlines), base, filtered=filtered, boxes_only=boxes_only)

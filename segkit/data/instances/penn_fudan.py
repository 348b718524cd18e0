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
from segkit.data.instances.base import Instances, Source
from segkit.files import DataError
from segkit.registry import DATASETS

LAYOUT = "PennFudanInstances expects PNGImages/NAME.png and PedMasks/NAME_mask.png below root"
NUM_TRAIN = 120
SPLITS = {"train": slice(0, NUM_TRAIN), "test": slice(NUM_TRAIN, None), "all": slice(None)}


def mask_rows(path: str) -> list[dict]:
    """-> area, bbox and segmentation of each object of a mask, by its value."""
    labels = read_mask(path)
    return [row_of(labels == value) for value in values_of(labels)]


def box_records(files: Sequence[tuple[str, str, str]], root: Path) -> Iterator[bytes]:
    """files: (name, image, mask) each -> the records of Source.boxes."""
    yield json.dumps([dict(id=1, name="pedestrian")]).encode()
    for name, image, mask in files:
        height, width = read_mask(mask).shape
        head = dict(id=name, file_name=str(Path(image).relative_to(root)), height=height, width=width)
        rows = [[f"{name}_{i}", 1, 0, one["area"], *one["bbox"]] for i, one in enumerate(mask_rows(mask), 1)]
        yield json.dumps([head, rows]).encode()


def mask_records(files: Sequence[tuple[str, str, str]]) -> Iterator[bytes]:
    """-> the records of Source.masks."""
    for _, _, mask in files:
        yield json.dumps([one["segmentation"] for one in mask_rows(mask)]).encode()


@DATASETS.register
class PennFudanInstances(Instances):
    """170 street photographs with 423 pedestrians, one class; boxes are the tight ones of the masks.

    split: "train", the first 120 by name, "test", the other 50, or "all". Image ids are the names of the files.
    """

    folder = "PennFudanPed"

    def __init__(
        self, root: str | None = None, split: str = "train", *, filtered: bool = False, boxes_only: bool = True
    ):
        choose_split(split, tuple(SPLITS), "PennFudanInstances")
        place = resolve_root(root, self.folder)
        images = list_files(place / "PNGImages", IMAGE_SUFFIXES, LAYOUT)
        if not images:
            raise DataError(f"{place / 'PNGImages'}: no images here; {LAYOUT}")
        masks = pair(images, list_files(place / "PedMasks", MASK_SUFFIXES, LAYOUT), ("_mask",))
        need_masks(masks, images, place / "PedMasks", LAYOUT)
        files = [(name, path, masks[name]) for name, path in images.items()][SPLITS[split]]
        folders = [place / "PNGImages", place / "PedMasks"]
        index = partial(cached_index, folders, keep=True)
        boxes = index(f"penn fudan boxes {split}", partial(box_records, files, place))
        outlines = partial(index, f"penn fudan masks {split}", partial(mask_records, files))
        super().__init__(Source(str(folders[1]), boxes, outlines), place, filtered=filtered, boxes_only=boxes_only)

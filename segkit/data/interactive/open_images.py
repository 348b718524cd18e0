"""Masks of OpenImages V5 for training with clicks.

Benenson, Popov, Ferrari, CVPR 2019, https://storage.googleapis.com/openimages/web.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import FlatIndex, LazySequence, cached_index
from segkit.data.files.packed_pickle import load_published
from segkit.data.files.pairs import choose_split
from segkit.data.interactive.base import ClickTraining
from segkit.data.interactive.grabcut import by_any, channels
from segkit.files import DataError, brief, inside
from segkit.registry import DATASETS
from segkit.types import ClickObject, Meta, Sample


def records(path: Path) -> Iterator[bytes]:
    """Reads the annotation pickle and yields one JSON record per image, in the order of the file.

    Yields:
        [name, file names of its masks].

    Raises:
        DataError: the file does not hold image_id_to_masks and dataset_samples.
    """
    content = load_published(path)
    try:
        masks, names = content["image_id_to_masks"], content["dataset_samples"]
        for name in names:
            if not masks[name]:
                raise ValueError(f"image {name} has no masks")
            inside(path.parent / "images", str(name), path)
            files = [inside(path.parent / "masks", str(mask), path) for mask in masks[name]]
            yield json.dumps([str(name), files]).encode()
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected image_id_to_masks and dataset_samples ({brief(error)})") from error


class JsonIds(LazySequence[str]):
    """Ids read from an index on demand.

    Args:
        index: each record is a JSON list that begins with the id.
    """

    def __init__(self, index: FlatIndex):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def item(self, index: int) -> str:
        """Reads an id."""
        return json.loads(self._index[index])[0]


@DATASETS.register
class OpenImagesClicks(ClickTraining):
    """Masks of OpenImages V5: about 944,000 train images with 2.7 million masks.

    Files below root: <split>/images/ID.jpg, <split>/masks/*.png and
    <split>/<split>-annotations-object-segmentation_clean.pkl, made by `segkit prepare openimages`. A sample has one
    object: a random mask of its image. Image and mask are resized to the smaller of both sizes.

    Args:
        root: folder of the data set.
        split: "train", "val" or "test".

    Raises:
        DataError: the annotation file is missing, damaged or empty.
    """

    folder = "OpenImages"

    def __init__(self, root: str | None = None, split: str = "train"):
        choose_split(split, ("train", "val", "test"), "OpenImagesClicks")
        self._root = resolve_root(root, self.folder) / split
        path = self._root / f"{split}-annotations-object-segmentation_clean.pkl"
        if not path.is_file():
            raise DataError(f"{path}: no such file; make it: segkit prepare openimages")
        self._index = cached_index([path], "open images", partial(records, path))
        self.ids = JsonIds(self._index)
        if not len(self.ids):
            raise DataError(f"{path}: no images")

    def path(self, index: int) -> str:
        return str(self._root / "images" / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._root / "masks" / json.loads(self._index[index])[1][0])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads an image and a random mask of it.

        Returns:
            image uint8 [H,W,3], layers uint8 [H,W,1], objects (none for an empty mask), ignored and meta.
        """
        name, masks = json.loads(self._index[index])
        path = str(self._root / "masks" / masks[int(rng.integers(len(masks)))])
        image, mask = self.image(index), by_any(channels(path), path).astype(np.uint8)
        height, width = np.minimum(image.shape[:2], mask.shape).tolist()
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
        if mask.shape != (height, width):
            mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        objects = {1: ClickObject(0, 1)} if mask.any() else {}
        meta = Meta(id=name, path=self.path(index), size=(height, width))
        return Sample(image=image, layers=mask[..., None], objects=objects, ignored=[], meta=meta)

"""OpenImages V5 masks, Benenson, Popov, Ferrari, CVPR 2019, https://storage.googleapis.com/openimages/web: training."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import FlatIndex, cached_index
from segkit.data.files.packed_pickle import load_published
from segkit.data.files.pairs import choose_split
from segkit.data.interactive.base import ClickTraining
from segkit.data.interactive.grabcut import by_any, channels
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject, Sample


def records(path: Path) -> Iterator[bytes]:
    """The annotation pickle -> per image in its order: [name, names of its masks] as JSON."""
    content = load_published(path)
    try:
        masks, names = content["image_id_to_masks"], content["dataset_samples"]
        for name in names:
            if not masks[name]:
                raise ValueError(f"image {name} has no masks")
            yield json.dumps([str(name), [str(mask) for mask in masks[name]]]).encode()
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected image_id_to_masks and dataset_samples ({error!r})") from error


class JsonIds:
    """Names of the items of an index whose records are JSON lists that begin with them."""

    def __init__(self, index: FlatIndex):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, place: int) -> str:
        return json.loads(self._index[place])[0]


@DATASETS.register
class OpenImagesClicks(ClickTraining):
    """About 944,000 train images with 2.7 million masks: <split>/images/ID.jpg, <split>/masks/*.png and
    <split>/<split>-annotations-object-segmentation_clean.pkl, made by `prepare_data.py openimages`.

    A sample has one object: a random mask of its image. Image and mask are brought to the smaller of both sizes.
    """

    folder = "OpenImages"

    def __init__(self, root: str | None = None, split: str = "train"):
        choose_split(split, ("train", "val", "test"), "OpenImagesClicks")
        self._place = resolve_root(root, self.folder) / split
        path = self._place / f"{split}-annotations-object-segmentation_clean.pkl"
        if not path.is_file():
            raise DataError(f"{path}: no such file; python tools/prepare_data.py openimages makes it")
        self._index = cached_index([path], "open images", partial(records, path))
        self.ids = JsonIds(self._index)
        if not len(self.ids):
            raise DataError(f"{path}: no images")

    def path(self, index: int) -> str:
        return str(self._place / "images" / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._place / "masks" / json.loads(self._index[index])[1][0])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> image, layers uint8 [H,W,1], objects, ignored and meta; an empty mask gives no object."""
        name, masks = json.loads(self._index[index])
        path = str(self._place / "masks" / masks[int(rng.integers(len(masks)))])
        image, mask = self.image(index), by_any(channels(path)).astype(np.uint8)
        height, width = np.minimum(image.shape[:2], mask.shape).tolist()
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        if mask.shape != (height, width):
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        objects = {1: ClickObject(0, 1)} if mask.any() else {}
        meta = dict(id=name, path=self.path(index), size=(height, width))
        return Sample(image=image, layers=mask[..., None], objects=objects, ignored=[], meta=meta)

"""DAVIS-585, Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574: objects with masks to correct by clicks."""

from pathlib import Path
from typing import Annotated

import numpy as np

from segkit.constraints.named import OneOf
from segkit.data.dataset import resolve_root
from segkit.data.files.pairs import list_files, some
from segkit.data.interactive.base import ClickEvaluation, no_object
from segkit.data.interactive.grabcut import by_blue, channels
from segkit.files import DataError
from segkit.registry import DATASETS

LAYOUT = "DAVIS585 expects SEQUENCE/NAME.jpg and SEQUENCE/objectK_NAME.png below root"
ABOVE = 128
"""Value that the masks' blue channel exceeds on the object."""


@DATASETS.register
class DAVIS585(ClickEvaluation):
    """DAVIS-585: 585 objects in ten frames of each of the validation videos of DAVIS 2017, one item each.

    Files below root: SEQUENCE/NAME.jpg, SEQUENCE/objectK_NAME.png and SEQUENCE/init_sp_objectK_NAME.png.

    Args:
        root: folder of the data set.
        start: masks that clicks start from: "sp", with faults of whole superpixels (published as "from init"), "stm",
            predictions of a video network, or None for none ("from zero"). The published scores from a mask have
            inference.clicks.merge = True.

    Raises:
        DataError: there are no objects, or an object has no image or no mask to start from.
    """

    folder = "DAVIS585"

    def __init__(self, root: str | None = None, *, start: Annotated[str, OneOf(("sp", "stm"))] | None = None):
        base = resolve_root(root, self.folder)
        pictures = list_files(base, (".jpg",), LAYOUT)
        masks = list_files(base, (".png",), LAYOUT)
        self._start = start
        self.ids = [key for key in masks if key.rpartition("/")[2].startswith("object") and "_" in key]
        if not self.ids:
            raise DataError(f"{base}: no objects here; {LAYOUT}")
        images = {key: _image_of(key) for key in self.ids}
        lost = [masks[key] for key, image in images.items() if image not in pictures]
        if lost:
            raise DataError(f"{len(lost)} of {len(self.ids)} masks have no image: {some(lost)}; {LAYOUT}")
        self._images = [pictures[images[key]] for key in self.ids]
        self._masks = [masks[key] for key in self.ids]
        starts = {key: _start_of(key, start) for key in self.ids} if start else {}
        unstarted = [masks[key] for key, name in starts.items() if name not in masks]
        if unstarted:
            raise DataError(
                f"{len(unstarted)} of {len(self.ids)} objects have no mask init_{start}_objectK_NAME.png to start "
                f"from: {some(unstarted)}; unpack the download again, or set start=None"
            )
        self._starts = [masks[starts[key]] for key in self.ids] if start else []

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index]

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0 and 1."""
        target = by_blue(channels(self._masks[index]), ABOVE)
        if not target.any():
            raise no_object(self._masks[index])
        return target

    def start(self, index: int) -> np.ndarray | None:
        """Reads the mask that the first click corrects, bool [H,W]; None from zero."""
        return by_blue(channels(self._starts[index]), ABOVE) > 0 if self._starts else None


def _image_of(key: str) -> str:
    """SEQUENCE/objectK_NAME -> SEQUENCE/NAME."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.partition('_')[2]}"


def _start_of(key: str, start: str) -> str:
    """SEQUENCE/objectK_NAME -> SEQUENCE/init_sp_objectK_NAME."""
    path = Path(key)
    return path.with_name(f"init_{start}_{path.name}").as_posix()

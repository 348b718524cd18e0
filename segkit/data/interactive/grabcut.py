"""Evaluation of clicks on one object per image: GrabCut, Berkeley, DAVIS-345, COCO_MVal.

GrabCut: Rother et al., SIGGRAPH 2004. Berkeley: McGuinness and O'Connor, Pattern Recognition 2010.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.images import AS_STORED, IMAGE_SUFFIXES, decode, load_array, read_bytes
from segkit.data.files.masks import MASK_SUFFIXES
from segkit.data.files.pairs import list_files, some
from segkit.data.interactive.base import ClickEvaluation, no_object
from segkit.files import DataError
from segkit.registry import DATASETS

UNKNOWN = 128
"""Grey value of the band around an object that is not scored; brighter is object, darker background."""


def channels(path: str) -> np.ndarray:
    """-> uint8 [H,W,C] of a mask picture as OpenCV stores it: blue comes first where C is 3; no transparency."""
    if path.lower().endswith(".npy"):
        mask = load_array(path)
    else:
        mask = decode(read_bytes(path), AS_STORED, path)
    if mask.ndim == 2:
        mask = mask[:, :, None]
    if mask.ndim != 3 or mask.dtype not in (np.uint8, bool):
        raise DataError(f"{path}: {mask.dtype} array of {mask.shape}; save the mask as an 8-bit picture")
    return mask[:, :, :3].astype(np.uint8)


def by_grey(mask: np.ndarray) -> np.ndarray:
    """uint8 [H,W,C] -> int8 [H,W] by the first channel: 128 is not scored (-1), brighter object (1), darker not (0)."""
    grey = mask[:, :, 0]
    target = (grey > UNKNOWN).astype(np.int8)
    target[grey == UNKNOWN] = -1
    return target


def by_any(mask: np.ndarray) -> np.ndarray:
    """uint8 [H,W,C] -> int8 [H,W]: 1 where any channel is above 0."""
    return (mask > 0).any(axis=2).astype(np.int8)


class OneObject(ClickEvaluation):
    """Pairs of files: root/<images>/NAME.* with root/<masks>/NAME.*, NAME ending at the first dot. A subclass says the
    folders and how a mask is read."""

    places: tuple[str, str] = ("images", "masks")
    read: Callable[[np.ndarray], np.ndarray] = staticmethod(by_any)

    def __init__(self, root: str | None = None):
        place = resolve_root(root, self.folder)
        layout = f"{type(self).__name__} expects {self.places[0]}/NAME.jpg and {self.places[1]}/NAME.png below root"
        images = list_files(place / self.places[0], IMAGE_SUFFIXES, layout)
        masks = {_stem(path): path for path in list_files(place / self.places[1], MASK_SUFFIXES, layout).values()}
        if not images:
            raise DataError(f"{place / self.places[0]}: no images here; {layout}")
        missing = [path for path in images.values() if _stem(path) not in masks]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(images)} images have no mask in {place / self.places[1]}: {some(missing)}"
            )
        self.ids = list(images)
        self._images = list(images.values())
        self._masks = [masks[_stem(path)] for path in self._images]

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index]

    def mask(self, index: int) -> np.ndarray:
        """-> int8 [H,W] of 0, 1 and -1."""
        target = type(self).read(channels(self._masks[index]))
        if not (target == 1).any():
            raise no_object(self._masks[index])
        return target


def _stem(path: str) -> str:
    """The file's name up to the first dot."""
    return Path(path).name.partition(".")[0]


@DATASETS.register
class GrabCut(OneObject):
    """50 photographs: data_GT/NAME.* and boundary_GT/NAME.*; the band of 128 along outlines is not scored."""

    folder = "GrabCut"
    places = ("data_GT", "boundary_GT")
    read = staticmethod(by_grey)


@DATASETS.register
class Berkeley(OneObject):
    """100 objects in 96 photographs (some lie there twice): images/NAME.* and masks/NAME.*; 128 is not scored."""

    folder = "Berkeley"
    read = staticmethod(by_grey)


@DATASETS.register
class DAVIS(OneObject):
    """345 frames of the DAVIS 2016 videos (Perazzi et al., CVPR 2016): img/NAME.* and gt/NAME.*."""

    folder = "DAVIS"
    places = ("img", "gt")


@DATASETS.register
class COCOMVal(OneObject):
    """800 objects of COCO's validation images, 10 per class (Sofiiuk et al., CVPR 2020): img/NAME.* and gt/NAME.*."""

    folder = "COCO_MVal"
    places = ("img", "gt")

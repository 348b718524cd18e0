"""Evaluation sets with one object to click on per image: GrabCut, Berkeley, DAVIS-345 and COCO_MVal.

GrabCut: Rother et al., SIGGRAPH 2004. Berkeley: McGuinness and O'Connor, Pattern Recognition 2010.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np

from segkit.constraints.named import Range
from segkit.data.dataset import resolve_root
from segkit.data.files.headers import TIFF_STARTS
from segkit.data.files.images import AS_STORED, IMAGE_SUFFIXES, decode, load_array
from segkit.data.files.listing import same_text
from segkit.data.files.masks import MASK_SUFFIXES, picture
from segkit.data.files.pairs import list_files, some
from segkit.data.interactive.base import ClickEvaluation, no_object
from segkit.files import DataError, read_bytes
from segkit.registry import DATASETS

UNKNOWN = 128
"""Grey value of the band around an object that is not scored; brighter is object, darker background."""


def channels(path: str) -> np.ndarray:
    """Reads a mask picture as OpenCV stores it, TIFF as 8-bit colors.

    Returns:
        uint8 [H,W,C]: blue comes first where C is 3; transparency is left out.

    Raises:
        DataError: the file is no 8-bit picture.
    """
    if path.lower().endswith(".npy"):
        mask = load_array(path)
    else:
        content = read_bytes(path)
        is_tiff = content.startswith(TIFF_STARTS)
        mask = picture(content, path)[:, :, ::-1] if is_tiff else decode(content, AS_STORED, path)
    if mask.ndim == 2:
        mask = mask[:, :, None]
    if mask.ndim != 3 or mask.dtype not in (np.uint8, bool):
        raise DataError(f"{path}: {mask.dtype} array of {mask.shape}; save the mask as an 8-bit picture")
    return mask[:, :, :3].astype(np.uint8)


def by_grey(mask: np.ndarray, path: str, remedy: str = "save the mask as 0 and 255") -> np.ndarray:
    """Reads the target from the first channel of uint8 [H,W,C].

    Args:
        mask: of `channels`.
        path: its file, for the error.
        remedy: end of the error's sentence.

    Returns:
        int8 [H,W]: -1 (not scored) where the channel is 128, 1 (object) where it is brighter, 0 elsewhere. In a mask of
        the values 0 and 1 alone 1 is the object.

    Raises:
        DataError: nothing is brighter than 128 although the mask holds other values than 0, 1 and 128, or colors.
    """
    grey = mask[:, :, 0]
    target = (grey > UNKNOWN).astype(np.int8)
    target[grey == UNKNOWN] = -1
    if not (target == 1).any() and mask.any():
        found = [value for value in np.unique(grey).tolist() if value not in (0, UNKNOWN)]
        if found == [1] and not (target == -1).any():
            return (grey == 1).astype(np.int8)
        if found:
            values = ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
            raise DataError(
                f"{path}: no pixel is brighter than {UNKNOWN}, as objects are; it holds {values} beside 0; {remedy}"
            )
        if (mask[:, :, 1:] != grey[:, :, None]).any():
            raise DataError(f"{path}: a color-coded mask whose first channel shows no object; {remedy}")
    return target


def by_any(mask: np.ndarray, path: str) -> np.ndarray:
    """Reads the target from uint8 [H,W,C]: int8 [H,W], 1 where any channel is above 0; path is not used."""
    return np.asarray((mask > 0).any(axis=2), np.int8)


def by_blue(mask: np.ndarray, above: int) -> np.ndarray:
    """Reads the target from the first channel of uint8 [H,W,C]: int8 [H,W], 1 where it is above a value."""
    return np.asarray(mask[:, :, 0] > above, np.int8)


class OneObject(ClickEvaluation):
    """Base of sets of file pairs: root/<images>/NAME.* with root/<masks>/NAME.*, where NAME ends at the first dot.

    A subclass sets `subfolders`, the folders of images and masks, and `read`, which makes a target of a mask picture.

    Args:
        root: folder of the data set.

    Raises:
        DataError: there are no images, or an image has no mask.
    """

    subfolders: tuple[str, str] = ("images", "masks")
    read: Callable[[np.ndarray, str], np.ndarray] = staticmethod(by_any)

    def __init__(self, root: str | None = None):
        base = resolve_root(root, self.folder)
        image_folder, mask_folder = base / self.subfolders[0], base / self.subfolders[1]
        layout = (
            f"{type(self).__name__} expects {self.subfolders[0]}/NAME.jpg and {self.subfolders[1]}/NAME.png below root"
        )
        images = list_files(image_folder, IMAGE_SUFFIXES, layout)
        masks = {_stem(path): path for path in list_files(mask_folder, MASK_SUFFIXES, layout).values()}
        if not images:
            raise DataError(f"{image_folder}: no images here; {layout}")
        missing = [path for path in images.values() if _stem(path) not in masks]
        if missing:
            raise DataError(f"{len(missing)} of {len(images)} images have no mask in {mask_folder}: {some(missing)}")
        self.ids = list(images)
        self._images = list(images.values())
        self._masks = [masks[_stem(path)] for path in self._images]

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index]

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0, 1 and -1."""
        target = type(self).read(channels(self._masks[index]), self._masks[index])
        if not (target == 1).any():
            raise no_object(self._masks[index])
        return target


def _stem(path: str) -> str:
    """The file's name up to the first dot."""
    return same_text(Path(path).name.partition(".")[0])


@DATASETS.register
class GrabCut(OneObject):
    """GrabCut: 50 photographs with one object each.

    Files below root: data_GT/NAME.* and boundary_GT/NAME.*. The band of 128 along outlines is not scored.
    """

    folder = "GrabCut"
    subfolders = ("data_GT", "boundary_GT")
    read = staticmethod(by_grey)


@DATASETS.register
class Berkeley(OneObject):
    """Berkeley: 100 objects in 96 photographs (some photographs lie there twice).

    Files below root: images/NAME.* and masks/NAME.*. Pixels of 128 are not scored.
    """

    folder = "Berkeley"
    read = staticmethod(by_grey)


@DATASETS.register
class DAVIS(OneObject):
    """DAVIS-345: 345 frames of the DAVIS 2016 videos (Perazzi et al., CVPR 2016).

    Files below root: img/NAME.* and gt/NAME.*.
    """

    folder = "DAVIS"
    subfolders = ("img", "gt")


@DATASETS.register
class COCOMVal(OneObject):
    """COCO_MVal: 800 objects of COCO's validation images, 10 per class (Sofiiuk et al., CVPR 2020).

    Files below root: img/NAME.* and gt/NAME.*.

    Args:
        root: folder of the data set.
        above: value that the mask's blue channel exceeds on the object, 128 in ClickSEG's code; None, as in RITM's,
            takes every pixel on which any channel is above 0. Masks that were stored as JPEG differ.

    Raises:
        DataError: there are no images, or an image has no mask.
    """

    folder = "COCO_MVal"
    subfolders = ("img", "gt")

    def __init__(self, root: str | None = None, *, above: Annotated[int, Range(0, 254)] | None = None):
        super().__init__(root)
        self.above = above

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0 and 1."""
        if self.above is None:
            return super().mask(index)
        target = by_blue(channels(self._masks[index]), self.above)
        if not target.any():
            raise no_object(self._masks[index])
        return target

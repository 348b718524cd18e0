"""HQSeg-44K, Ke et al., NeurIPS 2023, https://arxiv.org/abs/2306.01567: fine masks of single objects, from ten sets.

Its scores with clicks are those of the four validation sets.
"""

from typing import Annotated

import numpy as np

from segkit.constraints.named import Filled, OneOf
from segkit.data.dataset import resolve_root
from segkit.data.files.pairs import list_files, some
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed, no_object
from segkit.data.interactive.grabcut import by_any, channels
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject

VAL = {
    "DIS5K-VD": ("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
    "ThinObject5K-TE": (
        "thin_object_detection/ThinObject5K/images_test",
        "thin_object_detection/ThinObject5K/masks_test",
    ),
    "COIFT": ("thin_object_detection/COIFT/images", "thin_object_detection/COIFT/masks"),
    "HRSOD": ("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255"),
}
"""Folders of images and masks of the validation sets, 1,537 images in all, in their published order."""

TRAIN = {
    "DIS5K-TR": ("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
    "ThinObject5K-TR": (
        "thin_object_detection/ThinObject5K/images_train",
        "thin_object_detection/ThinObject5K/masks_train",
    ),
    "FSS": ("cascade_psp/fss_all", "cascade_psp/fss_all"),
    "DUTS-TR": ("cascade_psp/DUTS-TR", "cascade_psp/DUTS-TR"),
    "DUTS-TE": ("cascade_psp/DUTS-TE", "cascade_psp/DUTS-TE"),
    "ECSSD": ("cascade_psp/ecssd", "cascade_psp/ecssd"),
    "MSRA10K": ("cascade_psp/MSRA_10K", "cascade_psp/MSRA_10K"),
}
"""The same of the training sets, 44,320 images; the last five have images and masks side by side in one folder."""


class _Pairs:
    """Photographs (.jpg) and masks (.png) of the chosen sets, each set in the order of names."""

    def __init__(self, root: str | None, folders: dict[str, tuple[str, str]], sets: tuple[str, ...], name: str):
        base = resolve_root(root, "HQSeg44K")
        self.ids: list[str] = []
        self.images: list[str] = []
        self.masks: list[str] = []
        for chosen in sets:
            image_folder, mask_folder = folders[chosen]
            layout = f"{name} expects {image_folder}/NAME.jpg and {mask_folder}/NAME.png below root"
            images = list_files(base / image_folder, (".jpg",), layout)
            masks = list_files(base / mask_folder, (".png",), layout)
            if not images:
                raise DataError(f"{base / image_folder}: no images here; {layout}")
            missing = [path for key, path in images.items() if key not in masks]
            if missing:
                raise DataError(
                    f"{len(missing)} of {len(images)} images have no mask in {base / mask_folder}: {some(missing)}"
                )
            self.ids += [f"{chosen}/{key}" for key in images]
            self.images += images.values()
            self.masks += [masks[key] for key in images]

    def mask(self, index: int) -> np.ndarray:
        """Reads a mask, int8 [H,W]: 1 where any channel is above 0."""
        return by_any(channels(self.masks[index]), self.masks[index])


@DATASETS.register
class HQSeg44K(ClickEvaluation):
    """HQSeg-44K val: 1,537 images with one object each. Nothing is ignored.

    Files below root: the folders of VAL, as the published download unpacks.

    Args:
        root: folder of the data set.
        sets: those that are scored.

    Raises:
        DataError: there are no images in a set, or an image has no mask.
    """

    folder = "HQSeg44K"

    def __init__(
        self,
        root: str | None = None,
        *,
        sets: Annotated[tuple[Annotated[str, OneOf(VAL)], ...], Filled()] = tuple(VAL),
    ):
        self._pairs = _Pairs(root, VAL, tuple(sets), "HQSeg44K")
        self.ids = self._pairs.ids

    def path(self, index: int) -> str:
        return self._pairs.images[index]

    def mask_path(self, index: int) -> str:
        return self._pairs.masks[index]

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0 and 1."""
        target = self._pairs.mask(index)
        if not target.any():
            raise no_object(self.mask_path(index))
        return target


@DATASETS.register
class HQSeg44KClicks(ClickTraining):
    """HQSeg-44K train: 44,320 images with one object each.

    Files below root: the folders of TRAIN, as the published download unpacks.

    Args:
        root: folder of the data set.
        sets: those that are read.

    Raises:
        DataError: there are no images in a set, or an image has no mask.
    """

    folder = "HQSeg44K"

    def __init__(
        self,
        root: str | None = None,
        *,
        sets: Annotated[tuple[Annotated[str, OneOf(TRAIN)], ...], Filled()] = tuple(TRAIN),
    ):
        self._pairs = _Pairs(root, TRAIN, tuple(sets), "HQSeg44KClicks")
        self.ids = self._pairs.ids

    def path(self, index: int) -> str:
        return self._pairs.images[index]

    def mask_path(self, index: int) -> str:
        return self._pairs.masks[index]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the object; an empty mask gives none."""
        mask = self._pairs.mask(index).astype(np.uint8)
        return Packed(mask[:, :, None], {1: ClickObject(0, 1)} if mask.any() else {}, [])

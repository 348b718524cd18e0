"""The base class of data sets, and the folders in which their files lie."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.files import DataError
from segkit.types import IGNORE, Color, Meta, Sample, WithArguments


def resolve_root(root: str | None, folder: str) -> Path:
    """Returns the folder of a data set.

    Args:
        root: the folder the user names, "~" allowed; None for the default.
        folder: name of the set's folder below the data root.

    Returns:
        `root` where it is given, else $SEGKIT_DATA/<folder>, or data/<folder> where the variable is not set.
    """
    if root is not None:
        return Path(root).expanduser()
    return Path(os.environ.get("SEGKIT_DATA", "data")) / folder


class Dataset(WithArguments):
    """Images with labels, read one at a time by index.

    Every data set derives from this class. A subclass sets `ids`, `classes` and `palette` and gives `image(index)` and
    `mask(index)`; sets of object instances override `sample` instead of `mask`, and have `annotations`, their truth in
    COCO form, for the metrics that need it.

    Attributes:
        classes: K names.
        palette: K colors (r, g, b) in 0..255.
        folder: name of the set's folder below the data root.
        ids: one name per item.
        ignore: the label of pixels that are neither trained nor scored; -1 in data sets for clicks.
        sizes: int [items, 2], (H, W) of each image as stored, for samplers that group images by shape; None where the
            set does not know them without reading the images.
        shown: the labels that the masks can hold; None for all K classes. The pre-flight check looks for these alone.
        notes: warnings about the files for the pre-flight report (masks without an image ...).
        facts: further lines for the pre-flight report.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()
    folder: str = ""
    ids: Sequence[str]
    ignore: int = IGNORE
    sizes: np.ndarray | None = None
    shown: Sequence[int] | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> str:
        """Returns the image's file, for messages."""
        return self.ids[index]

    def mask_path(self, index: int) -> str:
        """Returns the label's file, for messages."""
        return self.path(index)

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 or float32 [H,W,C], RGB where C is 3."""
        raise NotImplementedError(f"{type(self).__name__} gives no image()")

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 or int16 [H,W] of class indices 0..K-1 and the ignore value."""
        raise NotImplementedError(f"{type(self).__name__} gives no mask()")

    def has_mask(self, index: int) -> bool:
        """Whether the image is labelled; test splits without public labels have no masks."""
        return True

    def check_size(self, index: int, mask_size: tuple[int, ...], size: tuple[int, int]) -> None:
        """Checks that the labels have the size of their image.

        Args:
            index: the item.
            mask_size: (H, W) of the labels.
            size: (H, W) of the image.

        Raises:
            DataError: where the two differ.
        """
        if tuple(mask_size) != tuple(size):
            turned = "; turned by 90 degrees? EXIF orientation is not applied" if mask_size == size[::-1] else ""
            raise DataError(
                f"{self.mask_path(index)}: mask of {mask_size[1]}x{mask_size[0]} pixels for an image of "
                f"{size[1]}x{size[0]} ({self.path(index)}); export the masks at the images' size{turned}"
            )

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads one item.

        Args:
            index: the item.
            rng: for sets that choose something at random; this method does not use it.

        Returns:
            A sample with image, mask where the image is labelled, and meta (id, path, size = (H, W) as stored).

        Raises:
            DataError: where a file cannot be used, or the mask's size is not the image's.
        """
        image = self.image(index)
        height, width = image.shape[:2]
        sample = Sample(image=image, meta=Meta(id=self.ids[index], path=self.path(index), size=(height, width)))
        if self.has_mask(index):
            mask = self.mask(index)
            self.check_size(index, mask.shape, (height, width))
            sample["mask"] = mask
        return sample

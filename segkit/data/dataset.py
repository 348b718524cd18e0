"""The contract of a data set, and where its files lie."""

import os
from pathlib import Path

import numpy as np

from segkit.files import DataError
from segkit.types import Sample


def resolve_root(root: str | None, folder: str) -> Path:
    """root: the user's folder or None -> that folder, or $SEGKIT_DATA/<folder>, or data/<folder>."""
    if root is not None:
        return Path(root).expanduser()
    return Path(os.environ.get("SEGKIT_DATA", "data")) / folder


class Dataset:
    """Images with labels, read one at a time by index.

    classes: K names; palette: K (r,g,b) in 0..255; folder: name under the data root.
    notes: remarks on the files for the pre-flight report (masks without an image ...).
    A subclass sets `ids` and gives `image(index)` and `mask(index)`; instance sets override `sample`.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    folder: str = ""
    notes: tuple[str, ...] = ()
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> str:
        """The image's file, for messages."""
        return self.ids[index]

    def mask_path(self, index: int) -> str:
        """The label's file, for messages."""
        return self.path(index)

    def image(self, index: int) -> np.ndarray:
        """-> uint8 or float32 [H,W,C], RGB where C is 3."""
        raise NotImplementedError(f"{type(self).__name__} gives no image()")

    def mask(self, index: int) -> np.ndarray:
        """-> uint8 or int16 [H,W]: class indices 0..K-1 and the ignore value."""
        raise NotImplementedError(f"{type(self).__name__} gives no mask()")

    def has_mask(self, index: int) -> bool:
        """Whether the image is labelled; test splits without public labels have none."""
        return True

    def check_size(self, index: int, mask_size: tuple[int, ...], size: tuple[int, int]) -> None:
        """DataError where the label's (H, W) is not the image's."""
        if tuple(mask_size) != tuple(size):
            turned = "; turned by 90 degrees? EXIF orientation is not applied" if mask_size == size[::-1] else ""
            raise DataError(
                f"{self.mask_path(index)}: mask of {mask_size[1]}x{mask_size[0]} pixels for an image of "
                f"{size[1]}x{size[0]} ({self.path(index)}); export the masks at the images' size{turned}"
            )

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> image, mask (if there is one) and meta(id, path, size=(H0,W0)) of one item; rng serves random choices."""
        image = self.image(index)
        height, width = image.shape[:2]
        meta = dict(id=self.ids[index], path=self.path(index), size=(height, width))
        sample = Sample(image=image, meta=meta)
        if self.has_mask(index):
            mask = self.mask(index)
            self.check_size(index, mask.shape, (height, width))
            sample["mask"] = mask
        return sample

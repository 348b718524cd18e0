"""A data set of given masks in files, for tests of what is counted in them."""

from pathlib import Path

import numpy as np

from segkit.data.dataset import Dataset


class Made(Dataset):
    """masks: integer arrays [H,W], None for an image without labels; with `folder` each lies in a .npy file there."""

    def __init__(self, masks: list, num_classes: int = 3, folder: Path | None = None):
        self.classes = tuple(f"c{i}" for i in range(num_classes))
        self.palette = ((0, 0, 0),) * num_classes
        self.ids = [f"{i}" for i in range(len(masks))]
        self.place, self.labelled = folder, [mask is not None for mask in masks]
        self._cache = None if folder else masks
        for i, mask in enumerate(masks if folder else []):
            if mask is not None:
                np.save(self.mask_path(i), mask)

    def mask_path(self, index):
        return str(self.place / f"{index}.npy") if self.place else self.ids[index]

    def has_mask(self, index):
        return self.labelled[index]

    def mask(self, index):
        return np.load(self.mask_path(index)) if self.place else np.asarray(self._cache[index])

    def image(self, index):
        """The place of each pixel: channels y, x and 0."""
        places = np.indices(self.mask(index).shape)
        return np.stack([*places, np.zeros_like(places[0])], axis=2).astype(np.uint8)


def holding(present: list[list[int]], num_classes: int) -> Made:
    """Masks 4x4 of class 0 with one pixel of each further class named."""
    masks = []
    for classes in present:
        mask = np.zeros((4, 4), np.uint8) if 0 in classes else np.full((4, 4), 255, np.uint8)
        mask.flat[: len(classes)] = classes
        masks.append(mask)
    return Made(masks, num_classes)

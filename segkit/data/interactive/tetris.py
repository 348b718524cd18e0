"""TETRIS, Moskalenko et al., AAAI 2024, https://arxiv.org/abs/2402.06132: large photographs for scoring clicks."""

import cv2
import numpy as np

from segkit.constraints.named import PositiveInt
from segkit.data.dataset import resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import list_files, some
from segkit.data.interactive.base import ClickEvaluation, as_target
from segkit.data.interactive.grabcut import channels
from segkit.data.interactive.targets import find_targets
from segkit.files import DataError
from segkit.registry import DATASETS

LAYOUT = "TETRIS expects images/NAME.jpg and masks/NAME.png below root"


def limited(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Returns the (height, width) that an image is shrunk to; the shorter side is rounded half up.

    Args:
        size: (H, W) as stored.
        longest: largest longer side in pixels.
    """
    height, width = size
    if height > width:
        new = min(height, longest)
        return new, int(width / height * new + 0.5)
    new = min(width, longest)
    return int(height / width * new + 0.5), new


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a map of objects, each of them linearly by itself: of two that cover a pixel the larger number wins.

    Args:
        labels: integer [H,W], 0 for none.
        size: (height, width) of the result.

    Returns:
        The same type, [height,width]: an object has the pixels of which it covers half or more.
    """
    if size == labels.shape:
        return labels
    resized = np.zeros(size, labels.dtype)
    for value in np.unique(labels).tolist():
        if value:
            part = (labels == value).astype(np.uint8)
            resized[cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR) > 0] = value
    return resized


def objects_of(mask: np.ndarray) -> np.ndarray:
    """Reads the objects of a color-coded mask: 65536 B + 256 G + R, int32 [H,W] of uint8 [H,W,C], blue first."""
    if mask.shape[2] == 1:
        mask = mask.repeat(3, axis=2)
    blue, green, red = (mask[:, :, c].astype(np.int32) for c in range(3))
    return blue * 65536 + green * 256 + red


@DATASETS.register
class TETRIS(ClickEvaluation):
    """TETRIS: 2,531 objects in 2,000 photographs, one item each. Nothing is ignored.

    Files below root: images/NAME.* and masks/NAME.png, where each color but black is an object. Masks are read once
    for a list of all objects.

    Args:
        root: folder of the data set.
        longest: pixels of the longer side that photographs are shrunk to, 2048 in the published scores; masks with
            them. None for the size as stored.

    Raises:
        DataError: there are no images, an image has no mask, or no mask has an object.
    """

    folder = "TETRIS"

    def __init__(self, root: str | None = None, *, longest: PositiveInt | None = 2048):
        base = resolve_root(root, self.folder)
        self._images = list_files(base / "images", IMAGE_SUFFIXES, LAYOUT)
        self._masks = list_files(base / "masks", (".png",), LAYOUT)
        if not self._images:
            raise DataError(f"{base / 'images'}: no images here; {LAYOUT}")
        missing = [path for key, path in self._images.items() if key not in self._masks]
        if missing:
            raise DataError(f"{len(missing)} of {len(self._images)} images have no mask: {some(missing)}; {LAYOUT}")
        self._longest = longest
        # an object may vanish where its image is shrunk
        about = f"TETRIS {longest}"
        self._targets = find_targets(list(self._images), self._values, sources=[base / "masks"], about=about)
        self.ids = self._targets

    def _values(self, name: str) -> list[int]:
        return [value for value in np.unique(self._labels(name)).tolist() if value]

    def _labels(self, name: str) -> np.ndarray:
        labels = objects_of(channels(self._masks[name]))
        height, width = labels.shape
        return labels if self._longest is None else resize_labels(labels, limited((height, width), self._longest))

    def path(self, index: int) -> str:
        return self._images[self._targets.name(index)]

    def mask_path(self, index: int) -> str:
        return self._masks[self._targets.name(index)]

    def image(self, index: int) -> np.ndarray:
        """Reads a photograph, uint8 [H,W,3] RGB, shrunk to `longest`."""
        image = super().image(index)
        height, width = image.shape[:2]
        size = (height, width) if self._longest is None else limited((height, width), self._longest)
        return image if size == (height, width) else cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0 and 1."""
        name = self._targets.name(index)
        return as_target(self._labels(name), self._targets.value(index), source=self._masks[name])

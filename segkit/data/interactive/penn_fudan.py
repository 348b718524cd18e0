"""Penn-Fudan pedestrians for training with clicks.

Wang et al., ACCV 2007, https://www.cis.upenn.edu/~jshi/ped_html.
"""

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.masks import MASK_SUFFIXES, read_mask
from segkit.data.files.pairs import list_files, need_masks, pair
from segkit.data.interactive.base import ClickTraining, Packed, one_layer
from segkit.files import DataError
from segkit.registry import DATASETS

LAYOUT = "PennFudanClicks expects PNGImages/NAME.png and PedMasks/NAME_mask.png below root"


@DATASETS.register
class PennFudanClicks(ClickTraining):
    """170 street photographs with 423 pedestrians.

    Files below root: PNGImages/NAME.* and PedMasks/NAME_mask.png with values 0 and 1..n.

    Args:
        root: folder of the data set.

    Raises:
        DataError: there are no images, or an image has no mask.
    """

    folder = "PennFudanPed"

    def __init__(self, root: str | None = None):
        base = resolve_root(root, self.folder)
        images = list_files(base / "PNGImages", IMAGE_SUFFIXES, LAYOUT)
        if not images:
            raise DataError(f"{base / 'PNGImages'}: no images here; {LAYOUT}")
        pairs = pair(images, list_files(base / "PedMasks", MASK_SUFFIXES, LAYOUT), ("_mask",))
        need_masks(pairs, images, base / "PedMasks", LAYOUT)
        self.ids, self._images = list(images), list(images.values())
        self._masks = [path for path in pairs.values() if path is not None]

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the pedestrians into one layer, numbered as in the file."""
        return one_layer(read_mask(self._masks[index]), source=self._masks[index])

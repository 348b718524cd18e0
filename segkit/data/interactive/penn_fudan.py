"""Penn-Fudan pedestrians, Wang et al., ACCV 2007, https://www.cis.upenn.edu/~jshi/ped_html: training with clicks."""

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
    """170 street photographs with 423 pedestrians: PNGImages/NAME.*, PedMasks/NAME_mask.png with 0 and 1..n."""

    folder = "PennFudanPed"

    def __init__(self, root: str | None = None):
        place = resolve_root(root, self.folder)
        images = list_files(place / "PNGImages", IMAGE_SUFFIXES, LAYOUT)
        if not images:
            raise DataError(f"{place / 'PNGImages'}: no images here; {LAYOUT}")
        pairs = pair(images, list_files(place / "PedMasks", MASK_SUFFIXES, LAYOUT), ("_mask",))
        need_masks(pairs, images, place / "PedMasks", LAYOUT)
        self.ids, self._images, self._masks = list(images), list(images.values()), list(pairs.values())

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the pedestrians in one layer, numbered as in the file."""
        return one_layer(read_mask(self._masks[index]), place=self._masks[index])

"""Regions of an image that something proposes without naming them, one map for each image (MicroSeg)."""

from pathlib import Path

import numpy as np

from segkit.data.files.masks import read_mask
from segkit.files import DataError
from segkit.types import MOST_PROPOSALS


def read_proposals(file: Path, size: tuple[int, int]) -> np.ndarray:
    """Reads the proposed regions of an image.

    Args:
        file: a map of numbers, 0 where nothing is proposed.
        size: (H, W) of the image.

    Returns:
        uint8 [H,W], the regions numbered anew from 1.

    Raises:
        DataError: it cannot be read, is of another size than the image, or proposes more than MOST_PROPOSALS regions.
    """
    if not file.is_file():
        raise DataError(f"{file}: the proposed regions of an image are missing; runner.proposals has a map ID.png each")
    numbers = read_mask(file)
    if numbers.shape != size:
        raise DataError(
            f"{file}: a map of {numbers.shape[1]}x{numbers.shape[0]} pixels for an image of {size[1]}x{size[0]}; save "
            "the maps of proposed regions at the images' size"
        )
    found, places = np.unique(numbers, return_inverse=True)
    ranks = np.cumsum(found != 0) * (found != 0)
    if ranks.max(initial=0) > MOST_PROPOSALS:
        raise DataError(
            f"{file}: proposes {ranks.max()} regions; keep the {MOST_PROPOSALS} surest and write 0 elsewhere"
        )
    return ranks[places].reshape(size).astype(np.uint8)

"""Masks of objects in the forms that samples hold: arrays, packed bits, run lengths."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from segkit.data.files.coco_json import to_rle
from segkit.data.files.outlines import reason
from segkit.files import DataError
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.types import RLE


def each_mask(masks: np.ndarray | PackedMasks | Sequence[RLE], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields masks one after the other, uint8 [H,W]; packed ones and codes are decoded when it is their turn.

    Args:
        masks: [n,H,W], packed, or n RLE dict(size, counts), compressed or not.
        size: (H, W) of the image.

    Raises:
        DataError: a code is of another size, or does not fill it.
    """
    if isinstance(masks, np.ndarray | PackedMasks):
        yield from masks
        return
    from pycocotools import mask as coco_mask

    for code in masks:
        try:
            compressed = to_rle(code, *size)
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f"a mask of a sample cannot be drawn ({reason(error)}); correct its data set") from error
        yield np.ascontiguousarray(coco_mask.decode(compressed))


def packed_unless_array(
    masks: np.ndarray | PackedMasks | Sequence[RLE], size: tuple[int, int]
) -> torch.Tensor | PackedMasks:
    """Returns arrays as tensors of the same numbers, and run-length codes packed; arguments as of each_mask."""
    if isinstance(masks, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(masks))
    return masks if isinstance(masks, PackedMasks) else PackedMasks.of(each_mask(masks, size), size)


def dense_masks(masks: np.ndarray | PackedMasks | Sequence[RLE], size: tuple[int, int]) -> np.ndarray:
    """Decodes masks.

    Args:
        masks: [n,H,W], which are returned as they are, or packed, or n RLE.
        size: (H, W) of the image.

    Returns:
        uint8 [n,H,W].

    Raises:
        DataError: as of each_mask.
    """
    if isinstance(masks, np.ndarray):
        return masks
    dense = np.zeros((len(masks), *size), np.uint8)
    for canvas, mask in zip(dense, each_mask(masks, size)):
        canvas[:] = mask
    return dense

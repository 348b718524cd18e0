"""Masks of objects with one bit for each pixel: an eighth of their bytes on the way to the loss.

n objects, H W image.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


class PackedMasks:
    """Masks of one size. numpy.asarray gives them as uint8 [n,H,W], iteration one after the other as uint8 [H,W].

    Args:
        bits: uint8 [n,H,ceil(W/8)], rows packed as by numpy.packbits.
        width: W.
    """

    def __init__(self, bits: Tensor, width: int):
        self.bits, self.width = bits, width

    @classmethod
    def of(cls, masks: Iterable[np.ndarray], size: tuple[int, int]) -> "PackedMasks":
        """Packs masks one after the other: one alone is held with a byte for each pixel.

        Args:
            masks: [H,W] each, not 0 where the object is.
            size: (H, W).
        """
        rows = [np.packbits(mask if mask.dtype == np.uint8 else mask != 0, axis=1) for mask in masks]
        bits = np.stack(rows) if rows else np.zeros((0, size[0], -(-size[1] // 8)), np.uint8)
        return cls(torch.from_numpy(bits), size[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, H, W)."""
        return len(self.bits), self.bits.shape[1], self.width

    def __len__(self) -> int:
        return len(self.bits)

    def __iter__(self) -> Iterator[np.ndarray]:
        for bits in self.bits.cpu().numpy():
            yield np.unpackbits(bits, axis=1, count=self.width)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.unpackbits(self.bits.cpu().numpy(), axis=2, count=self.width).astype(dtype or np.uint8, copy=False)

    def rows(self, index: Tensor | np.ndarray) -> "PackedMasks":
        """Returns some of the masks.

        Args:
            index: int64 [m] or bool [n].
        """
        return PackedMasks(self.bits[torch.as_tensor(index, device=self.bits.device)], self.width)

    def to(self, device: torch.device, non_blocking: bool = False) -> "PackedMasks":
        """Returns the masks on a device."""
        return PackedMasks(self.bits.to(device, non_blocking=non_blocking), self.width)

    def pin_memory(self, device: str | None = None) -> "PackedMasks":
        """Returns the masks in memory that is copied to a GPU while that works, for data loaders."""
        return PackedMasks(self.bits.pin_memory(), self.width)

    def dense(self, size: tuple[int, int]) -> Tensor:
        """Unpacks the masks, one after the other.

        Args:
            size: height and width of the result, at least (H, W); it is 0 below and beside the masks.

        Returns:
            uint8 [n,*size] on the device of the masks.
        """
        masks = self.bits.new_zeros(len(self), *size)
        height, width = self.shape[1:]
        if on_host(self.bits):
            for mask, values in zip(masks, self):
                mask[:height, :width] = torch.from_numpy(values)
            return masks
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.bits.device)
        for mask, bits in zip(masks, self.bits):
            mask[:height, :width] = (bits.unsqueeze(2) >> shifts).bitwise_and_(1).flatten(1)[:, :width]
        return masks


def on_host(tensor: Tensor) -> bool:
    """Whether numpy can read a tensor where it is."""
    return tensor.device.type == "cpu"

"""Position embeddings of timm's Vision Transformers on images of any size.

Dosovitskiy et al., ICLR 2021, https://arxiv.org/abs/2010.11929, section 3.2.
"""

from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from segkit.ops.resizing import is_same_size

INTERPOLATIONS = ("bicubic", "bilinear")


class _Patches(Protocol):
    """timm's patch embedding, as far as it is used here."""

    grid_size: tuple[int, int]

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]: ...


class Positions:
    """Resizes the position embedding of a Vision Transformer to the image, in the way its weights were published with.

    timm resizes all of them with antialiasing, which DINOv2 with registers was trained with; mmsegmentation,
    DeiT and DINOv2 without registers do not (and enlarge by another bicubic kernel, too).

    Args:
        encoder: of timm.
        interpolation: "bicubic" or "bilinear".
        antialias: None for that of timm where the encoder has register tokens, else without.
    """

    def __init__(self, encoder: nn.Module, interpolation: str, antialias: bool | None):
        self.path, self.vit = "", None
        for path, module in encoder.named_modules():
            table, patches = getattr(module, "pos_embed", None), getattr(module, "patch_embed", None)
            if not isinstance(table, nn.Parameter) or not hasattr(patches, "dynamic_feat_size"):
                continue
            # Segment Anything's table is a map, [1,h,w,C]; the others are resized where timm would resize them.
            if table.dim() == 4 or (table.dim() == 3 and bool(getattr(module, "dynamic_img_size", False))):
                self.path, self.vit, self.patches = f"{path}.pos_embed".lstrip("."), module, cast(_Patches, patches)
                break
        has_registers = isinstance(getattr(self.vit, "reg_token", None), nn.Parameter)
        self.interpolation, self.antialias = interpolation, has_registers if antialias is None else antialias

    @property
    def is_used(self) -> bool:
        """Whether the encoder has a position embedding that is resized to the image."""
        return self.vit is not None

    def run(self, encoder: nn.Module, image: Tensor) -> list[Tensor]:
        """Runs the encoder with the position embedding at the image's size.

        Args:
            encoder: the one given at the start.
            image: float [B,C,H,W], sides multiples of the patch's.

        Returns:
            The encoder's output.
        """
        table = cast(Tensor, encoder.get_parameter(self.path))
        old = self.patches.grid_size
        new = self.patches.dynamic_feat_size((image.shape[-2], image.shape[-1]))
        # timm resizes from `grid_size`: where that is the image's grid already, it takes the table as it is.
        self.patches.grid_size = (new[0], new[1])
        try:
            resized = self.resize(table, old, self.patches.grid_size)
            return functional_call(encoder, {self.path: resized}, (image,))
        finally:
            self.patches.grid_size = old

    def resize(self, table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        """Resizes an embedding from one grid of patches to another.

        Args:
            table: float [1,P + N,C], P rows for class and register tokens, which are kept, and N for the patches; or
                float [1,h,w,C] without such tokens.
            old, new: rows and columns of the grids.

        Returns:
            float [1,P + new rows * new columns,C], or [1,new rows,new columns,C].
        """
        if table.dim() == 4:
            old = (table.shape[1], table.shape[2])
            return self.resize(table.flatten(1, 2), old, new).unflatten(1, new)
        if is_same_size(old, new):
            return table
        prefix = table.shape[1] - old[0] * old[1]
        patches = resized_table(table[:, prefix:], old, new, mode=self.interpolation, antialias=self.antialias)
        return torch.cat([table[:, :prefix], patches], 1)


def resized_table(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], *, mode: str = "bicubic", antialias: bool = False
) -> Tensor:
    """Resizes a position embedding that has rows for patches alone; of the same grid it is returned as it is.

    Args:
        table: float [1,old rows * old columns,C].
        old, new: rows and columns of the grids.
        mode, antialias: of the interpolation, whose corners are not aligned.

    Returns:
        float [1,new rows * new columns,C].
    """
    if is_same_size(old, new):
        return table
    grid = table.float().unflatten(1, old).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, new, mode=mode, align_corners=False, antialias=antialias)
    return grid.flatten(2).transpose(1, 2).to(table.dtype)

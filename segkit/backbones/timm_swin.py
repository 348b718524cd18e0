"""Swin Transformer as detectors use it, on images of any size; the encoder is timm's.

Liu et al., ICCV 2021, https://arxiv.org/abs/2103.14030. B images, h w map, C channels, N positions of a window.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.timm import LayerNormOfMap, Timm
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES, ConfigError

if TYPE_CHECKING:
    from timm.models.swin_transformer import SwinTransformerBlock


class Block(nn.Module):
    """A Swin block of timm for maps of any size.

    The map is padded to whole windows before it is shifted, and it is shifted at every size (timm shifts first, and not
    at all where one window holds the map of its default image). Positions that were not neighbors before the shift do
    not attend to each other (section 3.2).

    Args:
        block: timm's; its layers keep their names.
    """

    def __init__(self, block: "SwinTransformerBlock"):
        super().__init__()
        self.norm1, self.attn, self.drop_path1 = block.norm1, block.attn, block.drop_path1
        self.norm2, self.mlp, self.drop_path2 = block.norm2, block.mlp, block.drop_path2
        self.window = (block.window_size[0], block.window_size[1])
        self.shift = (block.target_shift_size[0], block.target_shift_size[1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,h,w,C] to the same shape."""
        x = x + self.drop_path1(self._attend(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        rows, columns = self.window
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        back = tuple(-step for step in self.shift)
        size = (x.shape[1], x.shape[2])
        mask = None
        if any(self.shift):
            x = torch.roll(x, back, (1, 2))
            regions = self._windows(_regions(size, self.window, self.shift, x.device).view(1, *size, 1)).squeeze(2)
            mask = torch.zeros((), device=x.device, dtype=x.dtype).where(
                regions.unsqueeze(1) == regions.unsqueeze(2), x.new_full((), -100.0)
            )
        x = self.attn(self._windows(x), mask=mask)
        x = x.view(batch, size[0] // rows, size[1] // columns, rows, columns, -1).transpose(2, 3)
        x = x.reshape(batch, *size, -1)
        return (torch.roll(x, self.shift, (1, 2)) if any(self.shift) else x)[:, :height, :width]

    def _windows(self, x: Tensor) -> Tensor:
        """Splits [B,h,w,C] into [windows of all images,N,C]."""
        batch, height, width, channels = x.shape
        rows, columns = self.window
        x = x.view(batch, height // rows, rows, width // columns, columns, channels)
        return x.transpose(2, 3).reshape(-1, rows * columns, channels)


def _regions(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], device: torch.device) -> Tensor:
    """int64 [h,w], equal where positions of a shifted map were neighbors before the shift."""
    steps = []
    for side, cells, move in zip(size, window, shift):
        position = torch.arange(side, device=device)
        steps.append((position >= side - cells).long() + (position >= side - move).long())
    return 3 * steps[0].unsqueeze(1) + steps[1]


@BACKBONES.register
class TimmSwin(Timm):
    """A Swin Transformer of timm with a layer normalization after each of its four maps, or the deepest of them.

    Args:
        name: of a Swin Transformer of the first version in timm.
        first_norm: number of the first map with a normalization, from 0; maps before it are returned as they are
            (detectron2's networks whose pyramid begins with the second map).
        in_channels, pretrained, frozen_stages, drop_path_rate, pad_divisor, grad_checkpointing, options, mean, std: as
            in Timm. Images are padded to
            multiples of 4 and every map to whole pairs of cells before it is halved, as in mmsegmentation; detectors
            and Mask2Former pad the image to multiples of 32.

    Raises:
        ConfigError: the encoder is no such Swin Transformer.
    """

    def __init__(
        self,
        name: str,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        frozen_stages: NonNegativeInt = 0,
        drop_path_rate: Decay = 0.0,
        pad_divisor: int | None = None,
        grad_checkpointing: bool = False,
        options: dict[str, Any] | None = None,
        first_norm: NonNegativeInt = 0,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name,
            32,
            in_channels,
            pretrained,
            frozen_stages=frozen_stages,
            drop_path_rate=drop_path_rate,
            pad_divisor=pad_divisor,
            grad_checkpointing=grad_checkpointing,
            options=options,
            mean=mean,
            std=std,
        )
        from timm.models.swin_transformer import SwinTransformerStage

        stages = [module for module in self.encoder.modules() if isinstance(module, SwinTransformerStage)]
        if not stages:
            raise ConfigError(
                f"backbone.name = '{name}': is no Swin Transformer of the first version; name one of timm"
            )
        for stage in stages:
            blocks = cast("Iterable[SwinTransformerBlock]", stage.blocks)
            stage.blocks = nn.Sequential(*(Block(block) for block in blocks))
        self.norms = nn.ModuleDict(
            {str(i): LayerNormOfMap(width) for i, width in enumerate(self.channels) if i >= first_norm}
        )
        self.train(self.training)

"""Twins-SVT as mmsegmentation has it; the layers are timm's.

Chu et al., NeurIPS 2021, https://arxiv.org/abs/2104.13840. B images, N positions of a map of h x w, C channels.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.timm import Timm
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES, ConfigError

if TYPE_CHECKING:
    from timm.models.twins import LocallyGroupedAttn

EPS = 1e-5


class MaskedWindows(nn.Module):
    """Attention inside windows, in which cells that pad a map to whole windows are not attended to.

    As published, they are left out only where both rows and columns are padded; where one of the two is, they count as
    cells of zeros do. timm always counts them.

    Args:
        attention: timm's; its layers keep their names.
    """

    def __init__(self, attention: "LocallyGroupedAttn"):
        super().__init__()
        self.qkv, self.proj, self.proj_drop = attention.qkv, attention.proj, attention.proj_drop
        self.side, self.heads, self.dropout = attention.ws, attention.num_heads, attention.attn_drop.p

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps float [B,N,C], of a map of this (h, w), to the same shape."""
        batch, _, channels = x.shape
        height, width = size
        bottom, right = -height % self.side, -width % self.side
        x = F.pad(x.view(batch, height, width, channels), (0, 0, 0, right, 0, bottom))
        query, key, value = self._windows(self.qkv(x)).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        mask = None
        if bottom and right:
            inside = torch.zeros(x.shape[1:3], dtype=torch.bool, device=x.device)
            inside[:height, :width] = True
            mask = self._windows(inside[None, :, :, None]).squeeze(-1)[:, :, None, None, :]
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(query, key, value, mask, dropout).transpose(2, 3).flatten(-2)
        grid = ((height + bottom) // self.side, (width + right) // self.side)
        x = x.unflatten(1, grid).unflatten(3, (self.side, self.side)).transpose(2, 3)
        x = x.reshape(batch, height + bottom, width + right, channels)[:, :height, :width]
        return self.proj_drop(self.proj(x.reshape(batch, height * width, channels)))

    def _windows(self, x: Tensor) -> Tensor:
        """Splits [B,h,w,C] into [B,windows,cells of one,C]."""
        x = x.unflatten(1, (-1, self.side)).unflatten(3, (-1, self.side)).transpose(2, 3)
        return x.flatten(1, 2).flatten(2, 3)


class StageNorm(nn.LayerNorm):
    """A layer normalization in a list of blocks that also take the map's size."""

    def forward(self, x: Tensor, _size: tuple[int, int] | None = None) -> Tensor:
        """Maps float [B,N,C] to the same shape."""
        return super().forward(x)


@BACKBONES.register
class TimmTwins(Timm):
    """A Twins-SVT of timm with a layer normalization behind each stage, which the next stage reads, too.

    Windows at the map's border leave out the cells that pad them, see MaskedWindows. Twins-PCPVT has neither: Timm
    builds it.

    Args:
        name: of a Twins-SVT in timm.
        in_channels, pretrained, frozen_stages, drop_path_rate, options, mean, std: as in Timm.

    Raises:
        ConfigError: the encoder is no Twins-SVT.
    """

    def __init__(
        self,
        name: str,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        frozen_stages: NonNegativeInt = 0,
        drop_path_rate: Decay = 0.0,
        options: dict[str, Any] | None = None,
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
            norm_eps=EPS,
            options=options,
            mean=mean,
            std=std,
        )
        from timm.models.twins import Block, LocallyGroupedAttn, Twins

        model = getattr(self.encoder, "model", None)
        blocks = [module for module in self.encoder.modules() if isinstance(module, Block)]
        local = [block for block in blocks if isinstance(block.attn, LocallyGroupedAttn)]
        if not isinstance(model, Twins) or not local:
            raise ConfigError(
                f"backbone.name = '{name}': is no Twins-SVT; name twins_svt_small, twins_svt_base or twins_svt_large, "
                "or take the backbone Timm"
            )
        for block in local:
            cast(nn.Module, block).attn = MaskedWindows(cast("LocallyGroupedAttn", block.attn))
        for stage, width in zip(cast(Iterable[nn.ModuleList], model.blocks), self.channels):
            stage.add_module("norm", StageNorm(width, eps=EPS))
        self.train(self.training)

"""MobileNetV3 as the segmentation networks of torchvision read it; the encoder is timm's.

Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244; https://github.com/pytorch/vision.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from segkit.backbones.timm import Timm
from segkit.constraints.named import NonNegativeInt, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES

EARLY = 2
"""The stage whose first block gives the map of stride 8; all other maps end with their stage."""

WITHOUT_MAP = (3, 5)
"""Stages at whose end there is no map."""


@BACKBONES.register
class TorchvisionMobileNetV3(Timm):
    """MobileNetV3-L whose map of stride 8 is the output of that stage's first block, as in torchvision.

    It returns five maps, of strides 2, 4, 8, 16, 32 (or 16).

    Args:
        output_stride, in_channels, pretrained, frozen_stages, norm_eval, mean, std: as in Timm.
    """

    def __init__(
        self,
        output_stride: PositiveInt = 16,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            "mobilenetv3_large_100",
            output_stride,
            in_channels,
            pretrained,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            contract_dilation=False,
            mean=mean,
            std=std,
        )
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.01

    def _maps(self, image: Tensor) -> list[Tensor]:
        x = image
        for name in ("conv_stem", "bn1", "act1"):
            x = self.encoder.get_submodule(name)(x)
        maps = []
        for index, stage in enumerate(cast("Iterable[nn.Sequential]", self.encoder.get_submodule("blocks"))):
            for block, layer in enumerate(stage):
                x = layer(x)
                if index == EARLY and block == 0:
                    maps.append(x)
            if index not in (EARLY, *WITHOUT_MAP):
                maps.append(x)
        return maps

"""A ResNet of timm without its max pooling.

"Dilated convolution instead of max pooling" in studies of small objects;
https://github.com/huggingface/pytorch-image-models.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from segkit.backbones.timm import Timm
from segkit.backbones.timm_dilation import dilate
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.layers import bias_of
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmUnpooled(Timm):
    """A ResNet at output stride 32, but with twice the resolution from the first stage on: strides 2, 2, 4, 8, 16.

    All pretrained weights are kept.

    Args:
        name: of a ResNet in timm.
        instead: "conv" replaces the pooling by a 3x3 convolution of dilation 2 that starts as the identity; "dilate"
            removes it and dilates the first stage by 2, so that its convolutions see what they saw after the pooling.
        in_channels, pretrained, frozen_stages, norm_eval, drop_path_rate, mean, std: as in Timm.

    Raises:
        ConfigError: `instead` is neither, or the encoder has no max pooling.
    """

    def __init__(
        self,
        name: str,
        instead: str = "conv",
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        drop_path_rate: Decay = 0.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name,
            32,
            in_channels,
            pretrained,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            drop_path_rate=drop_path_rate,
            mean=mean,
            std=std,
        )
        if instead not in ("conv", "dilate"):
            raise ConfigError(f"backbone.instead = '{instead}': must be 'conv' or 'dilate'")
        if not isinstance(getattr(self.encoder, "maxpool", None), nn.MaxPool2d):
            raise ConfigError(f"backbone.name = '{name}': has no max pooling behind its stem; take a ResNet")
        if instead == "conv":
            self.encoder.maxpool = _identity_conv(self.channels[0])
        else:
            self.encoder.maxpool = nn.Identity()
            dilate(self.encoder.get_submodule("layer1"), 2)
        self.strides = (self.strides[0], *(stride // 2 for stride in self.strides[1:]))
        self._find_sizes(name, in_channels, None)
        del self._probe


def _identity_conv(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, 3, padding=2, dilation=2)
    with torch.no_grad():
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(bias_of(conv))
    return conv

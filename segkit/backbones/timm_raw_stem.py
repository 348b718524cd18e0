"""An encoder of timm whose first map is the plain output of its first convolution, as CascadePSP reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from segkit.backbones.timm_dilated import TimmDilated
from segkit.constraints.named import Decay, NonNegativeInt, OneOf, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmRawStem(TimmDilated):
    """TimmDilated whose first map is the output of the first convolution, before its normalization and activation.

    Takes encoders whose first map has the stride of their first convolution, such as ResNet (64 channels at stride 2)
    or EfficientNet. It reads masks as further channels; pretrained weights of those start at 0, as published.

    Args:
        name, in_channels, pretrained, frozen_stages, norm_eval, drop_path_rate, mean, std: as in Timm.
        dilations: as in TimmDilated; () keeps those that output_stride gives.
        mask_channels: channels of masks that follow those of the image.
        output_stride: as in Timm.

    Raises:
        ConfigError: the encoder's first map is not that of its first convolution.
    """

    def __init__(
        self,
        name: str,
        dilations: tuple[PositiveInt | tuple[PositiveInt, ...], ...] = (),
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        mask_channels: NonNegativeInt = 3,
        output_stride: Annotated[int, OneOf((8, 16, 32))] = 8,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        drop_path_rate: Decay = 0.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        self._raw: Tensor | None = None
        super().__init__(
            name,
            dilations,
            in_channels + mask_channels,
            pretrained,
            output_stride=output_stride,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            drop_path_rate=drop_path_rate,
            mean=mean,
            std=std,
        )
        conv = next((module for module in self.encoder.modules() if isinstance(module, nn.Conv2d)), None)
        if (
            conv is None
            or conv.in_channels != in_channels + mask_channels
            or conv.stride != (self.strides[0], self.strides[0])
        ):
            raise ConfigError(
                f"backbone.name = '{name}': its first map, of stride {self.strides[0]}, is not that of its first "
                "convolution; take a ResNet or an EfficientNet"
            )
        self.channels = (conv.out_channels, *self.channels[1:])
        self.mask_channels = mask_channels
        self.mean, self.std = self.mean[:in_channels], self.std[:in_channels]
        if self.is_pretrained and not conv.weight.is_meta:
            _without_masks(conv.weight, in_channels)
        conv.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        self._raw = output

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels + mask_channels,H,W], the normalized image and the masks.
            stem_add: as in Timm.

        Returns:
            As Timm, but for the first map.
        """
        features = super().forward(image, stem_add)
        raw, self._raw = self._raw, None
        assert raw is not None
        height, width = (-(-side // self.strides[0]) for side in image.shape[-2:])
        return [raw[..., :height, :width], *features[1:]]


@torch.no_grad()
def _without_masks(weight: Tensor, in_channels: int) -> None:
    """Sets the weights of masks to 0, in place, and undoes that timm has scaled the others for more channels."""
    channels = weight.shape[1]
    repeated = weight[:, :3].repeat(1, -(-channels // 3), 1, 1)[:, :channels]
    # weights that were trained with all channels do not repeat the first three
    if channels > in_channels and torch.equal(weight, repeated):
        weight[:, :in_channels] *= channels / in_channels
        weight[:, in_channels:] = 0

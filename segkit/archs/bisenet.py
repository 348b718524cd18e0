"""BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, Yu et al., ECCV 2018,
https://arxiv.org/abs/1808.00897."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from segkit.archs._attention_refinement import AttentionRefinement
from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, per_channel, resize
from segkit.registry import BACKBONES, ConfigError


class GatedFusion(nn.Module):
    """Feature fusion: joins two maps and adds what a gate, computed from the means of channels, lets through.

    Section 3.2, figure 2c, in the form of mmsegmentation: the gate is one convolution with normalization and ReLU.

    Args:
        in_channels: channels of both inputs together.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = ConvBNReLU(in_channels, channels, 1)
        self.gate = ConvBNReLU(channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Fuses float [B,C_i,h,w] of two maps to float [B,channels,h,w]."""
        x = self.conv(torch.cat([detail, context], 1))
        return x + x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


@BACKBONES.register
class BiSeNet(Backbone):
    """BiSeNet: a shallow spatial path of stride 8, and a context path over an encoder of timm, fused.

    Section 3, figure 2, in the form of mmsegmentation. Gives context at strides 16 and 8, which auxiliary heads read in
    training, and the fused map of stride 8.

    Args:
        in_channels: channels of the image.
        encoder: name of an encoder of timm with maps of strides 8, 16 and 32.
        pretrained: loads timm's weights, fetched from the hub.
        channels: width of the context.
        spatial_channels: widths of the four convolutions of the spatial path.
        fused_channels: width of the fused map.
        mean, std: statistics of each channel of the image, in 0..255.

    Raises:
        ConfigError: the encoder has no maps of these strides.
    """

    order = "RGB"
    strides = (16, 8, 8)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        encoder: str = "resnet18",
        *,
        pretrained: bool | None = False,
        channels: PositiveInt = 128,
        spatial_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (64, 64, 64, 128),
        fused_channels: PositiveInt = 256,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        import timm

        is_real = not torch.empty(0).is_meta
        self.is_pretrained = bool(pretrained)
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.channels, self.stem_channels = (channels, channels, fused_channels), spatial_channels[0]
        self.encoder = timm.create_model(
            encoder, bool(pretrained) and is_real, in_chans=in_channels, features_only=True, out_indices=(-3, -2, -1)
        )
        info = cast(Any, self.encoder.feature_info)
        if tuple(info.reduction()) != (8, 16, 32):
            raise ConfigError(
                f"backbone.encoder = '{encoder}': its last maps have strides {tuple(info.reduction())}, and BiSeNet "
                "needs 8, 16 and 32; take another encoder, such as 'resnet18'"
            )
        _, middle, deep = info.channels()
        first, second, third, fourth = spatial_channels
        self.spatial = nn.Sequential(
            ConvBNReLU(in_channels, first, 7, stride=2),
            ConvBNReLU(first, second, stride=2),
            ConvBNReLU(second, third, stride=2),
            ConvBNReLU(third, fourth, 1),
        )
        self.image_pool = ConvBNReLU(deep, channels, 1)
        self.refine = nn.ModuleList(AttentionRefinement(width, channels) for width in (deep, middle))
        self.smooth = nn.ModuleList(ConvBNReLU(channels, channels) for _ in range(2))
        self.fuse = GatedFusion(channels + fourth, fused_channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the three maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,spatial_channels[0],ceil(H / 2),ceil(W / 2)], added after the first convolution of the
                spatial path.

        Returns:
            Context at strides 16 and 8 and the fused map, float [B,channels[i],ceil(H / strides[i]),...].
        """
        x = self.spatial[0](image)
        detail = self.spatial[1:](x if stem_add is None else x + stem_add)
        finest, middle, deep = self.encoder(image)
        context = self.image_pool(deep.mean((2, 3), keepdim=True))
        maps = []
        for x, finer, refine, smooth in zip((deep, middle), (middle, finest), self.refine, self.smooth):
            context = smooth(resize(refine(x) + context, like=finer, mode="nearest"))
            maps.append(context)
        return [*maps, self.fuse(detail, context)]

"""FastFCN: Rethinking Dilated Convolution in the Backbone, Wu et al., 2019, https://arxiv.org/abs/1903.11816."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import PositiveInt
from segkit.models.layers import ConvBNReLU, DepthwiseSeparable, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import NECKS


@NECKS.register
class JPU(nn.Module):
    """Joint pyramid upsampling: approximates a dilated backbone's map of stride 8 from maps of strides 8, 16 and 32.

    Section 3.3, figure 4. The deepest map is replaced, the others pass unchanged. Any head may follow (in the paper
    Enc, PSP and DeepLabV3).

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: width of each reduced map and of each dilated convolution; the new map has len(dilations) times as
            many channels.
        dilations: dilations of the separable convolutions on the joined maps.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 512,
        dilations: tuple[PositiveInt, ...] = (1, 2, 4, 8),
        align_corners: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -3)  # raises where the backbone has fewer than three maps
        self.align_corners = align_corners
        self.channels = (*in_channels[:-1], len(dilations) * channels)
        self.strides = (*strides[:-1], strides[-3])
        self.reduce = nn.ModuleList(ConvBNReLU(width, channels) for width in in_channels[-3:])
        self.dilated = nn.ModuleList(
            DepthwiseSeparable(3 * channels, channels, dilation=dilation, depthwise_act=False) for dilation in dilations
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Replaces the deepest map.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            The same maps, except that the last is float [B,channels[-1],h,w] at the size of the third from the end.
        """
        maps = [conv(x) for conv, x in zip(self.reduce, features[-3:])]
        joint = joined(maps, maps[0].shape[-2:], align_corners=self.align_corners)
        return [*features[:-1], torch.cat([conv(joint) for conv in self.dilated], dim=1)]

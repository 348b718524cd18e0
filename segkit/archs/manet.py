"""MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation, Fan et al., IEEE Access 2020,
https://doi.org/10.1109/ACCESS.2020.3025372."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.decoder_layers import UpBlock, halved_strides, skips_of
from segkit.models.layers import ConvBNReLU
from segkit.ops.resizing import fitted
from segkit.registry import HEADS
from segkit.types import Outputs


class PositionAttention(nn.Module):
    """Position-wise attention block (section III.B) in the form of segmentation_models.

    There the attention of all pairs of positions sums to 1, and not that of each position, and the result [N,C] of N =
    h * w positions is read as a map [C,h,w] without being transposed. Weights trained so are of use only if both stay.

    Args:
        in_channels: C.
        channels: width in which positions are compared.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.queries = nn.Conv2d(in_channels, channels, 1)
        self.keys = nn.Conv2d(in_channels, channels, 1)
        self.values = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.out = nn.Conv2d(in_channels, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        scores = self.queries(x).flatten(2).transpose(1, 2) @ self.keys(x).flatten(2)
        weights = scores.flatten(1).softmax(dim=1).view_as(scores)
        gathered = weights @ self.values(x).flatten(2).transpose(1, 2)
        return self.out(x + gathered.reshape(x.shape))


def _gate(channels: int, reduction: int) -> nn.Sequential:
    hidden = max(1, channels // reduction)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels, hidden, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, channels, 1),
        nn.Sigmoid(),
    )


class FusionBlock(nn.Module):
    """Multi-scale fusion attention block (section III.C): channel gates of the deep and the encoder's map are added.

    Args:
        in_channels: channels of the deep map.
        skip_channels: channels of the encoder's map.
        channels: channels of the output.
        reduction: the gates have skip_channels / reduction hidden channels.
        upsample: mode of F.interpolate, "nearest" or "bilinear".
        norm: uses batch normalization.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        channels: int,
        *,
        reduction: int = 16,
        upsample: str = "nearest",
        norm: bool = True,
    ):
        super().__init__()
        self.upsample = upsample
        self.reduce = nn.Sequential(
            ConvBNReLU(in_channels, in_channels, norm=norm), ConvBNReLU(in_channels, skip_channels, 1, norm=norm)
        )
        self.gate_deep = _gate(skip_channels, reduction)
        self.gate_skip = _gate(skip_channels, reduction)
        self.conv1 = ConvBNReLU(2 * skip_channels, channels, norm=norm)
        self.conv2 = ConvBNReLU(channels, channels, norm=norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w].
            skip: float [B,skip_channels,H,W], H at most 2h + 1, W at most 2w + 1.

        Returns:
            Float [B,channels,H,W].
        """
        x = F.interpolate(self.reduce(x), scale_factor=2, mode=self.upsample)
        x = fitted(x, (skip.shape[-2], skip.shape[-1]))
        x = x * (self.gate_deep(x) + self.gate_skip(skip))
        return self.conv2(self.conv1(torch.cat([x, skip], dim=1)))


@HEADS.register
class MANetHead(Head):
    """MA-Net decoder for any encoder: a U-Net with attention on the deepest map and gated skip connections.

    Figure 1, in the form of segmentation_models. A stride that the encoder has no map for is passed without one.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image.
        channels: channels of the blocks, deep to shallow.
        attention_channels: width in which the deepest map's positions are compared.
        reduction: hidden channels of the gates are those of the encoder's map divided by this number.
        upsample: "nearest" or "bilinear".
        norm: uses batch normalization.
        kernel: kernel size of the classifier.
        dropout: share of channels dropped before the classifier.

    Raises:
        LevelError: there are more blocks than the encoder's deepest stride has doublings.
    """

    needs = ("size",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: tuple[PositiveInt, ...] = (256, 128, 64, 32, 16),
        attention_channels: PositiveInt = 64,
        reduction: PositiveInt = 16,
        upsample: Literal["nearest", "bilinear"] = "nearest",
        norm: bool = True,
        kernel: PositiveInt = 3,
        dropout: Decay = 0.0,
    ):
        super().__init__()
        self.strides = halved_strides(strides, channels)
        self.skips = tuple(skips_of(strides, len(channels)))
        self.attention = PositionAttention(in_channels[-1], attention_channels)
        self.blocks = nn.ModuleList(
            UpBlock(width, 0, out, upsample=upsample, norm=norm)
            if skip is None
            else FusionBlock(width, in_channels[skip], out, reduction=reduction, upsample=upsample, norm=norm)
            for width, skip, out in zip((in_channels[-1], *channels), self.skips, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels[-1], num_classes, kernel, padding=kernel // 2)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the input in pixels.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels[-1],h,w], the input of the classifier, at the
            last block's stride.
        """
        x = self.attention(features[-1])
        for block, skip, stride in zip(self.blocks, self.skips, self.strides):
            if skip is None:
                rows, columns = (-(-side // stride) for side in size)
                x = block(x, None, (rows, columns))
            else:
                x = block(x, features[skip])
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

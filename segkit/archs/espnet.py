"""ESPNet: Efficient Spatial Pyramid of Dilated Convolutions, Mehta et al., ECCV 2018,
https://arxiv.org/abs/1803.06815."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import per_channel
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs

CITYSCAPES_MEAN = (72.3923111, 82.90893555, 73.15840149)
CITYSCAPES_STD = tuple(255 * std for std in (45.3192215, 46.15289307, 44.91483307))
"""Blue, green, red. The released weights take (image - mean) / std / 255."""


class NormPReLU(nn.Module):
    """Batch normalization, then a PReLU with one learned slope per channel.

    Args:
        channels: channels C of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Applies both layers.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,h,w].
        """
        return self.act(self.bn(x))


class ESP(nn.Module):
    """Efficient spatial pyramid: reduces the channels to a fifth and filters them at five dilations.

    Section 3.1, figure 1. From the second dilation on, the results are summed step by step (hierarchical feature
    fusion), so that no gridding artifacts show; all results are concatenated.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: 1 reduces the channels by a 1x1 convolution, 2 by a 3x3 one of that stride.
        is_residual: adds the input before the normalization.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, is_residual: bool = False):
        super().__init__()
        fifth = channels // 5
        self.is_residual = is_residual
        self.reduce = _conv(in_channels, fifth, 1 if stride == 1 else 3, stride=stride)
        # The first branch takes the remainder of the division.
        widths = (channels - 4 * fifth, fifth, fifth, fifth, fifth)
        self.branches = nn.ModuleList(_conv(fifth, width, 3, dilation=2**i) for i, width in enumerate(widths))
        self.norm = NormPReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h / stride,w / stride].
        """
        reduced = self.reduce(x)
        first, *rest = [branch(reduced) for branch in self.branches]
        sums = [first, rest[0]]
        for filtered in rest[1:]:
            sums.append(sums[-1] + filtered)
        merged = torch.cat(sums, dim=1)
        return self.norm(x + merged if self.is_residual else merged)


@BACKBONES.register
class ESPNet(Backbone):
    """ESPNet-C: a convolution and two stages of ESP blocks, with the downsampled image concatenated at two sizes.

    Figure 3, table 1. Gives maps of strides 2, 4 and 8. Images are BGR.

    Args:
        in_channels: channels of the image.
        blocks: ESP blocks of both stages, alpha_2 and alpha_3 in the paper (2 and 8, or 2 and 3).
        image_in_first: concatenates the image to the map of stride 2 that goes to the head, as in the authors' code;
            their released weights for 3 blocks were trained without it.
        mean: mean of each image channel, blue first, in 0..255.
        std: standard deviation of each image channel, blue first; the default includes the factor 255 of the released
            weights.
    """

    order = "BGR"
    strides = (2, 4, 8)
    stem_channels, stem_stride = 16, 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        blocks: tuple[PositiveInt, PositiveInt] = (2, 8),
        *,
        image_in_first: bool = True,
        mean: tuple[float, ...] = CITYSCAPES_MEAN,
        std: tuple[PositiveFloat, ...] = CITYSCAPES_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        first, second, third = self.stem_channels + in_channels, 2 * 64 + in_channels, 2 * 128
        self.image_in_first = image_in_first
        self.channels = (first if image_in_first else self.stem_channels, second, third)
        self.stem = nn.Sequential(_conv(in_channels, self.stem_channels, 3, stride=2), NormPReLU(self.stem_channels))
        self.downs = nn.ModuleList([ESP(first, 64, stride=2), ESP(second, 128, stride=2)])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ESP(width, width, is_residual=True) for _ in range(num)))
            for width, num in zip((64, 128), blocks)
        )
        self.norms = nn.ModuleList(NormPReLU(width) for width in (first, second, third))

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,16,ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Three maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        half = F.avg_pool2d(image, 3, 2, 1)
        quarter = F.avg_pool2d(half, 3, 2, 1)
        x = self.stem(image)
        x = x if stem_add is None else x + stem_add
        with_image = self.norms[0](torch.cat([x, half], dim=1))
        first = with_image if self.image_in_first else x
        x = self.downs[0](with_image)
        second = self.norms[1](torch.cat([self.stages[0](x), x, quarter], dim=1))
        x = self.downs[1](second)
        return [first, second, self.norms[2](torch.cat([x, self.stages[1](x)], dim=1))]


@HEADS.register
class ESPHead(Head):
    """ESPNet's decoder: transposed convolutions of K channels, fused with projections of the earlier maps.

    Figure 3. A 1x1 projection of the map of stride 4 and the map of stride 2 itself are concatenated on the way up. The
    last convolution is transposed too, so this head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
    """

    needs = ("size",)
    classifier = None

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        first, second, third = in_channels[-3:]
        self.project_third = _conv(third, num_classes, 1)
        self.norm_third = nn.BatchNorm2d(num_classes, eps=1e-3)
        self.up_third = _up(num_classes)
        # The ESP block needs a channel for each of its five dilations, however few classes there are.
        width = max(num_classes, 5)
        self.project_second = _conv(second, num_classes, 1)
        self.combine = nn.Sequential(NormPReLU(2 * num_classes), ESP(2 * num_classes, width))
        self.up_second = nn.ConvTranspose2d(width, num_classes, 2, 2, bias=False)
        self.norm_second = NormPReLU(num_classes)
        self.merge = nn.Sequential(_conv(first + num_classes, num_classes, 3), NormPReLU(num_classes))
        self.up_first = _up(num_classes)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps of strides 2, 4 and 8, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,H,W], and "embedding", float [B,K,h_0,w_0].
        """
        first, second, third = features[-3:]
        height, width = second.shape[-2:]
        x = _cut(self.up_third(self.norm_third(self.project_third(third))), (height, width))
        x = self.combine(torch.cat([self.project_second(second), x], dim=1))
        height, width = first.shape[-2:]
        x = self.norm_second(_cut(self.up_second(x), (height, width)))
        embedding = self.merge(torch.cat([x, first], dim=1))
        return {"logits": _cut(self.up_first(embedding), size), "embedding": embedding}


@HEADS.register
class ESPCHead(Head):
    """Classifier of ESPNet-C: a 1x1 convolution without bias on the deepest map (figure 3).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = _conv(in_channels[-1], num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", the deepest map.
        """
        return {"logits": self.classifier(features[-1]), "embedding": features[-1]}


def _conv(in_channels: int, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2 * dilation, dilation, bias=False)


def _up(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, 2, bias=False)


def _cut(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops x, float [B,C,h,w], to size: doubling overshoots by a cell where a size was rounded up on the way down."""
    return x[..., : size[0], : size[1]]

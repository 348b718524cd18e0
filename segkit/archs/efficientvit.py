"""EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction, Cai et al., ICCV 2023,
https://arxiv.org/abs/2205.14756."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, OneOf, OptionalRounds, PositiveFloat, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import at_level
from segkit.ops.averaging import full_precision
from segkit.registry import HEADS
from segkit.types import Outputs

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "hard_swish": nn.Hardswish,
    "gelu": partial(nn.GELU, approximate="tanh"),
}
"""By name; the published code has GELU by its tanh form."""


def _conv(
    in_channels: int, channels: int, kernel: int = 1, *, groups: int = 1, act: str = "", norm_eps: float = 1e-5
) -> nn.Sequential:
    """Convolution, batch normalization and, where it is named, an activation."""
    layers = [
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels, eps=norm_eps),
    ]
    return nn.Sequential(*layers, ACTIVATIONS[act]()) if act else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Inverted bottleneck of MobileNetV2, around which the input is added.

    Args:
        channels: of input and output.
        expand: width inside as a multiple of channels.
        act: activation inside, of ACTIVATIONS.
        fused: widens by one 3x3 convolution, in place of a 1x1 and a depthwise 3x3.
        norm_eps: epsilon of the normalizations.
    """

    def __init__(self, channels: int, expand: int, act: str, *, fused: bool, norm_eps: float):
        super().__init__()
        width = channels * expand
        conv = partial(_conv, norm_eps=norm_eps)
        wide = [conv(channels, width, act=act), conv(width, width, 3, groups=width, act=act)]
        if fused:
            wide = [conv(channels, width, 3, act=act)]
        self.convs = nn.Sequential(*wide, conv(width, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,h,w] to the same shape."""
        return x + self.convs(x)


@HEADS.register
class EfficientViTHead(Head):
    """EfficientViT's segmentation head: the last three maps, narrowed and summed at stride 8, and a few convolutions.

    Section 3.3, figure 6. The coarser maps are enlarged bicubically. Takes images of any size; the published code fails
    where a side is no multiple of 32, with which this one agrees.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the head: 32, 64, 96, 128 with encoders B0 to B3, 256 with L1 and L2.
        blocks: inverted bottlenecks after the sum: 1 with B0, 5 with L2, else 3.
        expand: width inside them as a multiple of channels.
        classifier_expand: width before the classifier as a multiple of channels; 0 for no convolution of its own, as in
            the published models of ADE20K on B0 to B3 and of Cityscapes on L1 and L2.
        dropout: share of channels dropped before the classifier.
        fused: bottlenecks with one full 3x3 convolution in place of a 1x1 and a depthwise 3x3, as with L1 and L2.
        activation: "hard_swish", or "gelu" with L1 and L2.
        norm_eps: epsilon of the normalizations; 1e-7 in the published models on L1 and L2.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 32,
        blocks: PositiveInt = 1,
        expand: PositiveInt = 4,
        classifier_expand: OptionalRounds = 4,
        dropout: Decay = 0.0,
        fused: bool = False,
        activation: Annotated[str, OneOf(("hard_swish", "gelu"))] = "hard_swish",
        norm_eps: PositiveFloat = 1e-5,
    ):
        super().__init__()
        conv = partial(_conv, norm_eps=norm_eps)
        self.inputs = nn.ModuleList(conv(at_level(in_channels, level), channels) for level in (-1, -2, -3))
        self.blocks = nn.Sequential(
            *(InvertedResidual(channels, expand, activation, fused=fused, norm_eps=norm_eps) for _ in range(blocks))
        )
        width = channels * (classifier_expand or 1)
        self.widen = conv(channels, width, act=activation) if classifier_expand else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w] of the third map from the end, and "embedding", the input of the classifier.
        """
        maps = [conv(features[-1 - i]) for i, conv in enumerate(self.inputs)]
        size = (maps[-1].shape[-2], maps[-1].shape[-1])
        x = maps[-1]
        for coarse in maps[:-1]:
            large = F.interpolate(full_precision(coarse), size, mode="bicubic", align_corners=False)
            x = x + large.to(x.dtype)
        embedding = self.dropout(self.widen(self.blocks(x)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

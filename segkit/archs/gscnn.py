"""Gated-SCNN: Gated Shape CNNs for Semantic Segmentation, Takikawa et al., ICCV 2019,
https://arxiv.org/abs/1907.05740."""

import torch
from torch import Tensor, nn

from segkit.archs._canny import canny
from segkit.constraints.named import PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConcatConv2d, ConvBNReLU, at_level, resize
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS
from segkit.types import Outputs

CANNY_LOW, CANNY_HIGH = 10.0, 100.0
"""Thresholds of Canny's edges in the authors' code."""

WIDTHS = (32, 16, 8)
"""Channels of the shape stream at its three gates."""


class GatedConv(nn.Module):
    """Gated convolutional layer: weights the shape stream by a gate that a side map of the encoder opens.

    Section 3.1, eq. 1 and 2, with the residual connection: 1x1 convolution of s (1 + gate), the gate in 0..1.

    Args:
        channels: channels of the shape stream.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.BatchNorm2d(channels + 1),
            nn.Conv2d(channels + 1, channels + 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels + 1, 1, 1),
            nn.BatchNorm2d(1),
        )
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, side: Tensor) -> Tensor:
        """Weights the stream.

        Args:
            x: float [B,channels,H,W].
            side: float [B,1,H,W].

        Returns:
            float [B,channels,H,W].
        """
        gate = self.gate(torch.cat([x, side], 1)).sigmoid()
        return self.conv(x * (1 + gate))


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is added, as in ResNet-18.

    Args:
        channels: channels of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.Sequential(ConvBNReLU(channels, channels), ConvBNReLU(channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,H,W] to the same shape."""
        return (x + self.convs(x)).relu()


class ShapeStream(nn.Module):
    """Predicts edges at the image's size from an early map, gated by deeper maps (section 3.1).

    Args:
        in_channels: of the early map, and of the maps that open the three gates.
    """

    def __init__(self, in_channels: tuple[int, int, int, int]):
        super().__init__()
        stem, *deeper = in_channels
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in deeper)
        before = (stem, *WIDTHS)
        self.blocks = nn.ModuleList(Residual(width) for width in before[:3])
        self.reduce = nn.ModuleList(nn.Conv2d(wide, width, 1) for wide, width in zip(before, WIDTHS))
        self.gates = nn.ModuleList(GatedConv(width) for width in WIDTHS)
        self.edge = nn.Conv2d(WIDTHS[-1], 1, 1, bias=False)

    def forward(self, stem: Tensor, deeper: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Predicts edges.

        Args:
            stem: float [B,in_channels[0],h,w].
            deeper: three maps, float [B,in_channels[i + 1],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            Logits of edges, float [B,1,H,W].
        """
        x = resize(stem, size=size, align_corners=True)
        for block, reduce, gate, side, feature in zip(self.blocks, self.reduce, self.gates, self.sides, deeper):
            x = gate(reduce(block(x)), resize(side(feature), size=size, align_corners=True))
        return self.edge(x)


@HEADS.register
class GatedSCNNHead(Head):
    """Gated-SCNN: a shape stream at the image's size predicts edges, which enter the atrous pyramid of DeepLabv3+.

    Section 3, figure 2. The defaults read a WideResNet38 as published. For a ResNet of timm, whose five maps begin with
    the stem, set stem_level=-5, low_level=-4 and gate_levels=(-3, -2, -1); the authors' code has no such network.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of each pyramid branch, of the fused and of the refined map.
        rates: dilations of the pyramid's 3x3 convolutions, for output stride 8.
        low_channels: width that the early map of the decoder is reduced to.
        stem_level: map that the shape stream begins with, counted from the end.
        low_level: early map of the decoder.
        gate_levels: maps that open the three gates.
        canny: adds Canny's edges of the image to the predicted ones before they enter the pyramid. They are computed by
            OpenCV on the CPU, also where the model runs on a GPU, as in the published network. False puts 0 in their
            place.
        canny_of_normalized: finds them in the normalized image, cut to whole numbers modulo 256, as the authors' code
            does and the released weights expect; False in the image itself.
    """

    needs = ("image", "pixels", "size")

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        rates: tuple[PositiveInt, ...] = (12, 24, 36),
        low_channels: PositiveInt = 48,
        stem_level: int = -7,
        low_level: int = -6,
        gate_levels: tuple[int, int, int] = (-5, -4, -1),
        canny: bool = True,
        canny_of_normalized: bool = False,
    ):
        super().__init__()
        self.stem_level, self.low_level, self.gate_levels = stem_level, low_level, gate_levels
        self.canny, self.canny_of_normalized = canny, canny_of_normalized
        first, second, third = (at_level(in_channels, level) for level in gate_levels)
        self.shape = ShapeStream((at_level(in_channels, stem_level), first, second, third))
        self.mix_canny = nn.Conv2d(2, 1, 1, bias=False)
        self.aspp = ASPP(in_channels[-1], channels, rates)
        self.edge_branch = ConvBNReLU(1, channels, 1)
        self.fuse = ConcatConv2d((len(rates) + 3) * channels, channels, 1, bias=False)
        self.low = nn.Conv2d(at_level(in_channels, low_level), low_channels, 1, bias=False)
        self.refine = nn.Sequential(ConvBNReLU(channels + low_channels, channels), ConvBNReLU(channels, channels))
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, features: list[Tensor], image: Tensor, pixels: Tensor, size: tuple[int, int]) -> Outputs:
        """Predicts class logits and edges.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            image: the normalized image, float [B,C,H,W].
            pixels: the image, uint8 [B,C,H,W].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, both of the
            size of the decoder's early map; "edge", float [B,1,H,W], the logits of edges.
        """
        deep = features[-1]
        edge = self.shape(features[self.stem_level], [features[level] for level in self.gate_levels], size)
        both = torch.cat([edge.sigmoid(), self._canny_edges(image, pixels, edge)], 1)
        mixed = resize(self.mix_canny(both).sigmoid(), like=deep, align_corners=True)
        pooled, *branches = self.aspp(deep)
        fused = self.fuse([pooled, self.edge_branch(mixed), *branches], tuple(deep.shape[-2:]))
        low = self.low(features[self.low_level])
        embedding = self.refine(joined([low, fused], (low.shape[2], low.shape[3]), align_corners=True))
        return {"logits": self.classifier(embedding), "edge": edge, "embedding": embedding}

    def _canny_edges(self, image: Tensor, pixels: Tensor, edge: Tensor) -> Tensor:
        """Canny's edges, 0 or 255, or 0 everywhere: float [B,1,H,W], of the dtype of `edge`."""
        if not self.canny:
            return torch.zeros_like(edge)
        if self.canny_of_normalized:
            pixels = (image.detach().to(torch.int32) & 255).to(torch.uint8)
        return canny(pixels, CANNY_LOW, CANNY_HIGH).to(edge.dtype)

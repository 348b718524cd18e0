"""Learning to Predict Context-adaptive Convolution for Semantic Segmentation (CaC-Net), Liu et al., ECCV 2020,
https://arxiv.org/abs/2004.08222."""

import torch
from torch import Tensor, nn

from segkit.archs._predicted_filter import convolve_each
from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, ImagePool, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


class ContextAdaptiveConvolution(nn.Module):
    """Context-adaptive convolution: gates the map by a depthwise kernel predicted from the whole image.

    Section 3, figure 2. The gate of each position and channel is a sum of sigmoids, one per dilation rate of the one
    predicted kernel.

    Args:
        channels: channels of input and output.
        size: odd side of the predicted kernel.
        rates: dilations at which the kernel is applied.
        norm: applies batch normalization to the predicted kernels.

    Raises:
        ValueError: size is even.
    """

    def __init__(self, channels: int, size: int = 3, *, rates: tuple[int, ...] = (1, 3, 5), norm: bool = True):
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"kernel size {size}: must be odd, so that the kernel has a center")
        self.size, self.rates = size, tuple(rates)
        self.query = nn.Conv2d(channels, size * size, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def kernels(self, x: Tensor) -> Tensor:
        """Predicts one depthwise kernel per image and channel.

        Each tap is a mean of the keys over all positions, weighted by that tap's own softmax over the positions.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,size,size].
        """
        weight = self.query(x).flatten(2).softmax(2)
        taps = self.key(x).flatten(2) @ weight.transpose(1, 2)
        return self.norm(taps.unflatten(2, (self.size, self.size)))

    def forward(self, x: Tensor) -> Tensor:
        """Gates a feature map.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w], x times a weight between 0 and len(rates).
        """
        kernels = self.kernels(x)
        return x * sum(torch.sigmoid(convolve_each(x, kernels, dilation=rate)) for rate in self.rates)


@HEADS.register
class CaCHead(Head):
    """Context-adaptive convolution on the reduced deepest map, concatenated with the global mean, fused and classified.

    Section 3. No code of the authors is public, so parity is not measured.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the reduced and of the fused map.
        kernel: odd side of the predicted kernels.
        rates: dilations at which each predicted kernel is applied.
        norm: applies batch normalization to the predicted kernels.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        kernel: PositiveInt = 3,
        rates: tuple[PositiveInt, ...] = (1, 3, 5),
        norm: bool = True,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        self.reduce = ConvBNReLU(at_level(in_channels, level), channels)
        self.adapt = ContextAdaptiveConvolution(channels, kernel, rates=rates, norm=norm)
        self.pool = ImagePool(channels, channels)
        self.fuse = ConvBNReLU(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = self.reduce(features[self.level])
        embedding = self.dropout(self.fuse(torch.cat([self.adapt(x), self.pool(x)], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

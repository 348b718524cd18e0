"""Learning to Predict Context-adaptive Convolution for Semantic Segmentation (CaC-Net), Liu et al., ECCV 2020,
https://arxiv.org/abs/2004.08222."""

import torch
from torch import Tensor, nn

from segkit.archs._predicted_filter import convolve_each
from segkit.models.layers import ConvBNReLU, ImagePool, at_level
from segkit.registry import HEADS


class ContextAdaptiveConvolution(nn.Module):
    """Gates every position and channel by what a depthwise kernel, predicted from the whole image, finds around it
    (section 3, figure 2): [B,channels,h,w] -> the same.

    size: of the kernel's side; rates: dilations at which the one kernel is applied, its answers' sigmoids are summed;
    norm: whether the predicted kernels are normalized.
    """

    def __init__(self, channels: int, size: int = 3, *, rates: tuple[int, ...] = (1, 3, 5), norm: bool = True):
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"kernel size {size}: an odd number is needed, so that the kernel has a middle")
        self.size, self.rates = size, tuple(rates)
        self.query = nn.Conv2d(channels, size * size, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def kernels(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,size,size]: each tap is the mean of the keys, weighted by that
        tap's own softmax over the positions."""
        weight = self.query(x).flatten(2).softmax(2)
        taps = self.key(x).flatten(2) @ weight.transpose(1, 2)
        return self.norm(taps.unflatten(2, (self.size, self.size)))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w], x times a weight between 0 and len(rates)."""
        kernels = self.kernels(x)
        return x * sum(torch.sigmoid(convolve_each(x, kernels, dilation=rate)) for rate in self.rates)


@HEADS.register
class CaCHead(nn.Module):
    """The reduced deepest map gated by context-adaptive convolution, beside the image's mean, fused and classified.

    Section 3. kernel, rates, norm: of ContextAdaptiveConvolution. No code of the authors is public: no parity.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        kernel: int = 3,
        rates: tuple[int, ...] = (1, 3, 5),
        norm: bool = True,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w]."""
        x = self.reduce(features[self.level])
        embedding = self.dropout(self.fuse(torch.cat([self.adapt(x), self.pool(x)], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

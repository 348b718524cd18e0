"""Dynamic Multi-scale Filters (DMNet), He, Deng and Qiao, ICCV 2019,
https://openaccess.thecvf.com/content_ICCV_2019/html/He_Dynamic_Multi-Scale_Filters_for_Semantic_Segmentation_ICCV_2019_paper.html."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._predicted_filter import convolve_each
from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.ops.resizing import grid_means
from segkit.registry import HEADS
from segkit.types import Outputs


class DynamicFilter(nn.Module):
    """Dynamic convolutional module: a depthwise convolution whose kernel is predicted from the image's own feature map.

    Section 3.2, eq. 1 and 2.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        size: odd side of the kernel, and of the pooled grid that it is predicted from.

    Raises:
        ValueError: size is even.
    """

    def __init__(self, in_channels: int, channels: int, size: int):
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"filter size {size}: must be odd, so that the kernel has a center")
        self.size = size
        self.predict = nn.Conv2d(in_channels, channels, 1)
        self.reduce = ConvBNReLU(in_channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts the kernels and filters the map.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        kernel = self.predict(grid_means(x, self.size))
        reduced = self.reduce(x)
        return F.relu(self.norm(convolve_each(reduced, kernel)))


@HEADS.register
class DMHead(Head):
    """Dynamic multi-scale head: concatenates the deepest map with dynamic filters of several sizes.

    Section 3.1, figure 2.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of each filter's result and of the fused map.
        sizes: odd sides of the kernels, one dynamic filter per value.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        sizes: tuple[PositiveInt, ...] = (1, 3, 5, 7),
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        deep = at_level(in_channels, level)
        self.filters = nn.ModuleList(DynamicFilter(deep, channels, size) for size in sizes)
        self.fuse = ConvBNReLU(deep + len(sizes) * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = features[self.level]
        filtered = [dynamic_filter(x) for dynamic_filter in self.filters]
        embedding = self.dropout(self.fuse(torch.cat([x, *filtered], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

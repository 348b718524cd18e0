"""Adaptive Pyramid Context Network (APCNet), He et al., CVPR 2019,
https://openaccess.thecvf.com/content_CVPR_2019/html/He_Adaptive_Pyramid_Context_Network_for_Semantic_Segmentation_CVPR_2019_paper.html."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.ops.resizing import grid_means
from segkit.registry import HEADS
from segkit.types import Outputs


class AdaptiveContext(nn.Module):
    """Adaptive context module: each position gathers the means of size x size regions by its own affinity weights.

    Section 3.2, figure 3.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        size: number of regions along each side.
    """

    def __init__(self, in_channels: int, channels: int, size: int):
        super().__init__()
        self.size = size
        self.reduce_regions = ConvBNReLU(in_channels, channels, 1)
        self.reduce = ConvBNReLU(in_channels, channels, 1)
        self.global_info = ConvBNReLU(channels, channels, 1)
        self.affinity = nn.Conv2d(channels, size * size, 1)
        self.residual = ConvBNReLU(channels, channels, 1)
        self.fusion = ConvBNReLU(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Computes the adaptive context.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        regions = self.reduce_regions(grid_means(x, self.size)).flatten(2)
        x = self.reduce(x)
        # Section 3.3: the global mean guides each position's affinity to the regions.
        affinity = torch.sigmoid(self.affinity(x + self.global_info(x.mean((2, 3), keepdim=True))))
        context = (regions @ affinity.flatten(2)).reshape(x.shape)
        return self.fusion(F.relu(self.residual(context) + x))


@HEADS.register
class APCHead(Head):
    """Adaptive pyramid context head: concatenates the deepest map with adaptive contexts of several region sizes.

    Figure 2.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of each context and of the fused map.
        sizes: regions along each side, one context module per value.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        sizes: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        deep = at_level(in_channels, level)
        self.contexts = nn.ModuleList(AdaptiveContext(deep, channels, size) for size in sizes)
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
        embedding = self.dropout(self.fuse(torch.cat([x, *(context(x) for context in self.contexts)], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

"""Dynamic Multi-scale Filters (DMNet), He, Deng and Qiao, ICCV 2019,
https://openaccess.thecvf.com/content_ICCV_2019/html/He_Dynamic_Multi-Scale_Filters_for_Semantic_Segmentation_ICCV_2019_paper.html."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._predicted_filter import convolve_each
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS


class DynamicFilter(nn.Module):
    """A depthwise convolution whose kernel is predicted from the same image's map (section 3.2, eq. 1 and 2):
    [B,in_channels,h,w] -> [B,channels,h,w]. size: of the kernel's side, and of the grid it is predicted from."""

    def __init__(self, in_channels: int, channels: int, size: int):
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"filter size {size}: an odd number is needed, so that the kernel has a middle")
        self.size = size
        self.predict = nn.Conv2d(in_channels, channels, 1)
        self.reduce = ConvBNReLU(in_channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        kernel = self.predict(F.adaptive_avg_pool2d(x, self.size))
        reduced = self.reduce(x)
        return F.relu(self.norm(convolve_each(reduced, kernel)))


@HEADS.register
class DMHead(nn.Module):
    """Dynamic filters of several sizes beside the deepest map. Section 3.1, figure 2. sizes: of the kernels."""

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        sizes: tuple[int, ...] = (1, 3, 5, 7),
        dropout: float = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        deep = at_level(in_channels, level)
        self.filters = nn.ModuleList(DynamicFilter(deep, channels, size) for size in sizes)
        self.fuse = ConvBNReLU(deep + len(sizes) * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w]."""
        x = features[self.level]
        embedding = self.dropout(self.fuse(torch.cat([x, *(part(x) for part in self.filters)], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

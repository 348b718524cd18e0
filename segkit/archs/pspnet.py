"""Pyramid Scene Parsing Network, Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105."""

from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, PyramidPooling, at_level
from segkit.registry import HEADS


@HEADS.register
class PSPHead(nn.Module):
    """Pools the deepest feature map over grids of 1 to 6 cells a side and classifies it beside its context.

    Section 3.2, figure 3. pool_channels: of each grid, None for 1/n of the map's channels with n grids (section 3.2);
    fuse_kernel: of the convolution over the concatenation; classifier_kernel: of the last one (paper: 3 and 1);
    norm_single: whether the grid of a single cell is normalized, which a batch of one cannot be trained with.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        pool_channels: int | None = None,
        fuse_kernel: int = 3,
        classifier_kernel: int = 1,
        norm_single: bool = True,
        dropout: float = 0.1,
        level: int = -1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.level = level
        deep = at_level(in_channels, level)
        width = pool_channels or deep // len(bins)
        self.align_corners = align_corners
        self.pools = PyramidPooling(deep, width, bins, norm_single=norm_single)
        self.fuse = ConvBNReLU(deep + width * len(bins), channels, fuse_kernel)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, classifier_kernel, padding=classifier_kernel // 2)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w]."""
        x = features[self.level]
        embedding = self.dropout(self.fuse.over_concat([x, *self.pools(x)], like=x, align_corners=self.align_corners))
        return {"logits": self.classifier(embedding), "embedding": embedding}

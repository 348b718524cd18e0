"""Pyramid Scene Parsing Network, Zhao et al., CVPR 2017, https://arxiv.org/abs/1612.01105."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, PyramidPooling, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class PSPHead(Head):
    """PSPNet head: pyramid pooling, then a convolution over the map and its pooled context.

    Section 3.2, figure 3.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: channels of the embedding.
        bins: cells along each side of a pooling grid, one value per grid.
        pool_channels: width of each pooled map; None is 1/n of the map's channels with n grids (section 3.2).
        fuse_kernel: kernel size of the convolution over the concatenation (paper: 3).
        classifier_kernel: kernel size of the classifier (paper: 1).
        norm_single: normalizes the grid of a single cell too, which a batch of one cannot be trained with.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        bins: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        pool_channels: PositiveInt | None = None,
        fuse_kernel: PositiveInt = 3,
        classifier_kernel: PositiveInt = 1,
        norm_single: bool = True,
        dropout: Decay = 0.1,
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

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = features[self.level]
        embedding = self.dropout(self.fuse.over_concat([x, *self.pools(x)], like=x, align_corners=self.align_corners))
        return {"logits": self.classifier(embedding), "embedding": embedding}

"""Object-Contextual Representations (OCRNet), Yuan, Chen and Wang, ECCV 2020, https://arxiv.org/abs/1909.11065."""

import torch
from torch import Tensor, nn

from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS


def region_vectors(coarse: Tensor, x: Tensor) -> Tensor:
    """coarse: float [B,K,h,w] logits; x: float [B,C,h,w] -> float [B,C,K,1]: for each class the mean of x, weighted by
    the softmax of its logits over all positions (section 3.2, eq. 3)."""
    share = coarse.flatten(2).softmax(dim=2)
    return torch.matmul(x.flatten(2), share.transpose(1, 2)).unsqueeze(3)


@HEADS.register
class OCRHead(nn.Module):
    """A coarse prediction gathers one vector per class; each position is classified beside what it takes from the
    vectors of the classes it relates to (section 3.2, figure 3). The coarse prediction is "coarse.logits".

    channels: of the map; relation_channels: that positions and classes are compared by; levels, coarse_levels: the
    feature maps that the two parts read, several are resized to the first of them and concatenated;
    coarse_channels, coarse_kernel: of the coarse part's convolution.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        relation_channels: int = 256,
        levels: tuple[int, ...] = (-1,),
        coarse_levels: tuple[int, ...] = (-2,),
        coarse_channels: int = 256,
        coarse_kernel: int = 3,
        dropout: float = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels, self.coarse_levels = tuple(levels), tuple(coarse_levels)
        self.align_corners = align_corners
        width, coarse_width = (sum(at_level(in_channels, i) for i in chosen) for chosen in (levels, coarse_levels))
        self.coarse_conv = ConvBNReLU(coarse_width, coarse_channels, coarse_kernel)
        self.coarse_classifier = nn.Conv2d(coarse_channels, num_classes, 1)
        self.reduce = ConvBNReLU(width, channels)
        self.relation = SelfAttention2d(
            project(channels, relation_channels, 2),
            project(channels, relation_channels, 2),
            project(channels, relation_channels),
            project(relation_channels, channels),
            scale=relation_channels**-0.5,
        )
        self.fuse = ConvBNReLU(2 * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits and coarse.logits [B,K,h,w], embedding
        [B,channels,h,w]."""
        coarse = self.coarse_classifier(self.dropout(self._join(self.coarse_conv, features, self.coarse_levels)))
        x = self._join(self.reduce, features, self.levels)
        guide = resize(coarse, like=x, align_corners=self.align_corners)
        related = self.relation(x, region_vectors(guide, x))
        embedding = self.dropout(self.fuse(torch.cat([related, x], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding, "coarse.logits": coarse}

    def _join(self, conv: ConvBNReLU, features: list[Tensor], levels: tuple[int, ...]) -> Tensor:
        """-> float [B,channels of conv,h,w], of the first level's size."""
        maps = [features[i] for i in levels]
        return conv.over_concat(maps, like=maps[0], align_corners=self.align_corners)

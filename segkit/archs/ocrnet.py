"""Object-Contextual Representations (OCRNet), Yuan, Chen and Wang, ECCV 2020, https://arxiv.org/abs/1909.11065."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


def region_vectors(coarse: Tensor, x: Tensor) -> Tensor:
    """Averages a map for each class, weighted by the softmax of the class's logits over all positions.

    Section 3.2, eq. 3.

    Args:
        coarse: float [B,K,h,w], logits.
        x: float [B,C,h,w].

    Returns:
        Float [B,C,K,1], one vector per class.
    """
    share = coarse.flatten(2).softmax(dim=2)
    return torch.matmul(x.flatten(2), share.transpose(1, 2)).unsqueeze(3)


@HEADS.register
class OCRHead(Head):
    """OCR head: classifies each position by its feature and by the vectors of the classes it relates to.

    Section 3.2, figure 3. A coarse prediction, the output "coarse.logits", gathers one vector per class; attention of
    the positions to these vectors gives the object-contextual representation.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the map and of the embedding.
        relation_channels: channels in which positions and classes are compared.
        levels: maps that the head reads, counted from the end; several are resized to the first of them and
            concatenated.
        coarse_levels: maps that the coarse prediction reads, likewise.
        coarse_channels: width of the coarse prediction's convolution.
        coarse_kernel: kernel size of that convolution.
        dropout: share of channels dropped before each of the two classifiers.
        coarse_dropout: the same for the coarse classifier alone; None for the value of dropout.
        conv_bias: gives the two convolutions that read the feature maps a bias before their normalization, which
            changes no result but is part of the networks of the HRNet authors and of HMSA.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        relation_channels: PositiveInt = 256,
        levels: tuple[int, ...] = (-1,),
        coarse_levels: tuple[int, ...] = (-2,),
        coarse_channels: PositiveInt = 256,
        coarse_kernel: PositiveInt = 3,
        dropout: Decay = 0.1,
        coarse_dropout: Decay | None = None,
        conv_bias: bool = False,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels, self.coarse_levels = tuple(levels), tuple(coarse_levels)
        self.align_corners = align_corners
        width = sum(at_level(in_channels, level) for level in levels)
        coarse_width = sum(at_level(in_channels, level) for level in coarse_levels)
        self.coarse_conv = ConvBNReLU(coarse_width, coarse_channels, coarse_kernel, bias=conv_bias)
        self.coarse_classifier = nn.Conv2d(coarse_channels, num_classes, 1)
        self.reduce = ConvBNReLU(width, channels, bias=conv_bias)
        self.relation = SelfAttention2d(
            project(channels, relation_channels, 2),
            project(channels, relation_channels, 2),
            project(channels, relation_channels),
            project(relation_channels, channels),
            scale=relation_channels**-0.5,
        )
        self.fuse = ConvBNReLU(2 * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.coarse_dropout = nn.Dropout2d(dropout if coarse_dropout is None else coarse_dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, both at
            the size of the first of levels; "coarse.logits", float [B,K,h',w'], at the size of the first of
            coarse_levels.
        """
        coarse = self.coarse_classifier(self.coarse_dropout(self._join(self.coarse_conv, features, self.coarse_levels)))
        x = self._join(self.reduce, features, self.levels)
        guide = resize(coarse, like=x, align_corners=self.align_corners)
        related = self.relation(x, region_vectors(guide, x))
        embedding = self.dropout(self.fuse(torch.cat([related, x], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding, "coarse.logits": coarse}

    def _join(self, conv: ConvBNReLU, features: list[Tensor], levels: tuple[int, ...]) -> Tensor:
        """Applies the convolution to the concatenated maps, at the size of the first of them."""
        maps = [features[i] for i in levels]
        return conv.over_concat(maps, like=maps[0], align_corners=self.align_corners)

"""Fully Convolutional Networks, Shelhamer, Long and Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038."""

import torch
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS


@HEADS.register
class FCNHead(nn.Module):
    """Convolutions and a classifier on one feature map: the paper's idea in the form dilated ResNets carry it.

    With the defaults it is the auxiliary head of other papers; num_convs=2, channels=512, concat_input=True makes the
    FCN of the benchmarks. level: the feature map, counted from the end, or several, resized to the first of them and
    concatenated; num_convs: 0 leaves the classifier alone; concat_input: one more convolution sees the head's input
    beside the result; dropout: share of channels dropped before the classifier.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        level: int | tuple[int, ...] = -1,
        channels: int = 256,
        num_convs: int = 1,
        kernel: int = 3,
        concat_input: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels = (level,) if isinstance(level, int) else tuple(level)
        self.align_corners = align_corners
        width = sum(at_level(in_channels, level) for level in self.levels)
        channels = channels if num_convs else width
        self.convs = nn.Sequential(
            *(ConvBNReLU(width if i == 0 else channels, channels, kernel) for i in range(num_convs))
        )
        self.merge = ConvBNReLU(width + channels, channels, kernel) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w]."""
        chosen = [features[level] for level in self.levels]
        x = joined(chosen, chosen[0].shape[-2:], align_corners=self.align_corners)
        embedding = self.convs(x)
        if self.merge is not None:
            embedding = self.merge(torch.cat([x, embedding], dim=1))
        embedding = self.dropout(embedding)
        return {"logits": self.classifier(embedding), "embedding": embedding}

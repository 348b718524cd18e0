"""Fully Convolutional Networks, Shelhamer, Long and Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, OptionalRounds, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class FCNHead(Head):
    """FCN: convolutions and a classifier on one feature map, in the form used with dilated ResNets.

    With the defaults it is the auxiliary head of other papers; num_convs=2, channels=512, concat_input=True makes the
    FCN of the benchmarks.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        level: feature map, counted from the end; or several, which are resized to the first of them and concatenated.
        channels: width of the convolutions.
        num_convs: number of convolutions; 0 leaves the classifier alone.
        kernel: side of their kernels.
        dilation: of the convolutions but the last of `concat_input`.
        concat_input: lets one more convolution read the head's input beside the result.
        dropout: share of channels dropped before the classifier.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        level: int | tuple[int, ...] = -1,
        channels: PositiveInt = 256,
        num_convs: OptionalRounds = 1,
        kernel: PositiveInt = 3,
        dilation: PositiveInt = 1,
        concat_input: bool = False,
        dropout: Decay = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels = (level,) if isinstance(level, int) else tuple(level)
        self.align_corners = align_corners
        width = sum(at_level(in_channels, level) for level in self.levels)
        channels = channels if num_convs else width
        self.convs = nn.Sequential(
            *(ConvBNReLU(width if i == 0 else channels, channels, kernel, dilation=dilation) for i in range(num_convs))
        )
        self.merge = ConvBNReLU(width + channels, channels, kernel) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        chosen = [features[level] for level in self.levels]
        height, width = chosen[0].shape[-2:]
        x = joined(chosen, (height, width), align_corners=self.align_corners)
        embedding = self.convs(x)
        if self.merge is not None:
            embedding = self.merge(torch.cat([x, embedding], dim=1))
        embedding = self.dropout(embedding)
        return {"logits": self.classifier(embedding), "embedding": embedding}

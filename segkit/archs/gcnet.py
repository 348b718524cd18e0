"""GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, Cao et al., ICCV Workshops 2019,
https://arxiv.org/abs/1904.11492."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.attention_layers import BlockFCN, start_at_zero
from segkit.registry import HEADS


class GlobalContext(nn.Module):
    """Global context block: one attention-weighted mean of all positions, transformed and added to every position.

    Section 3.3, figure 4d, eq. 4. The second convolution of the transform starts at 0.

    Args:
        channels: channels of input and output.
        ratio: the transform has channels * ratio channels between its two 1x1 convolutions.
    """

    def __init__(self, channels: int, ratio: float = 0.25):
        super().__init__()
        inner = int(channels * ratio)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            nn.LayerNorm([inner, 1, 1]),
            nn.ReLU(inplace=True),
            start_at_zero(nn.Conv2d(inner, channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        weight = self.mask(x).flatten(2).softmax(dim=2)
        context = torch.matmul(x.flatten(2), weight.transpose(1, 2)).unsqueeze(3)
        return x + self.transform(context)


@HEADS.register
class GCHead(BlockFCN):
    """Global context block between the convolutions of an FCN, in the form of mmsegmentation's benchmark.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the block and of the convolutions.
        ratio: share of the channels inside the block's transform.
        concat_input: lets one more convolution read the head's input beside the result.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        ratio: PositiveFloat = 0.25,
        concat_input: bool = True,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__(
            in_channels,
            num_classes,
            GlobalContext(channels, ratio),
            channels=channels,
            concat_input=concat_input,
            dropout=dropout,
            level=level,
        )

"""Concurrent Spatial and Channel Squeeze & Excitation, Roy et al., MICCAI 2018, https://arxiv.org/abs/1803.02579."""

from typing import Literal

from torch import Tensor, nn

from segkit.constraints.named import PositiveInt
from segkit.models.layers import SCSE
from segkit.registry import NECKS


@NECKS.register
class SCSEGates(nn.Module):
    """Applies an scSE block to each map of the encoder, before the decoder of any head.

    Section 3.2 puts a block behind every block of encoder and decoder; UNetHead(attention="scse") has those of a
    decoder.

    Args:
        in_channels: channels of each feature map.
        strides: stride of each feature map in pixels of the image.
        reduction: divisor of the hidden width, see SCSE.
        combine: how the two gated maps are combined, see SCSE.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[PositiveInt, ...],
        *,
        reduction: PositiveInt = 2,
        combine: Literal["sum", "max"] = "max",
    ):
        super().__init__()
        self.channels, self.strides = tuple(in_channels), tuple(strides)
        self.gates = nn.ModuleList(SCSE(width, reduction, combine) for width in in_channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Applies the blocks.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            Maps of the same shapes.
        """
        return [gate(x) for gate, x in zip(self.gates, features)]

"""Concurrent Spatial and Channel Squeeze & Excitation, Roy et al., MICCAI 2018, https://arxiv.org/abs/1803.02579."""

from torch import Tensor, nn

from segkit.models.layers import SCSE
from segkit.registry import NECKS


@NECKS.register
class SCSEGates(nn.Module):
    """A block on each of the encoder's maps, before the decoder of any head: [B,C_i,h_i,w_i] -> the same sizes.

    Section 3.2 puts one behind every block of encoder and decoder; UNetHead(attention="scse") has those of a decoder.
    reduction, combine: of the blocks, see SCSE.
    """

    def __init__(
        self, in_channels: tuple[int, ...], strides: tuple[int, ...], *, reduction: int = 2, combine: str = "max"
    ):
        super().__init__()
        self.channels, self.strides = tuple(in_channels), tuple(strides)
        self.gates = nn.ModuleList(SCSE(width, reduction, combine) for width in in_channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> maps of the same shapes."""
        return [gate(x) for gate, x in zip(self.gates, features)]

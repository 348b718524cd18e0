"""Non-local Neural Networks, Wang et al., CVPR 2018, https://arxiv.org/abs/1711.07971, as a segmentation head."""

from torch import Tensor, nn

from segkit.models.attention_layers import BlockFCN, SelfAttention2d, project
from segkit.models.layers import ConvBNReLU
from segkit.registry import HEADS


class NonLocalBlock(SelfAttention2d):
    """x + W(attention over all positions), embedded Gaussian (section 3.2, eq. 4 and 6): [B,channels,h,w] -> the same.

    reduction: the compared and gathered maps have channels / reduction channels. The normalization after W starts at
    scale 0 (section 4.1), so that the block starts as the identity.
    """

    def __init__(self, channels: int, reduction: int = 2):
        inner = channels // reduction
        query, key, value = (project(channels, inner, norm=False) for _ in range(3))
        # The paper's softmax has no scale; the benchmarks divide by the root of the compared channels.
        super().__init__(query, key, value, ConvBNReLU(inner, channels, 1, act=False), scale=inner**-0.5)
        nn.init.zeros_(self.out.bn.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w]."""
        return x + super().forward(x, context)


@HEADS.register
class NonLocalHead(BlockFCN):
    """A non-local block between the convolutions of an FCN, the form of mmsegmentation's benchmark.

    reduction: of the channels inside the block; the rest as in BlockFCN.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        reduction: int = 2,
        concat_input: bool = True,
        dropout: float = 0.1,
        level: int = -1,
    ):
        super().__init__(
            in_channels,
            num_classes,
            NonLocalBlock(channels, reduction),
            channels=channels,
            concat_input=concat_input,
            dropout=dropout,
            level=level,
        )

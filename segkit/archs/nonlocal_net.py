"""Non-local Neural Networks, Wang et al., CVPR 2018, https://arxiv.org/abs/1711.07971, as a segmentation head."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import BlockFCN, SelfAttention2d, project
from segkit.models.layers import ConvBNReLU
from segkit.registry import HEADS


class NonLocalBlock(SelfAttention2d):
    """Non-local block: embedded Gaussian attention over all positions, added to its input.

    Section 3.2, eq. 4 and 6. The normalization after the last convolution starts at scale 0 (section 4.1), so that the
    block starts as the identity.

    Args:
        channels: channels of the map.
        reduction: divides channels to give the width of queries, keys and values.
    """

    def __init__(self, channels: int, reduction: int = 2):
        inner = channels // reduction
        query = project(channels, inner, norm=False)
        key = project(channels, inner, norm=False)
        value = project(channels, inner, norm=False)
        # The paper's softmax has no scale; the benchmarks divide by the root of the compared channels.
        out = ConvBNReLU(inner, channels, 1, act=False)
        super().__init__(query, key, value, out, scale=inner**-0.5)
        assert isinstance(out.bn, nn.BatchNorm2d)
        nn.init.zeros_(out.bn.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Adds the attention to the map.

        Args:
            x: float [B,channels,h,w].
            context: float [B,channels,m,n], the map that is attended to; None for x itself.

        Returns:
            Float [B,channels,h,w].
        """
        return x + super().forward(x, context)


@HEADS.register
class NonLocalHead(BlockFCN):
    """FCN head with a non-local block between its convolutions, the form of mmsegmentation's benchmark.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the convolutions and of the block.
        reduction: divides channels to give the width inside the block.
        concat_input: ends in a convolution over the head's input and the result.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        reduction: PositiveInt = 2,
        concat_input: bool = True,
        dropout: Decay = 0.1,
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

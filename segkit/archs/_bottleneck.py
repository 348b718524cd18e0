"""The inverted bottleneck of MobileNetV2, Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, section 3.3."""

from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU


class Bottleneck(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise 3x3 convolution, 1x1 projection without a ReLU.

    The input is added to the result where stride is 1 and in_channels equals channels.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: stride of the depthwise convolution.
        expand: width of the depthwise convolution as a multiple of in_channels. With 1 the expanding convolution stays,
            as in the small networks that use the block here.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, expand: int):
        super().__init__()
        width = in_channels * expand
        self.is_residual = stride == 1 and in_channels == channels
        self.convs = nn.Sequential(
            ConvBNReLU(in_channels, width, 1),
            ConvBNReLU(width, width, stride=stride, groups=width),
            ConvBNReLU(width, channels, 1, act=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h / stride,w / stride], sizes rounded up.
        """
        return x + self.convs(x) if self.is_residual else self.convs(x)


def bottlenecks(in_channels: int, rows: tuple[tuple[int, int, int, int], ...]) -> nn.Sequential:
    """Builds a sequence of bottlenecks from the rows of a paper's table.

    Args:
        in_channels: channels of the input.
        rows: one tuple per stage: expansion, channels, number of blocks, stride of the first block (1 for the others).

    Returns:
        The blocks of all stages in sequence.
    """
    blocks, width = [], in_channels
    for expand, channels, num_blocks, stride in rows:
        for i in range(num_blocks):
            blocks.append(Bottleneck(width, channels, stride=1 if i else stride, expand=expand))
            width = channels
    return nn.Sequential(*blocks)

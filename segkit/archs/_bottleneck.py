"""The inverted bottleneck of MobileNetV2, Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, section 3.3."""

from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow without a ReLU, and a residual where shapes agree: [B,in_channels,h,w] ->
    [B,channels,h / stride,w / stride]. expand: how many times as many channels are filtered; 1 keeps its convolution,
    as in the small networks that use the block here."""

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
        """float [B,in_channels,h,w] -> float [B,channels,h / stride,w / stride]."""
        return x + self.convs(x) if self.is_residual else self.convs(x)


def bottlenecks(in_channels: int, rows: tuple[tuple[int, int, int, int], ...]) -> nn.Sequential:
    """rows: expansion, channels, number of blocks, stride of the first block -> the blocks in a row."""
    blocks, width = [], in_channels
    for expand, channels, num_blocks, stride in rows:
        for i in range(num_blocks):
            blocks.append(Bottleneck(width, channels, stride=1 if i else stride, expand=expand))
            width = channels
    return nn.Sequential(*blocks)

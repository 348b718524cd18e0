"""RefineNet: Multi-Path Refinement Networks, Lin et al., CVPR 2017, https://arxiv.org/abs/1611.06612."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import at_level, resize
from segkit.registry import HEADS


def conv3x3(in_channels: int, channels: int, *, bias: bool = False) -> nn.Conv2d:
    """The only convolution of these blocks: they have no normalization."""
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)


class ResidualConvUnit(nn.Module):
    """x + two convolutions, each behind a ReLU (section 3.2, figure 3b): [B,C,h,w] -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv3x3(channels, channels, bias=True)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class ChainedPooling(nn.Module):
    """A chain of pooling over 5x5 cells and convolution, the result of every link added to x (section 3.2, figure 3d):
    [B,C,h,w] -> the same."""

    def __init__(self, channels: int, num_links: int = 4):
        super().__init__()
        self.convs = nn.ModuleList(conv3x3(channels, channels) for _ in range(num_links))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]."""
        link, total = x, x
        for conv in self.convs:
            link = conv(F.max_pool2d(link, 5, stride=1, padding=2))
            total = total + link
        return total


class RefineBlock(nn.Module):
    """A map of the encoder and what came from below become one, which looks around itself by pooling (figure 3a).

    channels: of this level; below: whether a coarser level is fused in; out_channels: of the convolution to the next
    finer level, None for the last level, which has none.
    """

    def __init__(self, in_channels: int, channels: int, *, below: bool, out_channels: int | None):
        super().__init__()
        self.reduce = conv3x3(in_channels, channels)
        self.adapt = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(2)))
        self.fuse = conv3x3(channels, channels) if below else nn.Identity()
        self.pool = ChainedPooling(channels)
        self.refine = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(3)))
        self.out = nn.Identity() if out_channels is None else conv3x3(channels, out_channels)

    def forward(self, x: Tensor, coarse: Tensor | None) -> Tensor:
        """x: float [B,in_channels,h,w]; coarse: float [B,channels,h,w], resized already, or None -> float
        [B,out_channels,h,w]."""
        x = self.fuse(self.adapt(self.reduce(x)))
        if coarse is not None:
            x = x + coarse
        return self.out(self.refine(self.pool(F.relu(x))))


@HEADS.register
class RefineNetHead(nn.Module):
    """A cascade of four refinement blocks from the deepest map to the finest (section 3.1, figure 2c), in the form of
    the authors' single-scale nets, whose models have align_corners=True.

    channels: of every level; deep_channels: of the deepest; dropout: of elements, on the two deepest maps and before
    the classifier.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 256,
        deep_channels: int = 512,
        dropout: float = 0.5,
        align_corners: bool = True,
    ):
        super().__init__()
        at_level(in_channels, -4)
        self.align_corners = align_corners
        widths = (channels, channels, channels, deep_channels)
        self.blocks = nn.ModuleList(
            RefineBlock(width, own, below=i < 3, out_channels=channels if i else None)
            for i, (width, own) in enumerate(zip(in_channels[-4:], widths))
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w], of
        the size of the fourth map from the end."""
        first, second, third, deep = features[-4:]
        x = None
        for block, own in reversed([*zip(self.blocks, (first, second, self.dropout(third), self.dropout(deep)))]):
            coarse = None if x is None else resize(x, like=own, align_corners=self.align_corners)
            x = block(own, coarse)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

"""RefineNet: Multi-Path Refinement Networks, Lin et al., CVPR 2017, https://arxiv.org/abs/1611.06612."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


def conv3x3(in_channels: int, channels: int, *, bias: bool = False) -> nn.Conv2d:
    """Builds a 3x3 convolution, the only layer of these blocks with weights: they have no normalization.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        bias: gives the convolution a bias.

    Returns:
        The convolution; it keeps the size of a map.
    """
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)


class ResidualConvUnit(nn.Module):
    """Residual convolution unit: two convolutions, each after a ReLU, added to the input.

    Section 3.2, figure 3b.

    Args:
        channels: channels of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv3x3(channels, channels, bias=True)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the unit.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,h,w].
        """
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class ChainedPooling(nn.Module):
    """Chained residual pooling: a chain of 5x5 max pooling and convolution, each link's result added to the input.

    Section 3.2, figure 3d.

    Args:
        channels: channels of the map.
        num_links: number of links in the chain.
    """

    def __init__(self, channels: int, num_links: int = 4):
        super().__init__()
        self.convs = nn.ModuleList(conv3x3(channels, channels) for _ in range(num_links))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the chain.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,h,w].
        """
        link, total = x, x
        for conv in self.convs:
            link = conv(F.max_pool2d(link, 5, stride=1, padding=2))
            total = total + link
        return total


class RefineBlock(nn.Module):
    """RefineNet block: fuses a map of the encoder with the coarser result, then chained pooling and convolutions.

    Figure 3a.

    Args:
        in_channels: channels of the encoder's map.
        channels: channels of this level.
        below: fuses in a coarser level.
        out_channels: width of the convolution to the next finer level; None for the finest level, which has none.
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
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w], the encoder's map.
            coarse: float [B,channels,h,w], the coarser result, resized already, or None.

        Returns:
            Float [B,out_channels,h,w]; channels where out_channels is None.
        """
        x = self.fuse(self.adapt(self.reduce(x)))
        if coarse is not None:
            x = x + coarse
        return self.out(self.refine(self.pool(F.relu(x))))


@HEADS.register
class RefineNetHead(Head):
    """RefineNet head: a cascade of four refinement blocks from the deepest map to the finest.

    Section 3.1, figure 2c, in the form of the authors' single-scale networks, whose models have align_corners=True.

    Args:
        in_channels: channels of each feature map. The last four are read.
        num_classes: number of classes K.
        channels: channels of every level but the deepest.
        deep_channels: channels of the deepest level.
        dropout: share of elements dropped on the two deepest maps and before the classifier.
        align_corners: aligns the corner cells when a coarser result is resized.
    """

    needs_pyramid = True

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        deep_channels: PositiveInt = 512,
        dropout: Decay = 0.5,
        align_corners: bool = True,
    ):
        super().__init__()
        at_level(in_channels, -4)
        self.align_corners = align_corners
        widths = (channels, channels, channels, deep_channels)
        self.blocks = nn.ModuleList(
            RefineBlock(encoder_width, width, below=i < 3, out_channels=channels if i else None)
            for i, (encoder_width, width) in enumerate(zip(in_channels[-4:], widths))
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both
            have the size of the fourth map from the end.
        """
        first, second, third, deep = features[-4:]
        x = None
        for block, skip in reversed([*zip(self.blocks, (first, second, self.dropout(third), self.dropout(deep)))]):
            coarse = None if x is None else resize(x, like=skip, align_corners=self.align_corners)
            x = block(skip, coarse)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

"""Disentangled Non-Local Neural Networks, Yin et al., ECCV 2020, https://arxiv.org/abs/2006.06668."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.attention_layers import BlockFCN, attend, project
from segkit.models.layers import ConvBNReLU
from segkit.registry import HEADS


class DisentangledBlock(nn.Module):
    """Disentangled non-local block: whitened pairwise attention plus a unary attention, added to the input.

    Section 4.2, eq. 9. The pairwise term compares queries and keys without their means; the unary term is one attention
    mask that all positions share.

    Args:
        channels: channels of input and output.
        reduction: queries, keys and values have channels / reduction channels.
        temperature: divides the products, in addition to the root of their number of channels (0.05 in the authors'
            segmentation).
    """

    def __init__(self, channels: int, reduction: int = 2, temperature: float = 0.05):
        super().__init__()
        inner = channels // reduction
        self.query = project(channels, inner, norm=False)
        self.key = project(channels, inner, norm=False)
        self.value = project(channels, inner, norm=False)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.out = ConvBNReLU(inner, channels, 1, act=False)
        assert isinstance(self.out.bn, nn.BatchNorm2d)
        nn.init.zeros_(self.out.bn.weight)
        self.scale = inner**-0.5 / temperature

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        query, key, value = self.query(x), self.key(x), self.value(x)
        query = query - query.mean((2, 3), keepdim=True)
        key = key - key.mean((2, 3), keepdim=True)
        pairwise = attend(query, key, value, scale=self.scale)
        weight = self.mask(x).flatten(2).softmax(dim=2)
        unary = torch.matmul(value.flatten(2), weight.transpose(1, 2)).unsqueeze(3)
        return x + self.out(pairwise + unary)


@HEADS.register
class DNLHead(BlockFCN):
    """Disentangled non-local block between the convolutions of an FCN, in the form of mmsegmentation's benchmark.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the block and of the convolutions.
        reduction: the block's queries, keys and values have channels / reduction channels.
        temperature: divides the block's attention products.
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
        reduction: PositiveInt = 2,
        temperature: PositiveFloat = 0.05,
        concat_input: bool = True,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__(
            in_channels,
            num_classes,
            DisentangledBlock(channels, reduction, temperature),
            channels=channels,
            concat_input=concat_input,
            dropout=dropout,
            level=level,
        )

"""Disentangled Non-Local Neural Networks, Yin et al., ECCV 2020, https://arxiv.org/abs/2006.06668."""

import torch
from torch import Tensor, nn

from segkit.models.attention_layers import BlockFCN, attend, project
from segkit.models.layers import ConvBNReLU
from segkit.registry import HEADS


class DisentangledBlock(nn.Module):
    """x + W(pairwise + unary): relations of a pair of positions freed of what either is on its own, and a mask of what
    every position attends to (section 4.2, eq. 9): [B,channels,h,w] -> the same.

    reduction: channels / reduction channels are compared and gathered; temperature: divides the products as well as
    their root does (0.05 in the authors' segmentation).
    """

    def __init__(self, channels: int, reduction: int = 2, temperature: float = 0.05):
        super().__init__()
        inner = channels // reduction
        self.query, self.key, self.value = (project(channels, inner, norm=False) for _ in range(3))
        self.mask = nn.Conv2d(channels, 1, 1)
        self.out = ConvBNReLU(inner, channels, 1, act=False)
        nn.init.zeros_(self.out.bn.weight)
        self.scale = inner**-0.5 / temperature

    def forward(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w]."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        query, key = (m - m.mean((2, 3), keepdim=True) for m in (query, key))
        pairwise = attend(query, key, value, scale=self.scale)
        weight = self.mask(x).flatten(2).softmax(dim=2)
        unary = torch.matmul(value.flatten(2), weight.transpose(1, 2)).unsqueeze(3)
        return x + self.out(pairwise + unary)


@HEADS.register
class DNLHead(BlockFCN):
    """A disentangled non-local block between the convolutions of an FCN, the form of mmsegmentation's benchmark.

    reduction, temperature: of the block; the rest as in BlockFCN.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        reduction: int = 2,
        temperature: float = 0.05,
        concat_input: bool = True,
        dropout: float = 0.1,
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

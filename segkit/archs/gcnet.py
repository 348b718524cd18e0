"""GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, Cao et al., ICCV Workshops 2019,
https://arxiv.org/abs/1904.11492."""

import torch
from torch import Tensor, nn

from segkit.models.attention_layers import BlockFCN
from segkit.registry import HEADS


class GlobalContext(nn.Module):
    """One mean of all positions, weighted by a learned mask, is transformed and added everywhere (section 3.3,
    figure 4d, eq. 4): [B,channels,h,w] -> the same.

    ratio: the transform narrows to channels * ratio between its two 1x1 convolutions. The second starts at 0.
    """

    def __init__(self, channels: int, ratio: float = 0.25):
        super().__init__()
        inner = int(channels * ratio)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            nn.LayerNorm([inner, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, 1),
        )
        nn.init.zeros_(self.transform[-1].weight)
        nn.init.zeros_(self.transform[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w]."""
        weight = self.mask(x).flatten(2).softmax(dim=2)
        context = torch.matmul(x.flatten(2), weight.transpose(1, 2)).unsqueeze(3)
        return x + self.transform(context)


@HEADS.register
class GCHead(BlockFCN):
    """A global context block between the convolutions of an FCN, the form of mmsegmentation's benchmark.

    ratio: of the channels inside the block; the rest as in BlockFCN.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        ratio: float = 0.25,
        concat_input: bool = True,
        dropout: float = 0.1,
        level: int = -1,
    ):
        super().__init__(
            in_channels,
            num_classes,
            GlobalContext(channels, ratio),
            channels=channels,
            concat_input=concat_input,
            dropout=dropout,
            level=level,
        )

"""CCNet: Criss-Cross Attention for Semantic Segmentation, Huang et al., ICCV 2019,
https://arxiv.org/abs/1811.11721."""

import torch
from torch import Tensor, nn

from segkit.models.attention_layers import BlockFCN
from segkit.registry import HEADS


class CrissCrossAttention(nn.Module):
    """gamma * (what a position gathers from its column and its row) + x (section 3.2, figure 3):
    [B,channels,h,w] -> the same, in memory of h + w numbers a position.

    reduction: channels / reduction are compared; recurrence: times the block is applied with the same weights, of
    which two let every position reach every other (section 3.3). gamma starts at 0.
    """

    def __init__(self, channels: int, reduction: int = 8, recurrence: int = 2):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.recurrence = recurrence

    def forward(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w]."""
        for _ in range(self.recurrence):
            x = self.gamma * self.gather(x) + x
        return x

    def gather(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w], the weighted means of the values on each cross."""
        height = x.shape[2]
        query, key, value = self.query(x), self.key(x), self.value(x)
        column = torch.matmul(query.permute(0, 3, 2, 1), key.permute(0, 3, 1, 2))  # [B,w,h,h]
        row = torch.matmul(query.permute(0, 2, 3, 1), key.permute(0, 2, 1, 3))  # [B,h,w,w]
        # A position lies on its column and on its row: the column leaves it out, so that it counts once.
        itself = torch.eye(height, dtype=torch.bool, device=x.device)
        column = column.masked_fill(itself, float("-inf")).transpose(1, 2)
        weight = torch.cat([column, row], dim=3).softmax(dim=3)
        by_column, by_row = weight[..., :height].transpose(1, 2), weight[..., height:]
        vertical = torch.matmul(by_column, value.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        return vertical + torch.matmul(by_row, value.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@HEADS.register
class CCHead(BlockFCN):
    """Recurrent criss-cross attention between the convolutions of an FCN (section 3.1, figure 2).

    reduction, recurrence: of the attention; the rest as in BlockFCN.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        reduction: int = 8,
        recurrence: int = 2,
        concat_input: bool = True,
        dropout: float = 0.1,
        level: int = -1,
    ):
        super().__init__(
            in_channels,
            num_classes,
            CrissCrossAttention(channels, reduction, recurrence),
            channels=channels,
            concat_input=concat_input,
            dropout=dropout,
            level=level,
        )

"""CCNet: Criss-Cross Attention for Semantic Segmentation, Huang et al., ICCV 2019,
https://arxiv.org/abs/1811.11721."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.attention_layers import BlockFCN
from segkit.registry import HEADS


class CrissCrossAttention(nn.Module):
    """Recurrent criss-cross attention: each position attends to its own row and column.

    Section 3.2, figure 3. Needs memory for h + w attention weights per position in place of h * w. The result, scaled
    by a learned gamma that starts at 0, is added to the input.

    Args:
        channels: channels of input and output.
        reduction: queries and keys have channels / reduction channels.
        recurrence: how often the block is applied, with the same weights; with two passes every position reaches every
            other (section 3.3).
    """

    def __init__(self, channels: int, reduction: int = 8, recurrence: int = 2):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.recurrence = recurrence

    def forward(self, x: Tensor) -> Tensor:
        """Applies the attention `recurrence` times.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        for _ in range(self.recurrence):
            x = self.gamma * self.gather(x) + x
        return x

    def gather(self, x: Tensor) -> Tensor:
        """Averages the values on each position's row and column, weighted by attention.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        height = x.shape[2]
        query, key, value = self.query(x), self.key(x), self.value(x)
        column = torch.matmul(query.permute(0, 3, 2, 1), key.permute(0, 3, 1, 2))  # [B,w,h,h]
        row = torch.matmul(query.permute(0, 2, 3, 1), key.permute(0, 2, 1, 3))  # [B,h,w,w]
        # Each position lies on its column and on its row; the column leaves it out, so that it counts once.
        itself = torch.eye(height, dtype=torch.bool, device=x.device)
        column = column.masked_fill(itself, float("-inf")).transpose(1, 2)
        weight = torch.cat([column, row], dim=3).softmax(dim=3)
        by_column, by_row = weight[..., :height].transpose(1, 2), weight[..., height:]
        vertical = torch.matmul(by_column, value.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        return vertical + torch.matmul(by_row, value.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@HEADS.register
class CCHead(BlockFCN):
    """Recurrent criss-cross attention between the convolutions of an FCN (section 3.1, figure 2).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the attention and of the convolutions.
        reduction: the attention's queries and keys have channels / reduction channels.
        recurrence: how often the attention is applied.
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
        reduction: PositiveInt = 8,
        recurrence: Rounds = 2,
        concat_input: bool = True,
        dropout: Decay = 0.1,
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

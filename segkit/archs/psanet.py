"""PSANet: Point-wise Spatial Attention Network for Scene Parsing, Zhao et al., ECCV 2018,
https://hszhao.github.io/papers/eccv18_psanet.pdf."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs

Reach: TypeAlias = tuple[int, int]
"""How many positions before and behind a position a mask covers along one axis."""


def to_pairwise(mask: Tensor, rows: Reach, columns: Reach) -> Tensor:
    """Turns masks over relative positions into weights between pairs of positions.

    Section 3.3, figure 3.

    Args:
        mask: float [B,(sum(rows) + 1) * (sum(columns) + 1),h,w]; the channels at a position weight the others by their
            offset from it, row offsets -rows[0] to rows[1] by column offsets.
        rows, columns: offsets that the mask covers.

    Returns:
        Float [B,h * w,h * w]; entry [., j, i] is the weight that position i gives to position j, 0 beyond the
        mask.
    """
    height, width = mask.shape[-2:]
    y = torch.arange(height, device=mask.device)
    x = torch.arange(width, device=mask.device)
    down = (y[:, None] - y[None, :]).view(height, 1, height, 1)
    across = (x[:, None] - x[None, :]).view(1, width, 1, width)
    row, column = down.clamp(-rows[0], rows[1]), across.clamp(-columns[0], columns[1])
    index = (row + rows[0]) * (sum(columns) + 1) + column + columns[0]
    index = index.reshape(1, height * width, height * width).expand(len(mask), -1, -1)
    values = mask.flatten(2).gather(1, index)
    if min(rows) >= height - 1 and min(columns) >= width - 1:
        return values
    is_beyond = ((row != down) | (column != across)).reshape(height * width, height * width)
    return values.masked_fill(is_beyond, 0)


class PointwiseAttention(nn.Module):
    """One branch of point-wise spatial attention: predicts at each position a mask over all relative positions.

    Section 3.2. The mask is over-complete: it has a channel for every offset at which another position can lie.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        mask_size: rows and columns of the mask. The position itself is in the middle; of an even side it is the last
            one of the first half.
        shrink: the branch works at 1 / shrink of the map's size.
        is_collecting: each position gathers from the others by its own mask; otherwise it distributes to them by
            it.
    """

    def __init__(self, in_channels: int, channels: int, mask_size: tuple[int, int], shrink: int, is_collecting: bool):
        super().__init__()
        self.mask_size, self.shrink, self.is_collecting = tuple(mask_size), shrink, is_collecting
        self.reduce = ConvBNReLU(in_channels, channels, 1)
        self.hidden = ConvBNReLU(channels, channels, 1)
        self.mask = nn.Conv2d(channels, mask_size[0] * mask_size[1], 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the branch.

        Args:
            x: float [B,in_channels,H,W].

        Returns:
            Float [B,channels,h,w], the size shrunk.
        """
        x = self._shrink(self.reduce(x))
        rows, columns = (self._reach(axis, side) for axis, side in enumerate(x.shape[2:]))
        weight = to_pairwise(F.conv2d(self.hidden(x), self._filters(rows, columns)), rows, columns)
        if not self.is_collecting:
            weight = weight.transpose(1, 2)
        return torch.matmul(x.flatten(2), weight.softmax(dim=1)).view_as(x)

    def _reach(self, axis: int, side: int) -> Reach:
        """The offsets of the mask along an axis that can occur on a map of this side."""
        size = self.mask_size[axis]
        return min((size - 1) // 2, side - 1), min(size // 2, side - 1)

    def _filters(self, rows: Reach, columns: Reach) -> Tensor:
        """The filters of these offsets; the others are not computed."""
        filters = self.mask.weight.unflatten(0, self.mask_size)
        for axis, reach in enumerate((rows, columns)):
            filters = filters.narrow(axis, (self.mask_size[axis] - 1) // 2 - reach[0], sum(reach) + 1)
        return filters.flatten(0, 1)

    def _shrink(self, x: Tensor) -> Tensor:
        if self.shrink == 1:
            return x
        # Corners stay aligned where no side is a multiple of shrink; else sides are rounded down, as the published
        # weights were trained.
        is_odd = all(side % self.shrink for side in x.shape[-2:])
        rows, columns = (
            max((side - 1) // self.shrink + 1 if is_odd else side // self.shrink, 1) for side in x.shape[-2:]
        )
        return resize(x, size=(rows, columns), align_corners=is_odd)


@HEADS.register
class PSAHead(Head):
    """PSA head: every position collects from and distributes to all others by masks that it predicts.

    Section 3.4, figure 4.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the two branches and of the embedding.
        mask_size: rows and columns of the masks; 97 = 2 * 49 - 1 reaches across a map of 97 x 97 at half its size.
            mmsegmentation's weights for ADE20K have (66, 66); an even side covers one offset more behind a position
            than before it.
        shrink: the branches work at 1 / shrink of the map's size.
        expand_padding: padding of the 1x1 convolution back to the input's width; the paper has none,
            mmsegmentation's weights are trained with 1.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
        align_corners: aligns the corner cells when the context is resized, where shrink is 1; otherwise the map's
            sides decide.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        mask_size: tuple[PositiveInt, PositiveInt] = (97, 97),
        shrink: PositiveInt = 2,
        expand_padding: NonNegativeInt = 1,
        dropout: Decay = 0.1,
        level: int = -1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.level, self.shrink, self.align_corners = level, shrink, align_corners
        width = at_level(in_channels, level)
        self.collect = PointwiseAttention(width, channels, mask_size, shrink, True)
        self.distribute = PointwiseAttention(width, channels, mask_size, shrink, False)
        self.expand = ConvBNReLU(2 * channels, width, 1, padding=expand_padding)
        self.fuse = ConvBNReLU(2 * width, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = features[self.level]
        context = self.expand(torch.cat([self.collect(x), self.distribute(x)], dim=1))
        if self.shrink == 1:
            context = resize(context, like=x, align_corners=self.align_corners)
        else:
            context = resize(context, like=x, align_corners=all(side % self.shrink for side in x.shape[-2:]))
        embedding = self.dropout(self.fuse(torch.cat([x, context], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

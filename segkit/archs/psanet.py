"""PSANet: Point-wise Spatial Attention Network for Scene Parsing, Zhao et al., ECCV 2018,
https://hszhao.github.io/papers/eccv18_psanet.pdf."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS


def by_position(mask: Tensor, reach: tuple[int, int]) -> Tensor:
    """mask: float [B,(2 * reach[0] + 1) * (2 * reach[1] + 1),h,w], what each position says of the others by where they
    lie from it, rows -reach[0] to reach[0] by columns -> float [B,h * w,h * w], what position [., ., i] says of
    position [., j, .]; 0 beyond its reach (section 3.3, figure 3)."""
    height, width = mask.shape[-2:]
    rows, columns = (torch.arange(side, device=mask.device) for side in (height, width))
    down = (rows[:, None] - rows[None, :]).view(height, 1, height, 1)
    across = (columns[:, None] - columns[None, :]).view(1, width, 1, width)
    place = (down.clamp(-reach[0], reach[0]) + reach[0]) * (2 * reach[1] + 1)
    place = place + across.clamp(-reach[1], reach[1]) + reach[1]
    place = place.reshape(1, height * width, height * width).expand(len(mask), -1, -1)
    values = mask.flatten(2).gather(1, place)
    if reach[0] >= height - 1 and reach[1] >= width - 1:
        return values
    is_beyond = ((down.abs() > reach[0]) | (across.abs() > reach[1])).reshape(height * width, height * width)
    return values.masked_fill(is_beyond, 0)


class PointwiseAttention(nn.Module):
    """One branch: reduces the map and predicts at each position an over-complete mask, for every place that another
    position can have relative to it (section 3.2): [B,in_channels,H,W] -> [B,channels,h,w].

    mask_size: rows and columns of the mask, odd; shrink: the branch works at 1/shrink of the map's size; is_collecting:
    positions gather by their own mask, else each spreads itself by it.
    """

    def __init__(self, in_channels: int, channels: int, mask_size: tuple[int, int], shrink: int, is_collecting: bool):
        super().__init__()
        self.mask_size, self.shrink, self.is_collecting = tuple(mask_size), shrink, is_collecting
        self.reduce = ConvBNReLU(in_channels, channels, 1)
        self.hidden = ConvBNReLU(channels, channels, 1)
        self.mask = nn.Conv2d(channels, mask_size[0] * mask_size[1], 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,H,W] -> float [B,channels,h,w]."""
        x = self._shrink(self.reduce(x))
        reach = tuple(min(side - 1, rows // 2) for side, rows in zip(x.shape[-2:], self.mask_size))
        weight = by_position(F.conv2d(self.hidden(x), self._filters(reach)), reach)
        if not self.is_collecting:
            weight = weight.transpose(1, 2)
        return torch.matmul(x.flatten(2), weight.softmax(dim=1)).view_as(x)

    def _filters(self, reach: tuple[int, int]) -> Tensor:
        """Of the mask only what can fall on the map: the rest would be computed and never looked at."""
        filters = self.mask.weight.unflatten(0, self.mask_size)
        for axis, (rows, part) in enumerate(zip(self.mask_size, reach)):
            filters = filters.narrow(axis, rows // 2 - part, 2 * part + 1)
        return filters.flatten(0, 1)

    def _shrink(self, x: Tensor) -> Tensor:
        if self.shrink == 1:
            return x
        # Two odd sides keep their corners; else sides are rounded down, as the published weights were trained.
        is_odd = all(side % self.shrink for side in x.shape[-2:])
        size = tuple(max((side - 1) // self.shrink + 1 if is_odd else side // self.shrink, 1) for side in x.shape[-2:])
        return resize(x, size=size, align_corners=is_odd)


@HEADS.register
class PSAHead(nn.Module):
    """Every position gathers from and spreads to all others by masks it predicts (section 3.4, figure 4).

    channels: of the branches; mask_size: how far a position reaches, 2 * 49 - 1 for a map of 97 x 97 at half size;
    expand_padding: around the map before its 1x1 convolution back to the input's width; the paper has none,
    mmsegmentation's weights are trained with 1.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        mask_size: tuple[int, int] = (97, 97),
        shrink: int = 2,
        expand_padding: int = 1,
        dropout: float = 0.1,
        level: int = -1,
        align_corners: bool = False,
    ):
        super().__init__()
        if not all(side % 2 for side in mask_size):
            raise ValueError(f"mask_size = {mask_size}: both sides are odd, the middle is the position itself")
        self.level, self.shrink, self.align_corners = level, shrink, align_corners
        width = at_level(in_channels, level)
        self.collect = PointwiseAttention(width, channels, mask_size, shrink, True)
        self.distribute = PointwiseAttention(width, channels, mask_size, shrink, False)
        self.expand = ConvBNReLU(2 * channels, width, 1, padding=expand_padding)
        self.fuse = ConvBNReLU(2 * width, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,K,h,w], embedding [B,channels,h,w]."""
        x = features[self.level]
        context = self.expand(torch.cat([self.collect(x), self.distribute(x)], dim=1))
        if self.shrink == 1:
            context = resize(context, like=x, align_corners=self.align_corners)
        else:
            context = resize(context, like=x, align_corners=all(side % self.shrink for side in x.shape[-2:]))
        embedding = self.dropout(self.fuse(torch.cat([x, context], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

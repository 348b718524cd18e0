"""OCNet: Object Context for Semantic Segmentation, Yuan et al., 2018, https://arxiv.org/abs/1809.00916."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.attention_layers import attend, start_at_zero
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS


class ObjectContext(nn.Module):
    """What positions gather from positions of the same object (section 3.2, eq. 1 and 2): [B,in_channels,h,w] ->
    [B,channels,h,w]. Query and key are one map; the last convolution starts at 0.

    compared, gathered: channels of query and key, and of the value; pool: the attention works on maxima of pool x pool
    cells; parts: a side is cut into so many, and positions see those of their own rectangle alone.
    """

    def __init__(self, in_channels: int, compared: int, gathered: int, channels: int, *, pool: int = 1, parts: int = 1):
        super().__init__()
        self.query = _conv_bn_relu(in_channels, compared, 1)
        self.value = nn.Conv2d(in_channels, gathered, 1)
        self.out = start_at_zero(nn.Conv2d(gathered, channels, 1))
        self.scale, self.pool, self.parts = compared**-0.5, pool, parts

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        pooled = F.max_pool2d(x, self.pool) if self.pool > 1 else x
        query, value = self.query(pooled), self.value(pooled)
        context = [
            torch.cat([attend(q, q, v, scale=self.scale) for q, v in zip(self._cut(qs, 3), self._cut(vs, 3))], dim=3)
            for qs, vs in zip(self._cut(query, 2), self._cut(value, 2))
        ]
        # The authors' code aligns the corners here, whatever the rest of the model does.
        return resize(self.out(torch.cat(context, dim=2)), like=x, align_corners=True)

    def _cut(self, x: Tensor, axis: int) -> tuple[Tensor, ...]:
        """Equal parts along one side; the last takes what is left over."""
        side = x.shape[axis]
        parts = min(self.parts, side)
        return x.split([side // parts] * (parts - 1) + [side - side // parts * (parts - 1)], dim=axis)


class _OCHead(nn.Module):
    """Reduces the deepest map, lets `context` and `fuse` work on it and classifies."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, channels: int, dropout: float, level: int):
        super().__init__()
        self.level = level
        self.reduce = _conv_bn_relu(at_level(in_channels, level), channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """float [B,channels,h,w] -> the maps that are concatenated, in the order of the published weights."""
        raise NotImplementedError

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,K,h,w], embedding [B,channels,h,w]."""
        maps = self.gather(self.reduce(features[self.level]))
        embedding = self.dropout(self.fuse(torch.cat(maps, dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}


@HEADS.register
class OCHead(_OCHead):
    """Base-OC: the object context of the whole map beside the map (section 3.3, figure 2b)."""

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        dropout: float = 0.05,
        level: int = -1,
    ):
        super().__init__(in_channels, num_classes, channels, dropout, level)
        self.context = ObjectContext(channels, channels // 2, channels // 2, channels)
        self.fuse = _conv_bn_relu(2 * channels, channels, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """float [B,channels,h,w] -> the context and the map."""
        return [self.context(x), x]


@HEADS.register
class PyramidOCHead(_OCHead):
    """Pyramid-OC: object contexts within the rectangles of four grids beside the map, widened to the same number of
    channels (section 3.3, figure 2c). parts: rectangles a side, per grid."""

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        parts: tuple[int, ...] = (1, 2, 3, 6),
        dropout: float = 0.05,
        level: int = -1,
    ):
        super().__init__(in_channels, num_classes, channels, dropout, level)
        # The authors' pyramid gathers all channels, their base form half of them.
        self.contexts = nn.ModuleList(
            ObjectContext(channels, channels // 2, channels, channels, parts=part) for part in parts
        )
        self.widen = _conv_bn_relu(channels, channels * len(parts), 1)
        self.fuse = _conv_bn_relu(2 * channels * len(parts), channels, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """float [B,channels,h,w] -> the widened map and one context per grid."""
        return [self.widen(x), *(context(x) for context in self.contexts)]


@HEADS.register
class ASPOCHead(_OCHead):
    """ASP-OC: an atrous pyramid whose image mean is replaced by an object context at half size (section 3.3, figure
    2d). branch_channels: of each branch, None for half of channels; rates: of the dilated branches."""

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        branch_channels: int | None = None,
        rates: tuple[int, ...] = (12, 24, 36),
        dropout: float = 0.1,
        level: int = -1,
    ):
        super().__init__(in_channels, num_classes, channels, dropout, level)
        width = branch_channels or channels // 2
        self.context = nn.Sequential(
            _conv_bn_relu(channels, width, 3),
            ObjectContext(width, width // 2, width, width, pool=2),
            _conv_bn_relu(width, width, 1),
        )
        self.pointwise = ConvBNReLU(channels, width, 1)
        self.dilated = nn.ModuleList(ConvBNReLU(channels, width, dilation=rate) for rate in rates)
        self.fuse = ConvBNReLU((len(rates) + 2) * width, channels, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """float [B,channels,h,w] -> the context, the 1x1 branch and the dilated branches."""
        return [self.context(x), self.pointwise(x), *(conv(x) for conv in self.dilated)]


def _conv_bn_relu(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """With a bias before the normalization, as in the published weights (leaky ReLU 0.01 there, ReLU in the paper)."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

"""OCNet: Object Context for Semantic Segmentation, Yuan et al., 2018, https://arxiv.org/abs/1809.00916."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import attend, start_at_zero
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


class ObjectContext(nn.Module):
    """Object context: self-attention in which query and key are the same map.

    Section 3.2, eq. 1 and 2: positions gather from positions of the same object. The last convolution starts at 0.

    Args:
        in_channels: channels of the input.
        compared: channels of query and key.
        gathered: channels of the value.
        channels: channels of the output.
        pool: the attention works on a map that is max-pooled over pool x pool cells.
        parts: cuts each side into this many parts; positions attend within their own rectangle alone.
    """

    def __init__(self, in_channels: int, compared: int, gathered: int, channels: int, *, pool: int = 1, parts: int = 1):
        super().__init__()
        self.query = _conv_bn_relu(in_channels, compared, 1)
        self.value = nn.Conv2d(in_channels, gathered, 1)
        self.out = start_at_zero(nn.Conv2d(gathered, channels, 1))
        self.scale, self.pool, self.parts = compared**-0.5, pool, parts

    def forward(self, x: Tensor) -> Tensor:
        """Gathers the context.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        pooled = F.max_pool2d(x, self.pool) if self.pool > 1 else x
        query, value = self.query(pooled), self.value(pooled)
        context = [
            torch.cat([attend(q, q, v, scale=self.scale) for q, v in zip(self._cut(qs, 3), self._cut(vs, 3))], dim=3)
            for qs, vs in zip(self._cut(query, 2), self._cut(value, 2))
        ]
        # The authors' code aligns corners here, whatever the rest of the model does.
        return resize(self.out(torch.cat(context, dim=2)), like=x, align_corners=True)

    def _cut(self, x: Tensor, axis: int) -> tuple[Tensor, ...]:
        """Cuts one side into equal parts; the last part also takes the remainder."""
        side = x.shape[axis]
        num_parts = min(self.parts, side)
        length = side // num_parts
        return x.split([length] * (num_parts - 1) + [side - length * (num_parts - 1)], dim=axis)


class _OCHead(Head):
    """Reduces a map, lets `gather` and `fuse` of the subclass work on it, and classifies the result."""

    fuse: nn.Module

    def __init__(
        self, in_channels: tuple[int, ...], num_classes: int, channels: PositiveInt, dropout: Decay, level: int
    ):
        super().__init__()
        self.level = level
        self.reduce = _conv_bn_relu(at_level(in_channels, level), channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """Gives the maps that are concatenated, in the order of the published weights.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Maps, float [B,C_i,h,w].
        """
        raise NotImplementedError

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        maps = self.gather(self.reduce(features[self.level]))
        embedding = self.dropout(self.fuse(torch.cat(maps, dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}


@HEADS.register
class OCHead(_OCHead):
    """Base-OC head: concatenates the map with its object context.

    Section 3.3, figure 2b.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the reduced map, the context and the embedding.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        dropout: Decay = 0.05,
        level: int = -1,
    ):
        super().__init__(in_channels, num_classes, channels, dropout, level)
        self.context = ObjectContext(channels, channels // 2, channels // 2, channels)
        self.fuse = _conv_bn_relu(2 * channels, channels, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """Gives the context and the map.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Two maps, float [B,channels,h,w].
        """
        return [self.context(x), x]


@HEADS.register
class PyramidOCHead(_OCHead):
    """Pyramid-OC head: concatenates the widened map with object contexts within the rectangles of several grids.

    Section 3.3, figure 2c. The map is widened to the number of channels that all contexts have together.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the reduced map, of each context and of the embedding.
        parts: rectangles along each side, one value per grid.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        parts: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        dropout: Decay = 0.05,
        level: int = -1,
    ):
        super().__init__(in_channels, num_classes, channels, dropout, level)
        # The authors' pyramid has values of all channels, their base form of half as many.
        self.contexts = nn.ModuleList(
            ObjectContext(channels, channels // 2, channels, channels, parts=side) for side in parts
        )
        self.widen = _conv_bn_relu(channels, channels * len(parts), 1)
        self.fuse = _conv_bn_relu(2 * channels * len(parts), channels, 1)

    def gather(self, x: Tensor) -> list[Tensor]:
        """Gives the widened map and one context per grid.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels * len(parts),h,w] and len(parts) maps, float [B,channels,h,w].
        """
        return [self.widen(x), *(context(x) for context in self.contexts)]


@HEADS.register
class ASPOCHead(_OCHead):
    """ASP-OC head: ASPP in which an object context replaces the image-level feature.

    Section 3.3, figure 2d. The context is computed at half the size of the map.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the reduced map and of the embedding.
        branch_channels: width of each branch; None is half of channels.
        rates: dilation rates of the dilated branches.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        branch_channels: PositiveInt | None = None,
        rates: tuple[PositiveInt, ...] = (12, 24, 36),
        dropout: Decay = 0.1,
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
        """Gives the context, the 1x1 branch and the dilated branches.

        Args:
            x: float [B,channels,h,w].

        Returns:
            len(rates) + 2 maps, float [B,branch_channels,h,w].
        """
        return [self.context(x), self.pointwise(x), *(conv(x) for conv in self.dilated)]


def _conv_bn_relu(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """Has a bias before the normalization, as the published weights do (leaky ReLU 0.01 there, ReLU in the paper)."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

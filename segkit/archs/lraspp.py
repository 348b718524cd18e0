"""Searching for MobileNetV3 (LR-ASPP), Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.ops.resizing import interval_means, is_free
from segkit.registry import HEADS
from segkit.types import Outputs

WINDOW, WINDOW_STRIDE = 49, (16, 20)
"""Side and stride of the average pooling in mmsegmentation's form, in cells of the deepest map (figure 10)."""

SIDE_CHANNELS = (32, 64)
"""Of the two early maps in mmsegmentation's form."""


@HEADS.register
class LRASPPHead(Head):
    """Lite reduced ASPP: the deepest map, gated by its mean, and one earlier map are classified apart and added.

    Section 6.4, figure 10, in the form of torchvision.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: of the gated map.
        low_level: earlier map, counted from the end; it has the stride of the result.
        level: the map that is gated.
    """

    classifier: None = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 128,
        low_level: int = -3,
        level: int = -1,
    ):
        super().__init__()
        self.low_level, self.level = low_level, level
        width = at_level(in_channels, level)
        self.reduce = ConvBNReLU(width, channels, 1)
        self.gate = nn.Conv2d(width, channels, 1, bias=False)
        self.low_classifier = nn.Conv2d(at_level(in_channels, low_level), num_classes, 1)
        self.high_classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], at the size of the earlier map.
        """
        low, high = features[self.low_level], features[self.level]
        gated = self.reduce(high) * self.gate(high.mean((2, 3), keepdim=True)).sigmoid()
        # A 1x1 convolution of a resized map is the resized map of the convolution, and K maps are fewer.
        return {"logits": self.low_classifier(low) + resize(self.high_classifier(gated), like=low)}


@HEADS.register
class LRASPPMergeHead(Head):
    """Lite reduced ASPP that joins the gated map with two early maps, one after the other.

    The form of mmsegmentation for MobileNetV3 at output stride 8. Its gate reads means over windows of 49 x 49 cells
    and not over the whole map; maps smaller than a window are one window here, and are refused there.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: of the gated and of the joined map.
        levels: of the two early maps and the deepest one, counted from the end, earliest first.
        norm_eps: epsilon of the batch normalizations.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 128,
        levels: tuple[int, int, int] = (-5, -4, -1),
        norm_eps: PositiveFloat = 1e-3,
        dropout: Decay = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels, self.align_corners = tuple(levels), align_corners
        *early, width = (at_level(in_channels, level) for level in levels)
        self.reduce = ConvBNReLU(width, channels, 1)
        self.gate = nn.Conv2d(width, channels, 1, bias=False)
        self.before = nn.Conv2d(channels, channels, 1)
        self.sides = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(early, SIDE_CHANNELS))
        self.merges = nn.ModuleList(ConvBNReLU(channels + side, channels, 1) for side in SIDE_CHANNELS)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = norm_eps
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, at the
            size of the earliest map.
        """
        *early, deepest = (features[level] for level in self.levels)
        x = self.before(self.reduce(deepest) * self._gates(deepest))
        for side, merge, feature in zip(reversed(self.sides), reversed(self.merges), reversed(early)):
            x = resize(x, like=feature, align_corners=self.align_corners)
            x = merge(torch.cat([x, side(feature)], dim=1))
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def _gates(self, x: Tensor) -> Tensor:
        """The gates of a map [B,C,h,w], at its size.

        Where torch.export leaves the size open, no branch may depend on it: means and resizing are matrix products.
        """
        corners = self.align_corners
        if not is_free(*x.shape[2:]):
            sides = (min(WINDOW, x.shape[2]), min(WINDOW, x.shape[3]))
            return resize(self.gate(F.avg_pool2d(x, sides, WINDOW_STRIDE)).sigmoid(), like=x, align_corners=corners)
        axes = [*zip(x.shape[2:], WINDOW_STRIDE)]
        rows, columns = (_means_matrix(side, step, x) for side, step in axes)
        gates = self.gate(torch.matmul(torch.matmul(rows, x), columns.t())).sigmoid()
        rows, columns = (_resize_matrix(side, step, x, align_corners=corners) for side, step in axes)
        return torch.matmul(torch.matmul(rows, gates), columns.t())


def _means_matrix(side: int, step: int, like: Tensor) -> Tensor:
    """Takes the means of the windows along an axis, [side,side]; the rows beyond the last window mean nothing."""
    positions = torch.arange(side, device=like.device)
    first = step * positions
    return interval_means(first, first + (positions < WINDOW).sum(), side, like)


def _resize_matrix(side: int, step: int, like: Tensor, *, align_corners: bool) -> Tensor:
    """Resizes the values of the windows along an axis to its side, bilinearly, [side,side]."""
    positions = torch.arange(side, device=like.device)
    last = (positions >= WINDOW).sum() // step  # of the windows
    if align_corners:
        places = positions * last.to(like.dtype) / (positions[-1:] + (positions[-1:] == 0))
    else:
        places = ((positions + 0.5) * (last + 1).to(like.dtype) / (positions[-1:] + 1) - 0.5).clamp(min=0)
    places = torch.minimum(places, last.to(like.dtype))
    return (1 - (places[:, None] - positions).abs()).clamp(min=0)

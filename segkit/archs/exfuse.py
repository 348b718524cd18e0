"""ExFuse: Enhancing Feature Fusion for Semantic Segmentation, Zhang et al., ECCV 2018,
https://arxiv.org/abs/1804.03821."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._large_kernel import BoundaryRefinement, GlobalConvolution
from segkit.constraints.named import PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import at_level, bias_of, resize
from segkit.ops.resizing import has_size
from segkit.registry import HEADS
from segkit.types import Outputs


class SemanticEmbedding(nn.Module):
    """Semantic embedding branch: multiplies a map by each deeper map.

    Section 3.1, eq. 2. Each deeper map first passes a 3x3 convolution to the map's width and is resized to its size.

    Args:
        channels: channels of the map.
        deeper: channels of the deeper maps.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    def __init__(self, channels: int, deeper: tuple[int, ...], *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        convs = [nn.Conv2d(width, channels, 3, padding=1) for width in deeper]
        self.convs = nn.ModuleList(convs)
        for conv in convs:
            # The factors start near 1, so that the products start near the map itself.
            nn.init.normal_(conv.weight, std=0.1 / math.sqrt(9 * conv.in_channels))
            nn.init.ones_(bias_of(conv))

    def forward(self, low: Tensor, deeper: list[Tensor]) -> Tensor:
        """Multiplies the map by the deeper ones.

        Args:
            low: float [B,channels,h,w].
            deeper: the deeper maps, float [B,deeper[i],h_i,w_i].

        Returns:
            Float [B,channels,h,w].
        """
        for conv, x in zip(self.convs, deeper):
            low = low * resize(conv(x), like=low, align_corners=self.align_corners)
        return low


class DensePrediction(nn.Module):
    """Dense adjacent prediction: the score of a pixel is the mean of its neighbors' predictions for it.

    Section 3.2, eq. 3. At the border it is the mean over the neighbors inside the map.

    Args:
        in_channels: channels of the input.
        num_classes: number of classes K.
        side: side of the square of neighbors.
    """

    def __init__(self, in_channels: int, num_classes: int, side: int = 3):
        super().__init__()
        self.side = side
        self.scores = nn.Conv2d(in_channels, num_classes * side**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts class scores.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,K,h,w].
        """
        return mean_of_neighbors(self.scores(x), self.side)


def mean_of_neighbors(scores: Tensor, side: int) -> Tensor:
    """Averages, for each pixel, the scores that its neighbors predict for it.

    Args:
        scores: float [B,K * side * side,h,w]. At pixel p, channel (k * side + i) * side + j is the prediction of class
            k for pixel p - (i - side // 2, j - side // 2).
        side: side of the square of neighbors.

    Returns:
        Float [B,K,h,w].
    """
    height, width = scores.shape[-2:]
    reach = side // 2
    predictions = F.pad(scores, (reach,) * 4).unflatten(1, (-1, side, side))
    shifted = [predictions[:, :, i, j, i : i + height, j : j + width] for i in range(side) for j in range(side)]
    # The share of each pixel's neighbors that lie inside the map.
    inside = F.avg_pool2d(scores.new_ones(1, 1, height, width), side, 1, reach, count_include_pad=True)
    return sum(shifted[1:], shifted[0]) / (side**2 * inside)


@HEADS.register
class ExFuseHead(Head):
    """ExFuse: GCN with semantics added to its fine maps and resolution added to its coarse scores.

    Section 3, figure 2. Fine maps pass semantic embedding; the deepest scores are doubled by a sub-pixel convolution
    (ECRE), which a loss on "coarse.logits" supervises; the last layer is dense adjacent prediction. Two more ideas of
    the paper belong to the encoder's own training on ImageNet and are left out: layers moved to early stages, and image
    labels for middle ones. No official code is public, and public versions average a pixel's own channels in dense
    adjacent prediction; this head follows the paper's formulas and parity is not measured. It cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        kernel: odd length of the large kernels' columns and rows, as in GCN.
        num_levels: number of the backbone's maps in use, counted from the deepest.
        side: side of the square of neighbors that predict a pixel.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    needs_pyramid = True

    needs = ("size",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        kernel: PositiveInt = 7,
        num_levels: Rounds = 4,
        side: PositiveInt = 3,
        align_corners: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)  # raises where the backbone has fewer maps
        self.align_corners = align_corners
        widths = tuple(in_channels[-num_levels:])
        self.embed = nn.ModuleList(
            SemanticEmbedding(width, widths[i + 1 :], align_corners=align_corners)
            for i, width in enumerate(widths[:-1])
        )
        self.scores = nn.ModuleList(
            nn.Sequential(GlobalConvolution(width, num_classes, kernel), BoundaryRefinement(num_classes))
            for width in widths
        )
        self.enlarge = nn.Sequential(nn.Conv2d(num_classes, 4 * num_classes, 3, padding=1), nn.PixelShuffle(2))
        self.refine = nn.ModuleList(BoundaryRefinement(num_classes) for _ in range(num_levels))
        self.predict = DensePrediction(num_classes, num_classes, side)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,H,W], and "coarse.logits", float [B,K,h,w], at the size of the second deepest map.
        """
        maps = features[-len(self.scores) :]
        maps = [*(embed(low, maps[i + 1 :]) for i, (embed, low) in enumerate(zip(self.embed, maps))), maps[-1]]
        *shallow, x = [score(m) for score, m in zip(self.scores, maps)]
        # Doubling overshoots sizes that were rounded up on the way down. In a dilated encoder the two deepest maps have
        # the same size, so the doubled scores are averaged back.
        height, width = shallow[-1].shape[-2:]
        coarse = self.enlarge(x)
        if has_size(x, shallow[-1].shape[-2:]):
            coarse = F.avg_pool2d(coarse, 2)
        x = coarse = coarse[..., :height, :width]
        *refine, half = self.refine
        for scores, refine_sum in zip(reversed(shallow), refine):
            x = refine_sum(scores + resize(x, like=scores, align_corners=self.align_corners))
        x = half(resize(x, size=((size[0] + 1) // 2, (size[1] + 1) // 2), align_corners=self.align_corners))
        logits = self.predict(resize(x, size=size, align_corners=self.align_corners))
        return {"logits": logits, "coarse.logits": coarse}

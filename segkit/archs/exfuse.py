"""ExFuse: Enhancing Feature Fusion for Semantic Segmentation, Zhang et al., ECCV 2018,
https://arxiv.org/abs/1804.03821."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._large_kernel import BoundaryRefinement, GlobalConvolution
from segkit.models.layers import at_level, resize
from segkit.registry import HEADS


class SemanticEmbedding(nn.Module):
    """A map times each deeper one, brought to its width by a 3x3 convolution and to its size (section 3.1, eq. 2)."""

    def __init__(self, channels: int, deeper: tuple[int, ...], *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in deeper)
        for conv in self.convs:
            # Products start near the map itself.
            nn.init.normal_(conv.weight, std=0.1 / math.sqrt(9 * conv.in_channels))
            nn.init.ones_(conv.bias)

    def forward(self, low: Tensor, deeper: list[Tensor]) -> Tensor:
        """low: float [B,channels,h,w]; deeper[i]: float [B,deeper[i],h_i,w_i] -> float [B,channels,h,w]."""
        for conv, x in zip(self.convs, deeper):
            low = low * resize(conv(x), like=low, align_corners=self.align_corners)
        return low


class DensePrediction(nn.Module):
    """Dense adjacent prediction (section 3.2, eq. 3): a pixel's neighbours say what they think it is, and its score is
    their mean: [B,in_channels,h,w] -> [B,num_classes,h,w]. At the border it is the mean of those that are there."""

    def __init__(self, in_channels: int, num_classes: int, side: int = 3):
        super().__init__()
        self.side = side
        self.scores = nn.Conv2d(in_channels, num_classes * side**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,num_classes,h,w]."""
        return mean_of_neighbours(self.scores(x), self.side)


def mean_of_neighbours(scores: Tensor, side: int) -> Tensor:
    """scores: float [B,K*side*side,h,w]; channel (k * side + i) * side + j is the opinion on class k of a pixel that
    lies (i - side // 2, j - side // 2) from the one that is meant -> float [B,K,h,w], the mean opinion."""
    height, width = scores.shape[-2:]
    reach = side // 2
    opinions = F.pad(scores, (reach,) * 4).unflatten(1, (-1, side, side))
    shifted = [opinions[:, :, i, j, i : i + height, j : j + width] for i in range(side) for j in range(side)]
    there = F.avg_pool2d(scores.new_ones(1, 1, height, width), side, 1, reach, count_include_pad=True)
    return sum(shifted[1:], shifted[0]) / (side**2 * there)


@HEADS.register
class ExFuseHead(nn.Module):
    """GCN with semantics put into its fine maps and resolution into its coarse scores: semantic embedding, sub-pixel
    doubling of the deepest scores (ECRE), which a loss on "coarse.logits" guides, and dense adjacent prediction.

    Section 3, figure 2. kernel, num_levels: as in GCN; side: of the square of neighbours that decide on a pixel. The
    two further parts of the paper belong to the encoder's own training on ImageNet and are left out: layers shifted to
    early stages, image labels for middle ones. No official code is public, and public versions take the mean of a
    pixel's own channels for dense adjacent prediction: no parity; the paper's formulas decide. This head cannot grow.
    """

    needs = ("size",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        kernel: int = 7,
        num_levels: int = 4,
        side: int = 3,
        align_corners: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
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

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; size: (H, W) of the image -> logits [B,num_classes,H,W] and
        coarse.logits [B,num_classes,h,w] at the size of the second deepest map."""
        maps = features[-len(self.scores) :]
        maps = [*(embed(low, maps[i + 1 :]) for i, (embed, low) in enumerate(zip(self.embed, maps))), maps[-1]]
        *shallow, x = [score(m) for score, m in zip(self.scores, maps)]
        # Doubling overshoots sizes that were rounded up on the way down; a dilated encoder has nothing to double.
        height, width = shallow[-1].shape[-2:]
        coarse = self.enlarge(x) if x.shape[-2:] != shallow[-1].shape[-2:] else F.avg_pool2d(self.enlarge(x), 2)
        x = coarse = coarse[..., :height, :width]
        *refine, half = self.refine
        for own, after in zip(reversed(shallow), refine):
            x = after(own + resize(x, like=own, align_corners=self.align_corners))
        x = half(resize(x, size=((size[0] + 1) // 2, (size[1] + 1) // 2), align_corners=self.align_corners))
        logits = self.predict(resize(x, size=size, align_corners=self.align_corners))
        return {"logits": logits, "coarse.logits": coarse}

"""Large Kernel Matters: Global Convolutional Network (GCN), Peng et al., CVPR 2017, https://arxiv.org/abs/1703.02719."""

from torch import Tensor, nn

from segkit.archs._large_kernel import BoundaryRefinement, GlobalConvolution
from segkit.constraints.named import PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class GCNHead(Head):
    """Global convolutional network: large kernels turn each map into scores, which are refined, upsampled and summed.

    Section 3.2, figure 2. From the deepest map on, scores pass boundary refinement, are resized and added, up to the
    image's size. No single layer is the classifier, so this head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        kernel: odd length of the large kernels' columns and rows; 15 is the best of the paper's table 1.
        num_levels: number of the backbone's maps in use, counted from the deepest.
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
        align_corners: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)  # raises where the backbone has fewer maps
        self.align_corners = align_corners
        self.scores = nn.ModuleList(
            nn.Sequential(GlobalConvolution(width, num_classes, kernel), BoundaryRefinement(num_classes))
            for width in in_channels[-num_levels:]
        )
        # One after every sum, one at half of the image's size and one at the full size.
        self.refine = nn.ModuleList(BoundaryRefinement(num_classes) for _ in range(num_levels + 1))

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,H,W].
        """
        *shallow, x = [score(feature) for score, feature in zip(self.scores, features[-len(self.scores) :])]
        *refine, half, whole = self.refine
        for scores, refine_sum in zip(reversed(shallow), refine):
            x = refine_sum(scores + resize(x, like=scores, align_corners=self.align_corners))
        x = half(resize(x, size=((size[0] + 1) // 2, (size[1] + 1) // 2), align_corners=self.align_corners))
        return {"logits": whole(resize(x, size=size, align_corners=self.align_corners))}

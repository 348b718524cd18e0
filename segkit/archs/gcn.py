"""Large Kernel Matters: Global Convolutional Network (GCN), Peng et al., CVPR 2017, https://arxiv.org/abs/1703.02719."""

from torch import Tensor, nn

from segkit.archs._large_kernel import BoundaryRefinement, GlobalConvolution
from segkit.models.layers import at_level, resize
from segkit.registry import HEADS


@HEADS.register
class GCNHead(nn.Module):
    """Large kernels turn each map into scores; from the deepest on, scores are refined at object boundaries, resized
    and added, up to the image's own size (section 3.2, figure 2).

    kernel: rows and columns that the large kernels see: 15 is the best of the paper's table 1; num_levels: how many of
    the backbone's maps take part, counted from the deepest. No layer of it is the classifier: it cannot grow.
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
        align_corners: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.align_corners = align_corners
        self.scores = nn.ModuleList(
            nn.Sequential(GlobalConvolution(width, num_classes, kernel), BoundaryRefinement(num_classes))
            for width in in_channels[-num_levels:]
        )
        # One behind every sum, and one at half and one at all of the image's size.
        self.refine = nn.ModuleList(BoundaryRefinement(num_classes) for _ in range(num_levels + 1))

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; size: (H, W) of the image -> logits [B,num_classes,H,W]."""
        *shallow, x = [score(f) for score, f in zip(self.scores, features[-len(self.scores) :])]
        *refine, half, whole = self.refine
        for own, after in zip(reversed(shallow), refine):
            x = after(own + resize(x, like=own, align_corners=self.align_corners))
        x = half(resize(x, size=((size[0] + 1) // 2, (size[1] + 1) // 2), align_corners=self.align_corners))
        return {"logits": whole(resize(x, size=size, align_corners=self.align_corners))}

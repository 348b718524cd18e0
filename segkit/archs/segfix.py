"""SegFix: Model-Agnostic Boundary Refinement for Segmentation, Yuan et al., ECCV 2020,
https://arxiv.org/abs/2007.04269."""

from typing import Annotated

from torch import Tensor, nn

from segkit.constraints.named import NonNegativeFloat, OneOf, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU
from segkit.ops.edges import DIRECTIONS
from segkit.registry import HEADS
from segkit.types import Outputs


class Branch(nn.Module):
    """A 1x1 convolution with its normalization, and a 1x1 classifier without bias, on all maps of an encoder.

    Args:
        in_channels: channels of all maps together.
        channels: of the first convolution.
        num_classes: of the classifier.
        negative_slope: of the leaky ReLU between them; 0 is a ReLU.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, negative_slope: float):
        super().__init__()
        self.project = ConvBNReLU(in_channels, channels, 1, act=False)
        self.act = nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU()
        self.classify = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, maps: list[Tensor], like: Tensor) -> Tensor:
        """Classifies the maps, resized to the size of one of them with corners aligned.

        Args:
            maps: float [B,C_i,h_i,w_i].
            like: a map of height h and width w.

        Returns:
            float [B,num_classes,h,w].
        """
        return self.classify(self.act(self.project.over_concat(maps, like=like, align_corners=True)))


@HEADS.register
class SegFixHead(Head):
    """Predicts which pixels lie at a boundary between classes, and the direction away from it.

    Section 3.2 of the paper. Outputs: "logits" of interior and boundary, and "direction", float [B,num_directions,h,w],
    whose classes are those of segkit.ops.edges.DIRECTIONS. It is trained on SegFixTargets with the loss SegFixLoss, and
    used by the refiner SegFix.

    Args:
        in_channels: of the encoder's maps.
        num_classes: 2, interior and boundary.
        channels: of both branches.
        num_directions: classes of directions: 4, 8, 16 or 32.
        negative_slope: of the leaky ReLU of both branches; the published files, of in-place ABN, need 0.01, where the
            paper has a ReLU.
    """

    classifier: None = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        channels: PositiveInt = 256,
        *,
        num_directions: Annotated[int, OneOf(DIRECTIONS)] = 8,
        negative_slope: NonNegativeFloat = 0.0,
    ):
        super().__init__()
        self.num_directions = num_directions
        self.boundary = Branch(sum(in_channels), channels, num_classes, negative_slope)
        self.direction = Branch(sum(in_channels), channels, num_directions, negative_slope)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts from an encoder's maps.

        Args:
            features: float [B,in_channels[i],h_i,w_i], the finest first.

        Returns:
            "logits" float [B,num_classes,h_0,w_0] and "direction" float [B,num_directions,h_0,w_0].
        """
        finest = features[0]
        return {"logits": self.boundary(features, finest), "direction": self.direction(features, finest)}

"""Classification branch beside a decoder: which classes an image holds, for multi-task training (own definition).

The form is that of the `aux_params` of https://github.com/qubvel-org/segmentation_models.pytorch.
"""

from typing import Annotated

from torch import Tensor, nn

from segkit.constraints.named import Decay, OneOf
from segkit.models.bases import Head
from segkit.models.layers import at_level
from segkit.registry import HEADS
from segkit.types import Outputs

POOLS: dict[str, type[nn.Module]] = {"avg": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}
"""How a feature map becomes one vector."""


@HEADS.register
class PresenceHead(Head):
    """Predicts from one pooled feature map which classes an image holds; an auxiliary head beside any other.

    In `model.aux` it runs in training and in evaluation. The output "presence" is for the loss ClassPresence, the
    metric Presence and the refiner ClassGate.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        level: map that the head reads, counted from the end; -1 is the deepest.
        pool: "avg" or "max" over the positions of the map.
        dropout: share of the pooled values that is dropped.
    """

    predicts = ("presence",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        level: int = -1,
        pool: Annotated[str, OneOf(POOLS)] = "avg",
        dropout: Decay = 0.5,
    ):
        super().__init__()
        self.level = level
        self.pool = POOLS[pool](1)
        self.dropout = nn.Dropout(dropout)
        self.presence = nn.Linear(at_level(in_channels, level), num_classes)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts the presence of each class.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "presence", float [B,K], logits of each class being in the image; with K = 1 of label 1.
        """
        return {"presence": self.presence(self.dropout(self.pool(features[self.level]).flatten(1)))}

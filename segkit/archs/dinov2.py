"""Linear head of DINOv2: Learning Robust Visual Features without Supervision, Oquab et al., TMLR 2024,
https://arxiv.org/abs/2304.07193, and of DINOv3, Siméoni et al., 2025, https://arxiv.org/abs/2508.10104.
"""

from torch import Tensor, nn

from segkit.constraints.named import Decay
from segkit.models.bases import Head
from segkit.models.layers import at_level, bias_of
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class LinearHead(Head):
    """A linear layer on features of a frozen encoder: batch normalization, dropout and a 1x1 convolution.

    Section 7.4 of DINOv2. The encoder is frozen by optimizer.freeze="encoder".

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        level: feature map, counted from the end; or several, which are resized to the first of them and concatenated:
            (-4, -3, -2, -1) are the last four blocks of the paper's "+ms".
        dropout: share of channels dropped before the classifier.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        level: int | tuple[int, ...] = -1,
        dropout: Decay = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels = (level,) if isinstance(level, int) else tuple(level)
        self.align_corners = align_corners
        width = sum(at_level(in_channels, level) for level in self.levels)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(bias_of(self.classifier))

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,C,h,w], the input of the classifier.
        """
        chosen = [features[level] for level in self.levels]
        size = (chosen[0].shape[2], chosen[0].shape[3])
        embedding = self.dropout(self.norm(joined(chosen, size, align_corners=self.align_corners)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

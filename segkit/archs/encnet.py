"""Context Encoding (EncNet), Zhang et al., CVPR 2018, https://arxiv.org/abs/1803.08904."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._encoding import Encoding
from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class EncHead(Head):
    """Context encoding head: an encoding of the whole image gates the channels and predicts which classes are present.

    Section 2, figure 2. The output "presence" is for the loss ClassPresence (section 2.2).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the head.
        num_codes: number of codewords, K in the paper (32).
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    predicts = ("presence",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        num_codes: PositiveInt = 32,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        self.fuse = ConvBNReLU(at_level(in_channels, level), channels)
        self.project = ConvBNReLU(channels, channels, 1)
        self.encode = Encoding(channels, num_codes)
        self.norm = nn.BatchNorm1d(num_codes)
        self.gate = nn.Linear(channels, channels)
        self.presence = nn.Linear(channels, num_classes)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits and the presence of each class.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w]; "embedding", float [B,channels,h,w], the input of the classifier; "presence",
            float [B,K], logits of each class being in the image.
        """
        x = self.fuse(features[self.level])
        code = F.relu(self.norm(self.encode(self.project(x)))).mean(1)
        gate = torch.sigmoid(self.gate(code))[..., None, None]
        embedding = self.dropout(F.relu(x + x * gate))
        return {"logits": self.classifier(embedding), "embedding": embedding, "presence": self.presence(code)}

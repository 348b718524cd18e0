"""Context Encoding (EncNet), Zhang et al., CVPR 2018, https://arxiv.org/abs/1803.08904."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._encoding import Encoding
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS


@HEADS.register
class EncHead(nn.Module):
    """The image's code gates the channels of the deepest map, and tells which classes are present.

    Section 2, figure 2. num_codes: K of the paper, 32. Output "presence" is for the loss ClassPresence (section 2.2).
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        num_codes: int = 32,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w],
        presence [B,num_classes], logits of each class's presence."""
        x = self.fuse(features[self.level])
        code = F.relu(self.norm(self.encode(self.project(x)))).mean(1)
        gate = torch.sigmoid(self.gate(code))[..., None, None]
        embedding = self.dropout(F.relu(x + x * gate))
        return {"logits": self.classifier(embedding), "embedding": embedding, "presence": self.presence(code)}

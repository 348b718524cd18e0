"""Context Encoding (EncNet), Zhang et al., CVPR 2018, https://arxiv.org/abs/1803.08904."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.layers import ConvBNReLU, at_level
from segkit.registry import HEADS


class Encoding(nn.Module):
    """Residuals to learnt codewords, summed over positions with soft assignments (section 2, eq. 1):
    [B,channels,h,w] -> [B,num_codes,channels].

    Beginning as in the paper's code: codewords uniform within one standard deviation of their number and width, scales
    uniform in (-1, 0), so that a nearer codeword weighs more.
    """

    def __init__(self, channels: int, num_codes: int):
        super().__init__()
        bound = (num_codes * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,num_codes,channels]."""
        positions = x.flatten(2).transpose(1, 2)
        codewords = self.codewords.to(positions.dtype)
        # cdist stays in float32 under autocast; in bfloat16 squared distances would lose what tells codewords apart.
        distance = torch.cdist(positions, codewords.expand(len(x), -1, -1)).square()
        weight = (self.scale * distance).softmax(dim=2)
        # sum_i w_ik (x_i - c_k) without the [B,h * w,num_codes,channels] residuals.
        return weight.transpose(1, 2) @ positions - weight.sum(1).unsqueeze(2) * self.codewords


@HEADS.register
class EncHead(nn.Module):
    """The image's code gates the channels of the deepest map, and tells which classes are present.

    Section 2, figure 2. num_codes: K of the paper, 32. Output "presence" is for the loss ClassPresence (section 2.2).
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, *, channels: int = 512, num_codes: int = 32,
                 dropout: float = 0.1, level: int = -1):  # fmt: skip
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

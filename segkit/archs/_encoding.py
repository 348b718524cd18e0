"""The encoding layer of EncNet, Zhang et al., CVPR 2018, https://arxiv.org/abs/1803.08904, which CFNet uses too."""

import torch
from torch import Tensor, nn


class Encoding(nn.Module):
    """Encoding layer: residuals to learned codewords, summed over positions with soft assignment weights.

    Section 2, eq. 1. Initialized as in the authors' code: codewords uniform within +-1 / sqrt(num_codes * channels),
    scales uniform in (-1, 0), so that a nearer codeword weighs more.

    Args:
        channels: channels of the feature map and of each codeword.
        num_codes: number of codewords.
    """

    def __init__(self, channels: int, num_codes: int):
        super().__init__()
        bound = (num_codes * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Encodes a feature map.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,num_codes,channels], one sum of weighted residuals per codeword.
        """
        positions = x.flatten(2).transpose(1, 2)
        codewords = self.codewords.to(positions.dtype)
        # cdist stays in float32 under autocast: in bfloat16 the squared distances to different codewords would round
        # to the same value.
        distance = torch.cdist(positions, codewords.expand(x.shape[0], -1, -1)).square()
        weight = (self.scale * distance).softmax(dim=2)
        # sum_i w_ik (x_i - c_k) without the [B,h * w,num_codes,channels] residuals.
        return weight.transpose(1, 2) @ positions - weight.sum(1).unsqueeze(2) * self.codewords

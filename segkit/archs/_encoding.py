"""The encoding layer of EncNet, Zhang et al., CVPR 2018, https://arxiv.org/abs/1803.08904, which CFNet has as well."""

import torch
from torch import Tensor, nn


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

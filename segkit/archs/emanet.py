"""Expectation-Maximization Attention Networks (EMANet), Li et al., ICCV 2019, https://arxiv.org/abs/1907.13426."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.dist import all_reduce_sum, world_size
from segkit.models.layers import ConvBNReLU, at_level, in_float32
from segkit.registry import HEADS


class EMAttention(nn.Module):
    """Positions are explained by a few bases that a few steps of expectation and maximisation fit to the image
    (section 3, eq. 9 to 12): [B,C,h,w] -> the same map rebuilt from its bases.

    num_bases: bases; steps: of expectation and maximisation; momentum: share of this batch's bases in those that the
    next image starts from (section 3.3.3, eq. 13; the paper writes 1 - 0.9). No gradient passes through.
    """

    def __init__(self, channels: int, num_bases: int = 64, steps: int = 3, momentum: float = 0.1):
        super().__init__()
        self.steps, self.momentum = steps, momentum
        bases = torch.empty(1, channels, num_bases)
        nn.init.normal_(bases, 0, math.sqrt(2 / num_bases))
        self.register_buffer("bases", F.normalize(bases, dim=1))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]; moves the bases in training, never in eval."""
        with in_float32(x):
            flat = x.float().flatten(2)
            bases = self.bases.float().expand(len(x), -1, -1)
            for _ in range(self.steps):
                share = self.expect(flat, bases)
                bases = self.maximise(flat, share)
            if self.training:
                self._remember(bases)
            return torch.matmul(bases, share.transpose(1, 2)).view_as(x).to(x.dtype)

    @staticmethod
    def expect(flat: Tensor, bases: Tensor) -> Tensor:
        """flat: float [B,C,n] positions; bases: float [B,C,k] -> float [B,n,k], of each base in a position; sums to 1
        over k."""
        return torch.matmul(flat.transpose(1, 2), bases).softmax(dim=2)

    @staticmethod
    def maximise(flat: Tensor, share: Tensor) -> Tensor:
        """flat: float [B,C,n]; share: float [B,n,k] -> float [B,C,k] of length 1: the mean position of each base."""
        return F.normalize(torch.matmul(flat, F.normalize(share, p=1, dim=1)), dim=1)

    def _remember(self, bases: Tensor) -> None:
        mean = all_reduce_sum(bases.mean(0, keepdim=True)) / world_size()
        mean = F.normalize(mean, dim=1).to(self.bases.dtype)
        self.bases.copy_((1 - self.momentum) * self.bases + self.momentum * mean)


@HEADS.register
class EMAHead(nn.Module):
    """Expectation-maximisation attention with a shortcut around it (section 3.3.1, figure 3), in the form of
    mmsegmentation's benchmark.

    attention_channels: of the map the bases live in; num_bases, steps, momentum: of the attention; channels: after it;
    concat_input: whether one more convolution sees the head's input beside the result.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 256,
        attention_channels: int = 512,
        num_bases: int = 64,
        steps: int = 3,
        momentum: float = 0.1,
        concat_input: bool = True,
        dropout: float = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        width = at_level(in_channels, level)
        self.reduce = ConvBNReLU(width, attention_channels)
        # The attention passes no gradient, so what only feeds it keeps its start weights.
        self.before = nn.Conv2d(attention_channels, attention_channels, 1).requires_grad_(False)
        self.attention = EMAttention(attention_channels, num_bases, steps, momentum)
        self.after = ConvBNReLU(attention_channels, attention_channels, 1, act=False)
        self.fuse = ConvBNReLU(attention_channels, channels)
        self.merge = ConvBNReLU(width + channels, channels) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,K,h,w], embedding [B,channels,h,w]."""
        x = features[self.level]
        reduced = self.reduce(x)
        rebuilt = self.attention(self.before(reduced))
        mixed = self.fuse(F.relu(reduced + self.after(F.relu(rebuilt))))
        if self.merge is not None:
            mixed = self.merge(torch.cat([x, mixed], dim=1))
        embedding = self.dropout(mixed)
        return {"logits": self.classifier(embedding), "embedding": embedding}

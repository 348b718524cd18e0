"""Expectation-Maximization Attention Networks (EMANet), Li et al., ICCV 2019, https://arxiv.org/abs/1907.13426."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.dist import all_reduce_sum, world_size
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, in_float32
from segkit.registry import HEADS
from segkit.types import Outputs


class EMAttention(nn.Module):
    """Expectation-maximization attention: rebuilds the map from a few bases fitted to the image by EM steps.

    Section 3, eq. 9 to 12. No gradient passes through. The buffer "bases" holds the bases that the next image starts
    from; in training it is a moving average of the fitted ones, synchronized over processes.

    Args:
        channels: channels of the map and of each basis.
        num_bases: number of bases.
        steps: iterations of expectation and maximization.
        momentum: share of this batch's bases in the moving average (section 3.3.3, eq. 13; the paper writes 1 - 0.9).
    """

    bases: Tensor

    def __init__(self, channels: int, num_bases: int = 64, steps: int = 3, momentum: float = 0.1):
        super().__init__()
        self.steps, self.momentum = steps, momentum
        bases = torch.empty(1, channels, num_bases)
        nn.init.normal_(bases, 0, math.sqrt(2 / num_bases))
        self.register_buffer("bases", F.normalize(bases, dim=1))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Rebuilds the map; updates the moving average of the bases in training, never in eval mode.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,h,w].
        """
        with in_float32(x):
            flat = x.float().flatten(2)
            bases = self.bases.float().expand(x.shape[0], -1, -1)
            for _ in range(self.steps):
                share = self.expect(flat, bases)
                bases = self.maximize(flat, share)
            if self.training:
                self._remember(bases)
            return torch.matmul(bases, share.transpose(1, 2)).view_as(x).to(x.dtype)

    @staticmethod
    def expect(flat: Tensor, bases: Tensor) -> Tensor:
        """Expectation step: computes the responsibility of each basis for each position.

        Args:
            flat: positions, float [B,C,n].
            bases: float [B,C,k].

        Returns:
            Float [B,n,k], sums to 1 over k.
        """
        return torch.matmul(flat.transpose(1, 2), bases).softmax(dim=2)

    @staticmethod
    def maximize(flat: Tensor, share: Tensor) -> Tensor:
        """Maximization step: moves each basis to the weighted mean of the positions, normalized to length 1.

        Args:
            flat: positions, float [B,C,n].
            share: responsibilities, float [B,n,k].

        Returns:
            Bases, float [B,C,k].
        """
        return F.normalize(torch.matmul(flat, F.normalize(share, p=1, dim=1)), dim=1)

    def _remember(self, bases: Tensor) -> None:
        """Updates the moving average with the mean of bases, float [B,C,k], over the batch and all processes."""
        mean = all_reduce_sum(bases.mean(0, keepdim=True)) / world_size()
        mean = F.normalize(mean, dim=1).to(self.bases.dtype)
        self.bases.copy_((1 - self.momentum) * self.bases + self.momentum * mean)


@HEADS.register
class EMAHead(Head):
    """Expectation-maximization attention with a shortcut around it, in the form of mmsegmentation's benchmark.

    Section 3.3.1, figure 3.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width after the attention.
        attention_channels: channels of the map that the bases are fitted to.
        num_bases: number of bases.
        steps: iterations of expectation and maximization.
        momentum: share of each batch's bases in their moving average.
        concat_input: lets one more convolution read the head's input beside the result.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        attention_channels: PositiveInt = 512,
        num_bases: PositiveInt = 64,
        steps: PositiveInt = 3,
        momentum: Decay = 0.1,
        concat_input: bool = True,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        width = at_level(in_channels, level)
        self.reduce = ConvBNReLU(width, attention_channels)
        # The attention passes no gradient, so this layer, which feeds it alone, keeps its initial weights.
        self.before = nn.Conv2d(attention_channels, attention_channels, 1).requires_grad_(False)
        self.attention = EMAttention(attention_channels, num_bases, steps, momentum)
        self.after = ConvBNReLU(attention_channels, attention_channels, 1, act=False)
        self.fuse = ConvBNReLU(attention_channels, channels)
        self.merge = ConvBNReLU(width + channels, channels) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = features[self.level]
        reduced = self.reduce(x)
        rebuilt = self.attention(self.before(reduced))
        mixed = self.fuse(F.relu(reduced + self.after(F.relu(rebuilt))))
        if self.merge is not None:
            mixed = self.merge(torch.cat([x, mixed], dim=1))
        embedding = self.dropout(mixed)
        return {"logits": self.classifier(embedding), "embedding": embedding}

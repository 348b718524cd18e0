"""SegNeXt: Rethinking Convolutional Attention Design, Guo et al., NeurIPS 2022, https://arxiv.org/abs/2209.08575.

The decoder is Hamburger, Geng et al., ICLR 2021, https://arxiv.org/abs/2109.04553.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds, Seed
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, in_float32
from segkit.registry import HEADS, LevelError
from segkit.types import Outputs

GROUPS = 32
"""Of the group normalizations."""

SMALL = 1e-6
"""Added to denominators."""


class NonNegativeFactors(nn.Module):
    """Non-negative matrix factorization: rebuilds a map from a few bases fitted to the image by multiplicative updates.

    Hamburger, section 2.2.2, algorithm 2. Gradients pass through all updates. In training every image starts from
    random bases; in evaluation all start from the same ones, so that a prediction is repeatable (the published code
    draws new ones there, too). Fixed bases serve both, and are saved with the weights.

    Args:
        channels: C of the map.
        num_bases: number of bases R.
        steps, eval_steps: updates in training and in evaluation.
        seed: of the bases in evaluation.
        is_fixed: whether training starts from the same bases.
    """

    bases: Tensor

    def __init__(
        self, channels: int, num_bases: int, steps: int, eval_steps: int, seed: int, *, is_fixed: bool = False
    ):
        super().__init__()
        self.steps, self.eval_steps, self.is_fixed = steps, eval_steps, is_fixed
        bases = np.random.RandomState(seed).rand(1, channels, num_bases).astype(np.float32)
        self.register_buffer("bases", F.normalize(torch.from_numpy(bases), dim=1), persistent=is_fixed)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w], 0 or more, to the same shape."""
        with in_float32(x):
            flat = x.float().flatten(2)
            if self.training and not self.is_fixed:
                bases = F.normalize(torch.rand(x.shape[0], *self.bases.shape[1:], device=x.device), dim=1)
            else:
                bases = self.bases.float().expand(x.shape[0], -1, -1)
            share = torch.matmul(flat.transpose(1, 2), bases).softmax(dim=2)
            for _ in range(self.steps if self.training else self.eval_steps):
                share = self.update(flat.transpose(1, 2), share, bases.transpose(1, 2))
                bases = self.update(flat, bases, share.transpose(1, 2))
            share = self.update(flat.transpose(1, 2), share, bases.transpose(1, 2))
            return torch.matmul(bases, share.transpose(1, 2)).view_as(x).to(x.dtype)

    @staticmethod
    def update(product: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Multiplicative update of one factor, which brings left @ right nearer to the product.

        Args:
            product: float [B,m,n], 0 or more.
            left: float [B,m,R], the factor to update.
            right: float [B,R,n], the other factor.

        Returns:
            Float [B,m,R].
        """
        other = right.transpose(1, 2)
        return left * torch.matmul(product, other) / (torch.matmul(left, torch.matmul(right, other)) + SMALL)


class Hamburger(nn.Module):
    """A map rebuilt by matrix factorization between two 1x1 convolutions, with a shortcut around all.

    Args:
        channels: C of the map.
        factors: the factorization.
    """

    def __init__(self, channels: int, factors: NonNegativeFactors):
        super().__init__()
        self.before = ConvBNReLU(channels, channels, 1, norm=False)
        self.factors = factors
        self.after = _conv(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        return F.relu(x + self.after(self.factors(self.before(x))))


@HEADS.register
class LightHamHead(Head):
    """SegNeXt head: the three deepest maps at stride 8, one factorization of what they share, and a classifier.

    Section 3.2, figure 3c; its defaults are the sizes T and S. B has channels=512, and L 1024.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: of the map that is factorized and of the one that is classified.
        num_bases: bases of the factorization.
        steps, eval_steps: updates of the bases in training and in evaluation.
        seed: of the bases that an evaluation starts from.
        fixed_bases: whether training starts from them, too; then they are saved with the weights.
        levels: how many of the deepest maps are read.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.

    Raises:
        LevelError: the backbone gives fewer maps.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        num_bases: PositiveInt = 16,
        steps: Rounds = 6,
        eval_steps: Rounds = 7,
        seed: Seed = 7,
        fixed_bases: bool = False,
        levels: PositiveInt = 3,
        dropout: Decay = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        if len(in_channels) < levels:
            raise LevelError(f"head.levels = {levels}: the backbone gives {len(in_channels)} feature maps; read fewer")
        self.levels, self.align_corners = levels, align_corners
        self.squeeze = _conv(sum(in_channels[-levels:]), channels)
        factors = NonNegativeFactors(channels, num_bases, steps, eval_steps, seed, is_fixed=fixed_bases)
        self.hamburger = Hamburger(channels, factors)
        self.align = _conv(channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, at the
            size of the first map that is read.
        """
        maps = features[-self.levels :]
        x = self.squeeze.over_concat(maps, like=maps[0], align_corners=self.align_corners)
        embedding = self.dropout(self.align(self.hamburger(x)))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _conv(in_channels: int, channels: int, *, act: bool = True) -> ConvBNReLU:
    """A 1x1 convolution with group normalization."""
    conv = ConvBNReLU(in_channels, channels, 1, act=act)
    conv.bn = nn.GroupNorm(min(GROUPS, channels), channels)
    return conv

"""The multi-scale convolutional attention encoder of SegNeXt, Guo et al., NeurIPS 2022, https://arxiv.org/abs/2209.08575.

Names and sizes of layers as in https://github.com/open-mmlab/mmsegmentation.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.weights import load_encoder, read_weights
from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.registry import BACKBONES, ConfigError

STRIPS = (7, 11, 21)
"""Lengths of the pairs of strip convolutions (section 3.1, figure 2)."""

SCALE = 0.01
"""Initial factor of both branches of a block."""


class MultiScaleAttention(nn.Module):
    """Multi-scale convolutional attention: a gate from depthwise strips of several lengths (section 3.1, eq. 1 and 2).

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.project_in = nn.Conv2d(channels, channels, 1)
        self.local = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.strips = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, (1, length), padding=(0, length // 2), groups=channels),
                nn.Conv2d(channels, channels, (length, 1), padding=(length // 2, 0), groups=channels),
            )
            for length in STRIPS
        )
        self.mix = nn.Conv2d(channels, channels, 1)
        self.project_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        value = F.gelu(self.project_in(x))
        near = self.local(value)
        gate = self.mix(sum((strip(near) for strip in self.strips), near))
        return x + self.project_out(gate * value)


class ConvMlp(nn.Module):
    """A hidden layer of 1x1 convolutions with a depthwise 3x3 between.

    Args:
        channels: of input and output.
        hidden: channels between.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        return self.fc2(F.gelu(self.depthwise(self.fc1(x))))


class Block(nn.Module):
    """Attention and hidden layer, each normalized, scaled and added.

    Args:
        channels: C.
        mlp_ratio: hidden channels of the second branch over C.
        drop_path: probability in training that an image leaves out a branch.
    """

    def __init__(self, channels: int, mlp_ratio: int, drop_path: float):
        super().__init__()
        from timm.layers import DropPath

        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = MultiScaleAttention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = ConvMlp(channels, channels * mlp_ratio)
        self.scale1 = nn.Parameter(torch.full((channels,), SCALE))
        self.scale2 = nn.Parameter(torch.full((channels,), SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        x = x + self.drop_path(self.scale1.view(-1, 1, 1) * self.attn(self.norm1(x)))
        return x + self.drop_path(self.scale2.view(-1, 1, 1) * self.mlp(self.norm2(x)))


class Downsample(nn.Module):
    """A normalized 3x3 convolution of stride 2 between two stages.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, 2, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,ceil(h / 2),ceil(w / 2)]."""
        return self.norm(self.proj(x))


class Encoder(nn.Module):
    """The four stages, apart from the backbone so that weights by its names alone can be loaded."""

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, ...],
        depths: tuple[int, ...],
        mlp_ratios: tuple[int, ...],
        drop_path_rate: float,
    ):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels[0] // 2, 3, 2, 1),
            nn.BatchNorm2d(channels[0] // 2),
            nn.GELU(),
            nn.Conv2d(channels[0] // 2, channels[0], 3, 2, 1),
            nn.BatchNorm2d(channels[0]),
        )
        self.downsamples = nn.ModuleList(Downsample(a, b) for a, b in pairwise(channels))
        drops = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, ratio, drops.pop(0)) for _ in range(depth)))
            for width, depth, ratio in zip(channels, depths, mlp_ratios)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, stem_add: Tensor | None) -> list[Tensor]:
        """Maps float [B,in_channels,H,W] to four maps; stem_add is added to the stem's output."""
        x = self.stem(image)
        x = x if stem_add is None else x + stem_add
        features = []
        for index, (stage, norm) in enumerate(zip(self.stages, self.norms)):
            x = stage(self.downsamples[index - 1](x) if index else x)
            x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # what the next stage reads is normalized, too
            features.append(x)
        return features


@BACKBONES.register
class MSCAN(Backbone):
    """The encoder of SegNeXt: convolutional attention by depthwise strips, four maps of strides 4, 8, 16, 32.

    Section 3.1, table 2. The defaults are MSCAN-T.

    Args:
        channels, depths, mlp_ratios: of the four stages. T has channels 32, 64, 160, 256 and depths 3, 3, 5, 2; the
            others have channels 64, 128, 320, 512 and depths 2, 2, 4, 2 (S), 3, 3, 12, 3 (B), 3, 5, 27, 3 (L).
        in_channels: channels of the image.
        pretrained: None for random weights; a file, "package.module:function" or a function that returns a state dict
            by the names of this encoder's layers (`segkit convert` makes one of a published file).
        drop_path_rate: stochastic depth of the last block; falls linearly to 0 at the first.
        mean, std: of the images, in 0..255.

    Raises:
        ConfigError: the lists differ in length, or the weights cannot be had.
    """

    strides = (4, 8, 16, 32)
    stem_stride = 4

    def __init__(
        self,
        channels: tuple[PositiveInt, ...] = (32, 64, 160, 256),
        depths: tuple[PositiveInt, ...] = (3, 3, 5, 2),
        in_channels: PositiveInt = 3,
        pretrained: str | Path | Callable[[], dict] | None = None,
        *,
        mlp_ratios: tuple[PositiveInt, ...] = (8, 8, 4, 4),
        drop_path_rate: Decay = 0.1,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        for name, values in (("channels", channels), ("depths", depths), ("mlp_ratios", mlp_ratios)):
            if len(values) != 4:
                raise ConfigError(f"backbone.{name} = {tuple(values)}: MSCAN has four stages; give four numbers")
        self.channels = tuple(channels)
        self.stem_channels = channels[0]
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.encoder = Encoder(in_channels, tuple(channels), tuple(depths), tuple(mlp_ratios), drop_path_rate)
        self.is_pretrained = pretrained is not None
        if pretrained is not None and not torch.empty(0).is_meta:
            weights = read_weights(pretrained, list(self.encoder.state_dict()), "backbone.pretrained")
            load_encoder(self.encoder, weights, in_channels, "backbone.pretrained")

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],ceil(H / 4),ceil(W / 4)], added to the stem's output.

        Returns:
            Four maps, float [B,channels[i],h_i,w_i], h_i = ceil(H / strides[i]), each layer-normalized.
        """
        return self.encoder(image, stem_add)

"""ResNet with activated batch normalization (ABN), as MiB trains it.

In-Place ABN, Rota Bulo et al., CVPR 2018, https://arxiv.org/abs/1712.02616; MiB, Cermelli et al., CVPR 2020,
https://arxiv.org/abs/2002.00718.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.weights import load_encoder, read_file, read_weights
from segkit.constraints.named import OneOf, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.ops.in_place_abn import in_place_scale
from segkit.registry import BACKBONES, ConfigError

SLOPE = 0.01
"""Negative slope of the leaky ReLU after every normalization and every residual sum."""

BLOCKS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks per stage, by depth; from 50 on they are bottlenecks."""

DILATIONS = {16: (1, 1, 1, 2), 8: (1, 1, 2, 4)}
"""Dilation of all blocks of each stage, by output stride; a dilated stage has stride 1."""


class ABNBlock(nn.Module):
    """Residual block with normalization after each convolution and leaky ReLUs between them and after the sum.

    Args:
        in_channels: channels of the input.
        widths: output channels of two 3x3 convolutions, or of a 1x1, a 3x3 and a 1x1 (bottleneck).
        stride: of the first 3x3 convolution.
        dilation: of all 3x3 convolutions.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], *, stride: int, dilation: int):
        super().__init__()
        kernels = (1, 3, 1) if len(widths) == 3 else (3, 3)
        strides = (1, stride, 1) if len(widths) == 3 else (stride, 1)
        self.convs = nn.Sequential()
        for i, (kernel, step, before, width) in enumerate(zip(kernels, strides, (in_channels, *widths), widths), 1):
            spacing = dilation if kernel == 3 else 1
            padding = spacing if kernel == 3 else 0
            conv = nn.Conv2d(before, width, kernel, step, padding, spacing, bias=False)
            self.convs.add_module(f"conv{i}", conv)
            self.convs.add_module(f"bn{i}", nn.BatchNorm2d(width))
        self.has_projection = stride != 1 or in_channels != widths[-1]
        if self.has_projection:
            self.proj_conv = nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False)
            self.proj_bn = nn.BatchNorm2d(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,widths[-1],h / stride,w / stride]."""
        shortcut = self.proj_bn(self.proj_conv(x)) if self.has_projection else x
        *layers, last = self.convs
        for layer in layers:
            x = layer(x)
            if isinstance(layer, _BatchNorm):
                x = F.leaky_relu(x, SLOPE, inplace=True)
        return F.leaky_relu(last(x) + shortcut, SLOPE, inplace=True)


@BACKBONES.register
class ABNResNet(Backbone):
    """ResNet-18 to 152 whose normalizations are followed by a leaky ReLU of slope 0.01.

    It returns the maps of its four stages. State dict keys are the published ones (mod1 to mod5).

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: channels of the image.
        pretrained: None or False for random weights; a file in the published form, with any suffix,
            "package.module:function" or a function that returns a state dict.
        output_stride: 16 or 8.
        in_place: whether the pretrained weights are of in-place ABN, which scales by |weight| + 1e-5, as the published
            ones are; they are converted.
        norm_eval: keeps normalizations in eval mode.
        mean, std: per channel of the image, in 0..255.

    Attributes:
        num_branches: of a 3x3 convolution.

    Raises:
        ConfigError: a value is not allowed, or the weights cannot be had.
    """

    stem_channels, stem_stride = 64, 2
    num_branches = 1
    block: type[ABNBlock] = ABNBlock
    mod2: nn.Sequential
    mod3: nn.Sequential
    mod4: nn.Sequential
    mod5: nn.Sequential

    def __init__(
        self,
        depth: Annotated[int, OneOf(BLOCKS)] = 101,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        output_stride: Annotated[int, OneOf(DILATIONS)] = 16,
        in_place: bool = True,
        norm_eval: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if depth not in BLOCKS:
            raise ConfigError(f"backbone.depth = {depth!r}: must be one of {', '.join(map(str, BLOCKS))}")
        if output_stride not in DILATIONS:
            raise ConfigError(
                f"backbone.output_stride = {output_stride!r}: must be one of {', '.join(map(str, DILATIONS))}"
            )
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.norm_eval, self.is_pretrained = norm_eval, bool(pretrained)
        self.mod1 = nn.Sequential()
        self.mod1.add_module("conv1", nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False))
        self.mod1.add_module("bn1", nn.BatchNorm2d(64))
        width, inner, total_stride = 64, 64, 4
        channels, strides = [], []
        for stage, (count, dilation) in enumerate(zip(BLOCKS[depth], DILATIONS[output_stride])):
            widths = (inner, inner, 4 * inner) if depth >= 50 else (inner, inner)
            stride = 2 if stage and dilation == 1 else 1
            blocks = nn.Sequential()
            for i in range(count):
                block = self.block(width, widths, stride=1 if i else stride, dilation=dilation)
                blocks.add_module(f"block{i + 1}", block)
                width = widths[-1]
            self.add_module(f"mod{stage + 2}", blocks)
            total_stride *= stride
            inner *= 2
            channels.append(width)
            strides.append(total_stride)
        self.channels, self.strides = tuple(channels), tuple(strides)
        if pretrained and not torch.empty(0).is_meta:
            weights = self.completed(_published(pretrained, self, in_place))
            load_encoder(self, weights, in_channels, "backbone.pretrained")

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,64,ceil(H / 2),ceil(W / 2)], added after the first activation.

        Returns:
            Four maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = F.leaky_relu(self.mod1(image), SLOPE, inplace=True)
        if stem_add is not None:
            x = x + stem_add
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for stage in (self.mod2, self.mod3, self.mod4, self.mod5):
            x = stage(x)
            features.append(x)
        return features

    def completed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns published weights by name, with those that only a derived encoder has."""
        return weights

    def train(self, mode: bool = True) -> "ABNResNet":
        """As nn.Module.train, but with norm_eval normalizations stay in eval mode."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _published(source: bool | str | Path | Callable[[], dict], encoder: nn.Module, in_place: bool) -> dict[str, Tensor]:
    """Weights by the encoder's names, with the scales of plain batch normalization."""
    if isinstance(source, bool):
        raise ConfigError("backbone.pretrained = True: no package holds these weights; give the path of a file")
    keys = list(encoder.state_dict())
    if isinstance(source, str | Path) and Path(source).is_file():
        weights = read_file(Path(source), "backbone.pretrained")
    else:
        weights = read_weights(source, keys)
    if not in_place:
        return weights
    scales = {name for name in keys if name.endswith(".weight") and name.rsplit(".", 2)[-2].find("bn") >= 0}
    return {name: in_place_scale(value) if name in scales else value for name, value in weights.items()}

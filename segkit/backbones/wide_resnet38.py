"""Wider ResNet-38 with pre-activated blocks, Wu et al., 2016, https://arxiv.org/abs/1611.10080.

The form A2 of In-Place ABN, Rota Bulo et al., CVPR 2018, https://arxiv.org/abs/1712.02616: two max-poolings instead of
the first two strides.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.weights import load_encoder, read_file, read_weights
from segkit.constraints.named import Decay, OneOf, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.registry import BACKBONES, ConfigError

STAGES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (3, (2, 2)),
    (3, (4, 4)),
    (6, (8, 8)),
    (3, (8, 16)),
    (1, (8, 16, 32)),
    (1, (16, 32, 64)),
)
"""Of mod2 to mod7: blocks, and the widths of a block's convolutions in multiples of the stem's; three are a
bottleneck."""

STEPS: dict[int, tuple[tuple[int, int], ...]] = {
    8: ((1, 1), (1, 1), (2, 1), (1, 2), (1, 4), (1, 4)),
    32: ((1, 1), (1, 1), (2, 1), (2, 1), (2, 1), (1, 1)),
}
"""Stride of the first block and dilation of all, of mod2 to mod7, by output stride; mod2 and mod3 are pooled before."""


class PreActivatedBlock(nn.Module):
    """Residual block whose convolutions each follow a batch normalization and a ReLU.

    The projection of the shortcut reads the first of these activations.

    Args:
        in_channels: channels of the input.
        widths: output channels of two 3x3 convolutions, or of a 1x1, a 3x3 and a 1x1 (bottleneck).
        stride: of the first convolution and of the projection.
        dilation: of all 3x3 convolutions.
        dropout: share of channels dropped before the last convolution.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], *, stride: int, dilation: int, dropout: float = 0.0):
        super().__init__()
        kernels = (1, 3, 1) if len(widths) == 3 else (3, 3)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.convs = nn.Sequential()
        for i, (kernel, before, width) in enumerate(zip(kernels, (in_channels, *widths), widths), 1):
            if i > 1:
                self.convs.add_module(f"bn{i}", nn.BatchNorm2d(before))
                self.convs.add_module(f"act{i}", nn.ReLU(inplace=True))
            if i == len(widths) and dropout:
                self.convs.add_module("dropout", nn.Dropout2d(dropout))
            spacing = dilation if kernel == 3 else 1
            padding = spacing if kernel == 3 else 0
            step = stride if i == 1 else 1
            self.convs.add_module(f"conv{i}", nn.Conv2d(before, width, kernel, step, padding, spacing, bias=False))
        self.has_projection = stride != 1 or in_channels != widths[-1]
        if self.has_projection:
            self.proj_conv = nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,widths[-1],h / stride,w / stride]."""
        activated = F.relu(self.bn1(x), inplace=True)
        shortcut = self.proj_conv(activated) if self.has_projection else x
        return self.convs(activated) + shortcut


@BACKBONES.register
class WideResNet38(Backbone):
    """Wider ResNet-38: a few wide, pre-activated blocks, with the first convolution at the image's own size.

    It returns the outputs of its seven modules, mod1 (stride 1) to mod7. They are sums of convolutions, not activated.
    Names in the state dict are the published ones, without the position of a normalization in its pair with the ReLU.

    Args:
        in_channels: channels of the image.
        width: channels of the first convolution; those of the others are multiples (published: 64, up to 4,096).
        pretrained: None or False for random weights; a file in the published form, with any suffix,
            "package.module:function" or a function that returns a state dict.
        output_stride: 8 with the last three modules dilated, or 32.
        dropout: shares of channels dropped before the last convolution of mod6 and of mod7.
        mean, std: per channel of the image, in 0..255.

    Raises:
        ConfigError: a value is not allowed, or the weights cannot be had.
    """

    stem_stride = 1

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        width: PositiveInt = 64,
        *,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        output_stride: Annotated[int, OneOf(STEPS)] = 8,
        dropout: tuple[Decay, Decay] = (0.3, 0.5),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if output_stride not in STEPS:
            raise ConfigError(
                f"backbone.output_stride = {output_stride!r}: must be one of {', '.join(map(str, STEPS))}"
            )
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels, self.is_pretrained = width, bool(pretrained)
        self.mod1 = nn.Sequential()
        self.mod1.add_module("conv1", nn.Conv2d(in_channels, width, 3, padding=1, bias=False))
        self.stages = tuple(f"mod{i + 2}" for i in range(len(STAGES)))
        channels, strides = [width], [1]
        for i, ((count, factors), (stride, dilation)) in enumerate(zip(STAGES, STEPS[output_stride])):
            widths = tuple(width * factor for factor in factors)
            share = dropout[i - 4] if i >= 4 else 0.0
            blocks = nn.Sequential()
            for j in range(count):
                before = widths[-1] if j else channels[-1]
                block = PreActivatedBlock(before, widths, stride=1 if j else stride, dilation=dilation, dropout=share)
                blocks.add_module(f"block{j + 1}", block)
            self.add_module(self.stages[i], blocks)
            channels.append(widths[-1])
            strides.append(strides[-1] * (2 if i < 2 else stride))
        self.channels, self.strides = tuple(channels), tuple(strides)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if pretrained and not torch.empty(0).is_meta:
            load_encoder(self, _published(pretrained, list(self.state_dict())), in_channels, "backbone.pretrained")

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,width,H,W], added to the first convolution.

        Returns:
            Seven maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = self.mod1(image)
        if stem_add is not None:
            x = x + stem_add
        features = [x]
        for i, stage in enumerate(self.stages):
            if i < 2:
                x = F.max_pool2d(x, 3, 2, 1)
            x = self.get_submodule(stage)(x)
            features.append(x)
        return features


def _published(source: bool | str | Path | Callable[[], dict], keys: Sequence[str]) -> dict[str, Tensor]:
    """Weights by the encoder's names; published ones number each normalization within its pair with the ReLU."""
    if isinstance(source, bool):
        raise ConfigError("backbone.pretrained = True: no package holds these weights; give the path of a file")
    if isinstance(source, str | Path) and Path(source).is_file():
        weights = read_file(Path(source), "backbone.pretrained")
    else:
        weights = read_weights(source, list(keys))
    return {re.sub(r"\.(bn\d)\.0\.", r".\1.", name): value for name, value in weights.items()}

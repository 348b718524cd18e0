"""ResNet with activated batch normalization: of In-Place ABN, Rota Bulo et al., CVPR 2018,
https://arxiv.org/abs/1712.02616, in the form MiB trains, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.weights import load_encoder, read_file, read_weights
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.ops.in_place_abn import in_place_scale
from segkit.registry import BACKBONES, ConfigError

SLOPE = 0.01
"""Of the leaky ReLU after every normalization and every sum."""

BLOCKS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Depth -> blocks per stage; from 50 on they are bottlenecks."""

DILATIONS = {16: (1, 1, 1, 2), 8: (1, 1, 2, 4)}
"""Output stride -> dilation per stage, of all its blocks, the first too; a dilated stage has stride 1."""


class ABNBlock(nn.Module):
    """Convolutions with normalization, leaky ReLUs between them, a shortcut and one after the sum:
    [B,in_channels,h,w] -> [B,widths[-1],h / stride,w / stride].

    widths: of two 3x3 convolutions, or of 1x1, 3x3 and 1x1; the first 3x3 has the stride, all 3x3 the dilation.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], *, stride: int, dilation: int):
        super().__init__()
        kernels = (1, 3, 1) if len(widths) == 3 else (3, 3)
        strides = (1, stride, 1) if len(widths) == 3 else (stride, 1)
        self.convs = nn.Sequential()
        for i, (kernel, step, before, width) in enumerate(zip(kernels, strides, (in_channels, *widths), widths), 1):
            reach = dilation if kernel == 3 else 1
            padding = reach if kernel == 3 else 0
            conv = nn.Conv2d(before, width, kernel, step, padding, reach, bias=False)
            self.convs.add_module(f"conv{i}", conv)
            self.convs.add_module(f"bn{i}", nn.BatchNorm2d(width))
        self.has_projection = stride != 1 or in_channels != widths[-1]
        if self.has_projection:
            self.proj_conv = nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False)
            self.proj_bn = nn.BatchNorm2d(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,widths[-1],h / stride,w / stride]."""
        shortcut = self.proj_bn(self.proj_conv(x)) if self.has_projection else x
        *layers, last = self.convs
        for layer in layers:
            x = layer(x)
            if isinstance(layer, _BatchNorm):
                x = F.leaky_relu(x, SLOPE, inplace=True)
        return F.leaky_relu(last(x) + shortcut, SLOPE, inplace=True)


@BACKBONES.register
class ABNResNet(nn.Module):
    """ResNet-18 to 152 whose normalizations are followed by a leaky ReLU of slope 0.01: [B,in_channels,H,W] -> the maps
    of four stages. Keys are the published ones (mod1 to mod5).

    output_stride: 16 or 8. pretrained: None or False for random weights; a file of the published form, with a name of
    any ending, "package.module:function" or a function that returns a state dict. in_place: whether these weights are
    of in-place ABN, which scales by |weight| + 1e-5, as the published ones are; they are converted.
    norm_eval: normalizations stay in eval; mean, std: in 0..255.
    """

    order = "RGB"
    stem_channels, stem_stride = 64, 2

    def __init__(
        self,
        depth: int = 101,
        in_channels: int = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        output_stride: int = 16,
        in_place: bool = True,
        norm_eval: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ):
        super().__init__()
        for name, value, known in (("depth", depth, BLOCKS), ("output_stride", output_stride, DILATIONS)):
            if value not in known:
                raise ConfigError(f"backbone.{name} = {value!r}: choose one of {', '.join(map(str, known))}")
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.norm_eval = norm_eval
        self.mod1 = nn.Sequential()
        self.mod1.add_module("conv1", nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False))
        self.mod1.add_module("bn1", nn.BatchNorm2d(64))
        width, reduction, reach = 64, 64, 4
        channels, strides = [], []
        for stage, (count, dilation) in enumerate(zip(BLOCKS[depth], DILATIONS[output_stride])):
            widths = (reduction, reduction, 4 * reduction) if depth >= 50 else (reduction, reduction)
            stride = 2 if stage and dilation == 1 else 1
            blocks = nn.Sequential()
            for i in range(count):
                block = ABNBlock(width, widths, stride=1 if i else stride, dilation=dilation)
                blocks.add_module(f"block{i + 1}", block)
                width = widths[-1]
            self.add_module(f"mod{stage + 2}", blocks)
            reach *= stride
            reduction *= 2
            channels.append(width)
            strides.append(reach)
        self.channels, self.strides = tuple(channels), tuple(strides)
        if pretrained and not torch.empty(0).is_meta:
            load_encoder(self, _published(pretrained, self, in_place), in_channels, "backbone.pretrained")

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """image: float [B,in_channels,H,W], normalized; stem_add: float [B,64,ceil(H / 2),ceil(W / 2)], added after the
        first activation -> four maps."""
        x = F.leaky_relu(self.mod1(image), SLOPE, inplace=True)
        if stem_add is not None:
            x = x + stem_add
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for stage in (self.mod2, self.mod3, self.mod4, self.mod5):
            x = stage(x)
            features.append(x)
        return features

    def train(self, mode: bool = True) -> "ABNResNet":
        """As nn.Module.train, but with norm_eval normalizations stay in eval."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _published(source: bool | str | Path | Callable[[], dict], encoder: nn.Module, in_place: bool) -> dict[str, Tensor]:
    """-> weights by the encoder's names, the scale of normalizations as plain batch normalization has it."""
    if source is True:
        raise ConfigError("backbone.pretrained = True: nobody hosts these weights as a package; give the file's path")
    is_file = isinstance(source, str | Path) and Path(source).is_file()
    keys = list(encoder.state_dict())
    weights = read_file(Path(source), "backbone.pretrained") if is_file else read_weights(source, keys)
    if not in_place:
        return weights
    scales = {name for name in keys if name.endswith(".weight") and name.rsplit(".", 2)[-2].find("bn") >= 0}
    return {name: in_place_scale(value) if name in scales else value for name, value in weights.items()}

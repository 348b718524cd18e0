"""Dynamic Routing: Learning Dynamic Routing for Semantic Segmentation, Li et al., CVPR 2020,
https://arxiv.org/abs/2003.10401."""

from collections.abc import Sequence
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs import _mflops
from segkit.archs._routing_cell import Cell, Node, Ways
from segkit.constraints.named import AnySize, PositiveFloat, PositiveInt, Range
from segkit.models.layers import IMAGENET_MEAN, ConvBNReLU, per_channel, resize
from segkit.models.routed_segmentor import CountedHead, Routed, RoutedBackbone
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs

SCALES = 4
"""Resolutions: strides 4, 8, 16 and 32."""

ON_PATH = 1e-4
"""A path with a smaller gate is not counted as computed, as in the authors' code."""


@BACKBONES.register
class DynamicRouting(RoutedBackbone):
    """A grid of layers and resolutions in which each image takes its own paths.

    Section 3, figure 2. Every cell has a gate for each of its paths to the next layer; where all of them are closed its
    input is handed on. In evaluation what is closed is not computed, for each image of a batch by itself; under
    torch.compile and torch.export everything is computed and multiplied by its gate, with equal results.

    Images are padded at the right and bottom to multiples of 32; inference.pad_divisor=32 also resizes the logits as
    the authors' code does. Images are BGR. Operations are counted as that code does: with those of a gate whose cell
    gets no input, without the first cell's own convolutions and gate, and without gates in the expected ones.

    Args:
        in_channels: channels of the image.
        layers: number of layers behind the first cell; 16 and 33 in the paper.
        width: channels at stride 4; each further resolution has twice as many.
        small_gate: the gates read their map at a quarter of its size, as in networks with a budget.
        gate_bias: initial value of the gates' biases; 1.5 opens them.
        flops_size: (height, width) of the image that operations are counted for; None for the image itself.
        mean: mean of each image channel, blue first, in 0..255.
        std: standard deviation of each image channel, blue first.
    """

    order = "BGR"
    strides = (4, 8, 16, 32)

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        layers: Annotated[int, Range(3, 1000)] = 16,
        width: Annotated[int, Range(2)] = 64,
        *,
        small_gate: bool = False,
        gate_bias: float = 1.5,
        flops_size: AnySize | None = None,
        mean: tuple[float, ...] = IMAGENET_MEAN[::-1],
        std: tuple[PositiveFloat, ...] = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.channels = tuple(width * 2**i for i in range(SCALES))
        self.flops_size = (flops_size, flops_size) if isinstance(flops_size, int) else flops_size
        self.in_channels, self.width = in_channels, width
        self.stem = nn.Sequential(
            ConvBNReLU(in_channels, 64, stride=2, padding=0),  # without padding, as in the authors' code
            nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False),
            ConvBNReLU(64, 64, 1),
            nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=64, bias=False),
            ConvBNReLU(64, width, 1),
        )
        for module in self.stem.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.start = Cell(width, has_up=False, has_down=True, is_small=small_gate, gate_bias=gate_bias)
        self.layers = nn.ModuleList()
        for layer in range(layers):
            is_last = layer == layers - 1
            self.layers.append(
                nn.ModuleList(
                    Cell(
                        self.channels[i],
                        has_up=i > 0 and not is_last,
                        has_down=i < SCALES - 1 and not is_last,
                        is_small=small_gate,
                        gate_bias=gate_bias,
                    )
                    for i in range(min(layer + 2, SCALES))
                )
            )

    def count_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns flops_size where it is given, else the size itself."""
        return self.flops_size or size

    def route(self, image: Tensor) -> Routed:
        """Computes the feature maps and counts operations.

        Args:
            image: float [B,in_channels,H,W], normalized.

        Returns:
            Four maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])]; 1e6 operations of each image,
            float [B], as computed and weighted by the gates.
        """
        size = (image.shape[-2], image.shape[-1])
        padded = F.pad(image, (0, -size[1] % 32, 0, -size[0] % 32))
        skips = not (self.training or torch.compiler.is_compiling() or image.is_meta)
        cell_size = _mflops.divided(self.count_size(size), 4)
        real = image.new_full((image.shape[0],), self._stem_mflops(self.count_size(size)), dtype=torch.float32)
        expected = torch.zeros_like(real)
        x = self.stem(padded)
        node = Node(x, torch.ones(x.shape[0], dtype=torch.bool, device=x.device))
        ways = [self.start.where_open(node) if skips else self.start.everywhere(node)]
        # of the first cell only the paths are counted, as in the authors' code
        _, _, costs = self.start.mflops(cell_size)
        real, expected = _with_paths(real, ways[0], costs), expected + _weighted(ways[0], costs)
        for number, layer in enumerate(cast(Sequence[Sequence[Cell]], self.layers)):
            nodes = [_joined(ways, i) for i in range(len(layer))]
            ways = [cell.where_open(n) if skips else cell.everywhere(n) for cell, n in zip(layer, nodes)]
            for i, (cell, way) in enumerate(zip(layer, ways)):
                convs, gate, costs = cell.mflops(_mflops.divided(cell_size, 2**i))
                real = real + gate + convs * way.is_open
                expected = expected + convs * way.gates.float().amax(1)
                if number < len(self.layers) - 1:
                    real, expected = _with_paths(real, way, costs), expected + _weighted(way, costs)
        features = []
        for i, (way, stride) in enumerate(zip(ways, self.strides)):
            height, width = (-(-side // stride) for side in size)
            value = way.keep.value
            if value is None:
                value = x.new_zeros(x.shape[0], self.channels[i], height, width)
            features.append(value[..., :height, :width])
        return Routed(features, real, expected)

    def _stem_mflops(self, size: tuple[int, int]) -> float:
        half, quarter = _mflops.divided(size, 2), _mflops.divided(_mflops.divided(size, 2), 2)
        return (
            _mflops.conv_bn_relu(size, self.in_channels, 64, 3, stride=2)
            + _mflops.separable(half, 64)
            + _mflops.depthwise(half, 64, stride=2)
            + _mflops.conv_bn_relu(quarter, 64, self.width)
        )


def _joined(ways: Sequence[Ways], i: int) -> Node:
    """Sums what the cells of a layer send to cell i of the next."""
    nodes = []
    if i > 0:
        nodes.append(ways[i - 1].down)
    if i < len(ways):
        nodes.append(ways[i].keep)
    if i + 1 < len(ways):
        nodes.append(ways[i + 1].up)
    values, arrived = [], None
    for node in nodes:
        assert node is not None
        arrived = node.arrived if arrived is None else arrived | node.arrived
        if node.value is not None:
            values.append(node.value)
    assert arrived is not None
    if not values:
        return Node(None, arrived)
    total, *others = values
    for value in others:
        total = total + value
    return Node(total, arrived)


def _with_paths(real: Tensor, ways: Ways, costs: list[float]) -> Tensor:
    """Adds the paths that are computed."""
    for i, cost in enumerate(costs):
        real = real + cost * (ways.gates[:, i] > ON_PATH)
    return real


def _weighted(ways: Ways, costs: list[float]) -> Tensor:
    """Sums the paths weighted by their gates, float [B]."""
    return sum((ways.gates[:, i].float() * cost for i, cost in enumerate(costs)), ways.gates.new_zeros(()).float())


@HEADS.register
class DynamicRoutingHead(CountedHead):
    """Dynamic Routing's decoder: adds the maps from the deepest to the first, each after a 1x1 convolution.

    Section 3.4.

    Args:
        in_channels: channels of each feature map, each at half the resolution of the one before.
        num_classes: number of classes K.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.in_channels, self.widths = in_channels, (in_channels[0], *in_channels[:-1])
        self.laterals = nn.ModuleList(ConvBNReLU(deep, width, 1) for deep, width in zip(in_channels, self.widths))
        self.classifier = nn.Conv2d(in_channels[0], num_classes, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts classes.

        Args:
            features: float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h_0,w_0], and "embedding", float [B,in_channels[0],h_0,w_0], the classifier's input.
        """
        *shallow, deep = features
        x = self.laterals[-1](deep)
        for feature, lateral in zip(reversed(shallow), list(self.laterals)[-2::-1]):
            x = lateral(feature + resize(x, like=feature))
        return {"logits": self.classifier(x), "embedding": x}

    def mflops(self, size: tuple[int, int]) -> float:
        """Counts 1e6 operations, on square maps of the image's height, as the authors' code does."""
        total = 0.0
        for i, (deep, width) in enumerate(zip(self.in_channels, self.widths)):
            side = size[0] // 4 // 2**i
            total += _mflops.conv_bn_relu((side, side), deep, width)
        side = size[0] // 4
        return total + _mflops.conv((side, side), self.in_channels[0], self.classifier.out_channels, 3)

"""One cell of Dynamic Routing: its gates, its two convolutions and its three ways out.

B batch, C channels of the cell, n gates.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs import _mflops
from segkit.models.layers import ConvBNReLU, bias_of

CLOSED = 1e-4
"""A cell whose gates sum to less is closed, as in the authors' code."""


class Node(NamedTuple):
    """What reaches a cell.

    Attributes:
        value: float [B,C,h,w]; None where nothing arrived for any image.
        arrived: bool [B], the images for which a cell in front of this one was computed, even if its path to this one
            is closed. For the others nothing is computed here either.
    """

    value: Tensor | None
    arrived: Tensor


class Ways(NamedTuple):
    """What leaves a cell.

    Attributes:
        keep, up, down: to the next layer's cell of the same, twice and half the resolution; None where there is no such
            path.
        gates: float [B,n]: keep, then up, then down, as far as there are these paths.
        is_open: float [B], 1 where the cell was computed.
    """

    keep: Node
    up: Node | None
    down: Node | None
    gates: Tensor
    is_open: Tensor


class Gate(nn.Module):
    """Soft conditional gate: decides for each image how far each path is open (section 3.3, equations 4 and 5).

    Args:
        channels: C.
        paths: n.
        is_small: reads the map at a quarter of its size.
    """

    def __init__(self, channels: int, paths: int, is_small: bool):
        super().__init__()
        self.reduce = ConvBNReLU(channels, channels // 2, 1)
        self.score = nn.Conv2d(channels // 2, paths, 1)
        self.is_small = is_small

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to gates in 0..1, float [B,n]."""
        if self.is_small and min(x.shape[-2:]) >= 4:
            x = F.interpolate(x, scale_factor=0.25, mode="bilinear", align_corners=False)
        elif self.is_small:  # a map of under 4 pixels, which the authors' code cannot have
            x = F.interpolate(x, size=[max(side // 4, 1) for side in x.shape[-2:]], mode="bilinear")
        return self.score(self.reduce(x).mean((2, 3), keepdim=True)).flatten(1).tanh().relu()


class Cell(nn.Module):
    """Convolves what the layer before sends to it, and sends it on at up to three resolutions (section 3.2, figure 3).

    Args:
        channels: C.
        has_up: sends to the cell of twice the resolution, with half the channels.
        has_down: sends to the cell of half the resolution, with twice the channels.
        is_small: of the gate.
        gate_bias: initial value of the gate's biases.
    """

    def __init__(self, channels: int, *, has_up: bool, has_down: bool, is_small: bool, gate_bias: float):
        super().__init__()
        self.channels = channels
        self.convs = nn.Sequential(
            _depthwise(channels), ConvBNReLU(channels, channels, 1), _depthwise(channels), _pointwise(channels)
        )
        self.up = ConvBNReLU(channels, channels // 2, 1) if has_up else None
        self.down = ConvBNReLU(channels, 2 * channels, 1, stride=2) if has_down else None
        self.gate = Gate(channels, 1 + has_up + has_down, is_small)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.constant_(bias_of(self.gate.score), gate_bias)

    def everywhere(self, node: Node) -> Ways:
        """Computes everything for all images and multiplies it by the gates.

        In training a cell without any input is computed too, on zeros, as in the authors' code. In evaluation the
        result is that of where_open().
        """
        x, arrived = node
        assert x is not None
        gates = self.gate(x)
        is_open = (gates.sum(1) >= CLOSED).to(gates.dtype)
        if not self.training:
            is_open = is_open * arrived
            gates = gates * is_open[:, None]
        hidden = (x + self.convs(x)).relu()
        keep = _images(1 - is_open) * x + _images(gates[:, 0]) * hidden
        sends = arrived if self.training else is_open > 0
        up = down = None
        if self.up is not None:
            up = Node(_images(gates[:, 1]) * _twice(self.up(hidden)), sends)
        if self.down is not None:
            down = Node(_images(gates[:, -1]) * self.down(hidden), sends)
        return Ways(Node(keep, arrived), up, down, gates, is_open)

    def where_open(self, node: Node) -> Ways:
        """Computes the cell for the images for which it is open, and each path for those for which that is open."""
        x, arrived = node
        gates = self._gates_of(node)
        is_open = gates.sum(1) >= CLOSED
        keep, up, down = x, None, None
        if x is not None and bool(is_open.any()):
            part = _chosen(x, is_open)
            hidden = (part + self.convs(part)).relu()
            of_open = _chosen(gates, is_open)
            keep = _put(_images(of_open[:, 0]) * hidden, is_open, x)
            height, width = x.shape[-2:]
            if (way_up := self.up) is not None:
                size = (self.channels // 2, 2 * height, 2 * width)
                up = _sent(lambda part: _twice(way_up(part)), hidden, of_open[:, 1], is_open, size)
            if self.down is not None:
                size = (2 * self.channels, (height + 1) // 2, (width + 1) // 2)
                down = _sent(self.down, hidden, of_open[:, -1], is_open, size)
        return Ways(
            Node(keep, arrived),
            None if self.up is None else Node(up, is_open),
            None if self.down is None else Node(down, is_open),
            gates,
            is_open.to(gates.dtype),
        )

    def _gates_of(self, node: Node) -> Tensor:
        """Gates of the images that something arrived for, 0 for the others and for those that are closed."""
        x, arrived = node
        if x is None:
            weight = self.gate.score.weight
            return weight.new_zeros(len(arrived), len(weight))
        gates = self.gate(_chosen(x, arrived))
        gates = gates * (gates.sum(1, keepdim=True) >= CLOSED)
        return _put(gates, arrived, gates.new_zeros(len(arrived), gates.shape[1]))

    def mflops(self, size: _mflops.Size) -> tuple[float, float, list[float]]:
        """Counts 1e6 operations.

        Args:
            size: of the cell's map.

        Returns:
            Those of the convolutions, of the gate, and of each path in the order of the gates.
        """
        c, paths = self.channels, len(self.gate.score.weight)
        relu = _mflops.per_pixel(size, c)
        convs = _mflops.separable(size, c) + _mflops.separable(size, c) - relu
        seen = _mflops.divided(size, 4) if self.gate.is_small else size
        pooling, score = _mflops.per_pixel(seen, c // 2), _mflops.conv((1, 1), c // 2, paths)
        ways = [relu]
        if self.up is not None:
            ways.append(relu + _mflops.conv_bn_relu(size, c, c // 2))
        if self.down is not None:
            ways.append(relu + _mflops.conv_bn_relu(size, c, 2 * c, stride=2))
        return convs, _mflops.conv_bn_relu(seen, c, c // 2) + pooling + score, ways


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def _pointwise(channels: int) -> ConvBNReLU:
    return ConvBNReLU(channels, channels, 1, act=False)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _images(values: Tensor) -> Tensor:
    """[B] -> [B,1,1,1]."""
    return values[:, None, None, None]


def _chosen(x: Tensor, mask: Tensor) -> Tensor:
    """The images of a mask, without a copy where it holds all."""
    return x if bool(mask.all()) else x[mask]


def _sent(
    path: Callable[[Tensor], Tensor], hidden: Tensor, gate: Tensor, is_open: Tensor, size: tuple[int, int, int]
) -> Tensor:
    """What one path sends, float [B,*size]. `hidden` and `gate` are of the open images."""
    zeros = hidden.new_zeros(len(is_open), *size)
    wants = gate > 0
    if not bool(wants.any()):
        return zeros
    everyone = is_open.clone()
    everyone[is_open] = wants
    return _put(_images(_chosen(gate, wants)) * path(_chosen(hidden, wants)), everyone, zeros)


def _put(values: Tensor, mask: Tensor, others: Tensor) -> Tensor:
    """Values of the images of a mask, those of `others` for the rest."""
    if bool(mask.all()):
        return values
    result = others.to(values.dtype, copy=True)
    result[mask] = values
    return result

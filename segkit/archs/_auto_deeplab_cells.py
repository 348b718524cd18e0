"""Operations and cells of Auto-DeepLab's networks, Liu et al., CVPR 2019, https://arxiv.org/abs/1901.02985."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._auto_deeplab_genotype import Edge
from segkit.models.layers import resize
from segkit.ops.resizing import is_free


def halved(size: tuple[int, ...]) -> tuple[int, int]:
    """Returns the size of the next coarser level: n / 2 of even sides, (n + 1) / 2 of odd ones."""
    return (size[-2] + 1) // 2, (size[-1] + 1) // 2


def doubled(size: tuple[int, ...]) -> tuple[int, int]:
    """Returns the size of the next finer level: 2 n of even sides, 2 n - 1 of odd ones, whose corners stay aligned."""
    height, width = size[-2:]
    return 2 * height - height % 2, 2 * width - width % 2


def moved(x: Tensor, step: int) -> Tensor:
    """Resizes a map by one level, corners aligned.

    Args:
        x: float [B,C,h,w].
        step: 1 to the coarser level, -1 to the finer one, 0 for none.
    """
    if step == 0:
        return x
    return resize(x, size=halved(x.shape) if step > 0 else doubled(x.shape), align_corners=True)


class Zero(nn.Module):
    """The operation "none": 0 everywhere, with a graph, so that every weight before it has a gradient.

    Args:
        stride: of the result.
    """

    def __init__(self, stride: int = 1):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to zeros of that shape, or of the next coarser level."""
        return x[..., :: self.stride, :: self.stride] * 0


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's "SAME" does: with stride 2 even sides get one row less at the start.

    Args:
        in_channels, channels, kernel, stride, dilation, groups: of the convolution, which has no bias.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ):
        super().__init__(in_channels, channels, kernel, stride, dilation=dilation, groups=groups, bias=False, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,ceil(h / stride),ceil(w / stride)]."""
        reach, stride = self.dilation[0] * (self.kernel_size[0] - 1) + 1, self.stride[0]
        padding: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = (-(-side // stride) - 1) * stride + reach - side if reach >= stride else 0
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


class SamePool2d(nn.Module):
    """A 3x3 pooling that pads as TensorFlow's "SAME" does and leaves the padding out.

    Args:
        kind: "max" or "avg".
        stride: 1 or 2.
    """

    def __init__(self, kind: str, stride: int):
        super().__init__()
        self.is_max, self.stride = kind == "max", stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to float [B,C,ceil(h / stride),ceil(w / stride)]."""
        if self.stride > 1 and is_free(*x.shape[2:]):
            return self._pooled(x)
        padding = (1, 1) if self.stride == 1 else (x.shape[2] % 2, x.shape[3] % 2)
        if self.is_max:
            return F.max_pool2d(x, 3, self.stride, padding, ceil_mode=self.stride > 1)
        return F.avg_pool2d(x, 3, self.stride, padding, ceil_mode=self.stride > 1, count_include_pad=False)

    def _pooled(self, x: Tensor) -> Tensor:
        """The same with stride 2 for sides that torch.export leaves open: the padding is made beforehand."""
        sides = (x.shape[3] % 2, 1, x.shape[2] % 2, 1)
        if self.is_max:
            return F.max_pool2d(F.pad(x, sides, value=-torch.inf), 3, 2)
        total, count = F.avg_pool2d(F.pad(x, sides), 3, 2), F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), sides), 3, 2)
        return total / count


class Halve(nn.Module):
    """Resizes a map to the next coarser level."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to float [B,C,h',w']."""
        return moved(x, 1)


def relu_conv_norm(in_channels: int, channels: int, *, affine: bool = True, eps: float = 1e-5) -> nn.Sequential:
    """Returns a ReLU, a 1x1 convolution without bias and a normalization.

    Args:
        in_channels, channels: of the convolution.
        affine: whether the normalization has weights.
        eps: of the normalization.
    """
    conv = nn.Conv2d(in_channels, channels, 1, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels, eps=eps, affine=affine))


def operation(name: str, channels: int, *, affine: bool = True) -> nn.Module:
    """Builds an operation as the search knows it: it keeps the size, and its dilated convolutions are separable.

    Args:
        name: one of OPERATIONS.
        channels: of input and output.
        affine: whether normalizations have weights.
    """
    kind, kernel = name.rpartition("_")[0], int(name[-1]) if name[-1].isdigit() else 1
    if kind in ("max_pool", "avg_pool"):
        return SamePool2d(kind[:3], 1)
    if name == "skip_connect":
        return nn.Identity()
    if name == "none":
        return Zero()
    dilation = 2 if kind == "dil_conv" else 1
    layers: list[nn.Module] = []
    for _ in range(2 if kind == "sep_conv" else 1):
        padding = dilation * (kernel // 2)
        depthwise = nn.Conv2d(
            channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False
        )
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        layers += [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels, affine=affine)]
    return nn.Sequential(*layers)


def strided_operation(name: str, channels: int, stride: int, *, eps: float = 1e-3) -> nn.Module:
    """Builds an operation as the paper's network has it: the operation itself strides, dilated convolutions are full.

    A dilated convolution that strides is one without dilation on the map of half the size.

    Args:
        name: one of OPERATIONS.
        channels: of input and output.
        stride: 1, or 2 where the cell goes to the coarser level.
        eps: of the normalizations.
    """
    kind, kernel = name.rpartition("_")[0], int(name[-1]) if name[-1].isdigit() else 1
    if kind in ("max_pool", "avg_pool"):
        return SamePool2d(kind[:3], stride)
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        conv = nn.Conv2d(channels, channels, 1, stride, bias=False)
        return nn.Identity() if stride == 1 else nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels, eps=eps))
    if kind == "dil_conv":
        dilated = SameConv2d(channels, channels, kernel, dilation=1 if stride > 1 else 2)
        resized = [Halve()] if stride > 1 else []
        return nn.Sequential(nn.ReLU(), *resized, dilated, nn.BatchNorm2d(channels, eps=eps))
    layers: list[nn.Module] = []
    for i in range(2):
        depthwise = SameConv2d(channels, channels, kernel, stride=stride if i == 0 else 1, groups=channels)
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        layers += [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels, eps=eps)]
    return nn.Sequential(*layers)


class DropPath(nn.Module):
    """Scheduled drop path: sets an operation's result to 0 for some images, more often the longer the training lasts.

    Zoph et al., CVPR 2018, section 4. The share counts training passes in a buffer.

    Args:
        share: of images in the end.
        steps: training passes until then; 0 for this share from the start.
    """

    passes: Tensor

    def __init__(self, share: float, steps: int = 0):
        super().__init__()
        self.share, self.steps = share, steps
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape; in evaluation it changes nothing."""
        if not self.training:
            return x
        progress = (self.passes / self.steps).clamp(max=1) if self.steps else torch.ones((), device=x.device)
        kept = 1 - self.share * progress
        self.passes += 1
        draw = torch.rand(x.shape[0], 1, 1, 1, device=x.device)
        return x * ((draw < kept) / kept).to(x.dtype)


class Cell(nn.Module):
    """A decoded cell: five blocks of two operations each, concatenated.

    Args:
        cell: edges of each block.
        operations: modules of the edges, in the same order.
    """

    def __init__(self, cell: tuple[tuple[Edge, ...], ...], operations: list[list[nn.Module]]):
        super().__init__()
        self.inputs = tuple(tuple(state for state, _ in block) for block in cell)
        self.blocks = nn.ModuleList(nn.ModuleList(modules) for modules in operations)

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        """Computes the blocks.

        Args:
            before: float [B,C,h,w], of the cell before the last one.
            last: float [B,C,h,w], of the last cell.

        Returns:
            float [B,5 C,h',w'].
        """
        states = [before, last]
        for inputs, block in zip(self.inputs, self.blocks):
            assert isinstance(block, nn.ModuleList)
            first, second = (module(states[state]) for state, module in zip(inputs, block))
            states.append(first + second)
        return torch.cat(states[2:], 1)

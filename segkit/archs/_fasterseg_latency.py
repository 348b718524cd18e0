"""The operations of FasterSeg that are timed, and the latency of a derived network as their sum."""

from typing import NamedTuple

from torch import nn

from segkit.archs._fasterseg_genotype import OPERATIONS, STRIDES, Genotype
from segkit.archs._fasterseg_operations import Fixed, Same, classify, conv_norm, operation, stem_channels
from segkit.readers.latency_table import LatencyTable


class Timed(NamedTuple):
    """An operation on a map, which a latency table has a time of.

    Attributes:
        kind: one of OPERATIONS, "conv1x1" or "conv3x3" with normalization and ReLU, or "classify".
        in_channels, channels: of what it reads and gives.
        size: (height, width) of what it reads.
        stride: 1 or 2.
    """

    kind: str
    in_channels: int
    channels: int
    size: tuple[int, int]
    stride: int = 1

    @property
    def name(self) -> str:
        """The operation's name in the table."""
        height, width = self.size
        return f"{self.kind} {self.in_channels}->{self.channels} stride {self.stride} on {height}x{width}"

    def module(self) -> nn.Module:
        """Returns the operation, as derived networks have it."""
        if self.kind == "skip" and self.stride == 1:
            return Same()
        if self.kind in OPERATIONS:
            return operation(self.kind, self.in_channels, self.channels, self.stride, Fixed())
        if self.kind == "classify":
            return nn.Sequential(*classify(self.in_channels, self.channels))
        return conv_norm(self.in_channels, self.channels, int(self.kind[-1]), stride=self.stride)


def scaled(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Returns the size of a map of a stride, rounded down; size: of the image."""
    return size[0] // stride, size[1] // stride


def stem_operations(base: int, width: int, size: tuple[int, int], in_channels: int = 3) -> list[Timed]:
    """Returns the operations of a stem; width: in twelfths; size: of the image."""
    first, second, third = stem_channels(base, width)
    return [
        Timed("conv3x3", in_channels, first, size, 2),
        Timed("conv_2x", first, second, scaled(size, 2), 2),
        Timed("conv_2x", second, third, scaled(size, 4), 2),
    ]


def network_operations(genotype: Genotype, size: tuple[int, int], num_classes: int) -> list[Timed]:
    """Returns the operations of a derived network without auxiliary heads, in their order.

    Args:
        genotype: of the network.
        size: (H, W) of the image.
        num_classes: K.
    """
    found = stem_operations(genotype.base, genotype.stem_width, size)
    for layer, groups in enumerate(genotype.groups()):
        for group in groups:
            branch = genotype.branches[group[0]]
            before, after = genotype.cell_channels(group[0], layer)
            stride = 2 if branch.halves(layer) else 1
            found.append(Timed(branch.operations[layer], before, after, scaled(size, branch.strides[layer]), stride))
    for i, branch in enumerate(genotype.branches):
        maps = genotype.map_channels(i)
        for stride in reversed(STRIDES[1 : STRIDES.index(branch.last) + 1]):
            below = stride // 2
            wide, narrow = genotype.filters(stride, genotype.head_width), genotype.filters(below, genotype.head_width)
            found.append(Timed("conv1x1", wide, narrow, scaled(size, stride)))
            found.append(Timed("conv3x3", narrow + maps[below], narrow, scaled(size, below)))
    joined = genotype.filters(STRIDES[0], genotype.head_width) * len(genotype.branches)
    found.append(Timed("conv1x1", joined, joined, scaled(size, STRIDES[0])))
    found.append(Timed("classify", joined, num_classes, scaled(size, STRIDES[0])))
    return found


def network_latency(genotype: Genotype, table: LatencyTable, size: tuple[int, int], num_classes: int) -> float:
    """Returns the milliseconds of a derived network: the sum of its operations.

    Args:
        genotype: of the network.
        table: of the machine.
        size: (H, W) of the image.
        num_classes: K.

    Raises:
        ConfigError: the table lacks an operation.
    """
    return sum(table[timed.name] for timed in network_operations(genotype, size, num_classes))

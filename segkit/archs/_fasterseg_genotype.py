"""Genotypes of FasterSeg: the operations, strides and widths of each branch, and what they make of a network."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from segkit.files import brief
from segkit.readers.genotype import read_genotype
from segkit.registry import ConfigError

NETWORK = "FasterSeg"
"""Entry "network" of a genotype, which tells it from those of other searched networks."""

OPERATIONS = ("skip", "conv", "conv_downup", "conv_2x", "conv_2x_downup")
"""In the order of the search's weights."""

STRIDES = (8, 16, 32)

UNIT = 12
"""Widths are given in twelfths of the full number of channels."""


def num_filters(stride: int, base: int, width: int = UNIT) -> int:
    """Returns the channels of maps of a stride: stride x base x width / 12, rounded, halves to the even number."""
    return round(stride * base * width / UNIT)


@dataclass(frozen=True)
class Branch:
    """A path from the stem to a last map.

    Attributes:
        operations: of each cell, names of OPERATIONS.
        strides: of the map that each cell reads; where the next cell's is twice as large, the cell halves its map.
        widths: of each cell's output but the last one's, in twelfths; the last cell has the head's width.
    """

    operations: tuple[str, ...]
    strides: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def last(self) -> int:
        """Stride of the branch's last map."""
        return self.strides[-1]

    def halves(self, layer: int) -> bool:
        """Returns whether a cell halves its map."""
        return layer + 1 < len(self.strides) and self.strides[layer + 1] > self.strides[layer]


@dataclass(frozen=True)
class Genotype:
    """A derived network of FasterSeg.

    Attributes:
        base: channels of a map of stride s are s x base at full width.
        stem_width, head_width: of stem and decoder, in twelfths.
        branches: one or several, of different last strides.
    """

    base: int
    stem_width: int
    head_width: int
    branches: tuple[Branch, ...]

    def filters(self, stride: int, width: int) -> int:
        """Returns the channels of a map of a stride and a width in twelfths."""
        return num_filters(stride, self.base, width)

    def groups(self) -> list[list[list[int]]]:
        """Returns, for each layer, the branches that share a cell.

        Branches share their cells from the stem on while operation, width and next stride are equal; the last cell of a
        branch is its own.
        """
        count = len(self.branches)
        together = [[True] * count for _ in range(count)]
        layers: list[list[list[int]]] = []
        for layer in range(max(len(branch.strides) for branch in self.branches)):
            groups: list[list[int]] = []
            for j, branch in enumerate(self.branches):
                for i in range(j):
                    together[i][j] = together[i][j] and _alike(self.branches[i], branch, layer)
                if layer >= len(branch.strides):
                    continue
                shared = next((group for group in groups if together[group[0]][j]), None)
                if shared is None:
                    groups.append([j])
                else:
                    shared.append(j)
            layers.append(groups)
        return layers

    def cell_channels(self, branch: int, layer: int) -> tuple[int, int]:
        """Returns the channels that a cell reads and gives."""
        strides, widths = self.branches[branch].strides, self.branches[branch].widths
        before = self.stem_width if layer == 0 else widths[layer - 1]
        is_last = layer == len(strides) - 1
        after = self.head_width if is_last else widths[layer]
        return self.filters(strides[layer], before), self.filters(strides[layer + (not is_last)], after)

    def map_channels(self, branch: int) -> dict[int, int]:
        """Returns the channels of a branch's last map of each stride, by the stride."""
        found = {STRIDES[0]: self.filters(STRIDES[0], self.stem_width)}
        for layer, stride in enumerate(self.branches[branch].strides):
            is_last = layer == len(self.branches[branch].strides) - 1
            out_stride = stride if is_last else self.branches[branch].strides[layer + 1]
            found[out_stride] = self.cell_channels(branch, layer)[1]
        return found

    def content(self, about: str) -> dict[str, Any]:
        """Returns the genotype as the content of a JSON file; about: where it comes from."""
        branches = [
            {"operations": list(b.operations), "strides": list(b.strides), "widths": list(b.widths)}
            for b in self.branches
        ]
        return {
            "network": NETWORK,
            "about": about,
            "base": self.base,
            "stem_width": self.stem_width,
            "head_width": self.head_width,
            "branches": branches,
        }


def _alike(a: Branch, b: Branch, layer: int) -> bool:
    """Whether two branches may share the cell of a layer: both go on, and to equal maps by the same operation."""
    if layer + 1 >= min(len(a.strides), len(b.strides)):
        return False
    return (a.strides[layer + 1], a.operations[layer], a.widths[layer]) == (
        b.strides[layer + 1],
        b.operations[layer],
        b.widths[layer],
    )


def read_content(genotype: str) -> dict[str, Any]:
    """Returns the content of a checked genotype of FasterSeg.

    Args:
        genotype: name of a published one, or path of a JSON file.

    Raises:
        ConfigError: it is no genotype of FasterSeg.
    """
    load_genotype(genotype)
    return read_genotype(genotype, NETWORK)[0]


def load_genotype(genotype: str | dict) -> Genotype:
    """Reads a genotype of FasterSeg and checks that it makes a network.

    Args:
        genotype: name of a published one, path of a JSON file, or the content of such a file.

    Raises:
        ConfigError: it is no genotype of FasterSeg; the message names the key and the value.
    """
    content, source = read_genotype(genotype, NETWORK)
    base, stem_width, head_width = (
        _number(content, key, source, most)
        for key, most in (("base", 1024), ("stem_width", UNIT), ("head_width", UNIT))
    )
    rows = content.get("branches")
    if not isinstance(rows, list | tuple) or not 1 <= len(rows) <= len(STRIDES):
        raise ConfigError(f"{source}: branches = {brief(rows)}: must be a list of 1 to 3 branches")
    branches = tuple(_branch(row, f"{source}: branches.{i}") for i, row in enumerate(rows))
    lasts = [branch.last for branch in branches]
    if len({*lasts}) < len(lasts):
        raise ConfigError(f"{source}: branches end at strides {lasts}; each must end at another one")
    found = Genotype(base, stem_width, head_width, branches)
    _check_skips(found, source)
    return found


def _check_skips(genotype: Genotype, source: str) -> None:
    """Raises a ConfigError for a skip that keeps its map's size and would have to change its channels."""
    for i, branch in enumerate(genotype.branches):
        for layer, name in enumerate(branch.operations):
            before, after = genotype.cell_channels(i, layer)
            if name == "skip" and not branch.halves(layer) and before != after:
                raise ConfigError(
                    f"{source}: branches.{i}.operations.{layer} = 'skip': leaves its map as it is and cannot change "
                    f"{before} channels to {after}; take another operation, or the same width before and after"
                )


def _number(content: dict, key: str, source: str, most: int) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigError(f"{source}: {key} = {brief(value)}: must be a whole number from 1 to {most}")
    return value


def _branch(row: Any, at: str) -> Branch:
    if not isinstance(row, dict):
        raise ConfigError(f"{at} = {brief(row)}: must be an object with operations, strides and widths")
    operations = _values(row, "operations", at, OPERATIONS)
    strides = _values(row, "strides", at, STRIDES)
    widths = _values(row, "widths", at, tuple(range(1, UNIT + 1)))
    if not strides or len(operations) != len(strides) or len(widths) != len(strides) - 1:
        raise ConfigError(
            f"{at}: {len(operations)} operations, {len(strides)} strides and {len(widths)} widths; a branch of n cells "
            "has n operations, n strides and n - 1 widths"
        )
    if strides[0] != STRIDES[0] or any(b not in (a, 2 * a) for a, b in pairwise(strides)):
        raise ConfigError(f"{at}.strides = {list(strides)}: must begin at 8, and each be that before it or twice that")
    return Branch(operations, strides, widths)


def _values(row: dict, key: str, at: str, known: tuple) -> tuple:
    values = row.get(key)
    if not isinstance(values, list | tuple) or len(values) > 1000:
        raise ConfigError(f"{at}.{key} = {brief(values)}: must be a list")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in known:
            raise ConfigError(f"{at}.{key}.{i} = {brief(value)}: must be one of {', '.join(map(str, known))}")
    return tuple(values)

"""Genotypes of Auto-DeepLab: which level each cell has, and which operations its blocks apply to which inputs.

As data a genotype is dict(network="Auto-DeepLab", path=[...], cell=[...]), in a file the same as JSON.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.files import brief
from segkit.readers.genotype import of_network
from segkit.readers.genotype import read_genotype as read_file
from segkit.registry import ConfigError, did_you_mean

NETWORK = "Auto-DeepLab"
"""Entry "network" of a genotype, which tells it from those of other searched networks."""

OPERATIONS = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
"""Operations that the search chooses from, in the order of the weights alpha."""

LEVELS = 4
"""Resolutions: level l is at stride 4 * 2^l."""

BLOCKS = 5
"""Blocks of a cell: each adds two operations, and the cell's output is the concatenation of all blocks."""

ENTRIES = ("network", "path", "cell")
MOST_LAYERS = 1000

Edge = tuple[int, str]
"""An input and the operation on it. Input 0 is the output of the cell before the last one, 1 that of the last cell,
2 + i block i of the same cell."""


class Genotype(NamedTuple):
    """A decoded architecture.

    Attributes:
        path: level 0..3 of each cell.
        cell: of each block its edges, two unless somebody wrote others.
    """

    path: tuple[int, ...]
    cell: tuple[tuple[Edge, ...], ...]

    def plain(self) -> dict[str, Any]:
        """Returns the genotype as data."""
        cell = [[[state, operation] for state, operation in block] for block in self.cell]
        return {"network": NETWORK, "path": list(self.path), "cell": cell}


def read_genotype(source: str | Path) -> dict[str, Any]:
    """Reads a genotype from a JSON file and checks it.

    Args:
        source: the file.

    Returns:
        The genotype as data.

    Raises:
        ConfigError: the file is missing or holds no genotype.
    """
    content, name = read_file(str(source), NETWORK)
    return parse_genotype(content, name).plain()


def parse_genotype(content: object, source: str) -> Genotype:
    """Checks a genotype.

    Args:
        content: the genotype as data.
        source: where it comes from, for errors.

    Raises:
        ConfigError: it is none; the message names the entry, its value and what is possible.
    """
    content = of_network(content, NETWORK, source)
    for name in content:
        if name not in ENTRIES:
            raise ConfigError(f"{source}: has an entry {brief(name)} that no genotype has{did_you_mean(name, ENTRIES)}")
    for name in ENTRIES:
        if not isinstance(content.get(name), str if name == "network" else list | tuple):
            raise ConfigError(f"{source}: {name} = {brief(content.get(name))}: must be a list")
    return Genotype(_checked_path(content["path"], source), _checked_cell(content["cell"], source))


def _checked_path(path: Sequence[object], source: str) -> tuple[int, ...]:
    if not 1 <= len(path) <= MOST_LAYERS:
        raise ConfigError(f"{source}: path has {len(path)} levels; it needs one for each cell, 1 to {MOST_LAYERS}")
    before, levels = 0, []
    for i, level in enumerate(path):
        if not isinstance(level, int) or isinstance(level, bool) or not 0 <= level < LEVELS:
            raise ConfigError(f"{source}: path.{i} = {brief(level)}: a level must be a whole number from 0 to 3")
        if abs(level - before) > 1:
            start = "the stem's level 0" if i == 0 else f"level {before}"
            raise ConfigError(f"{source}: path.{i} = {level}: follows {start}, and a cell moves by one level at most")
        before = level
        levels.append(level)
    return tuple(levels)


def _checked_cell(cell: Sequence[object], source: str) -> tuple[tuple[Edge, ...], ...]:
    if len(cell) != BLOCKS:
        raise ConfigError(f"{source}: cell has {len(cell)} blocks; must have {BLOCKS}")
    blocks = []
    for i, block in enumerate(cell):
        at = f"{source}: cell.{i}"
        if not isinstance(block, list | tuple) or len(block) != 2:
            raise ConfigError(f"{at} = {brief(block)}: a block must be a list of two edges [input, operation]")
        blocks.append(tuple(_checked_edge(edge, i + 2, f"{at}.{j}") for j, edge in enumerate(block)))
    return tuple(blocks)


def _checked_edge(edge: object, states: int, at: str) -> Edge:
    """states: inputs that the block can read."""
    if not isinstance(edge, list | tuple) or len(edge) != 2:
        raise ConfigError(f"{at} = {brief(edge)}: an edge must be [input, operation]")
    state, operation = edge
    if not isinstance(state, int) or isinstance(state, bool) or not 0 <= state < states:
        raise ConfigError(
            f"{at} = {brief(edge)}: the input of this block must be a whole number from 0 to {states - 1}"
        )
    if operation not in OPERATIONS:
        hint = did_you_mean(operation, OPERATIONS) if isinstance(operation, str) else ""
        raise ConfigError(f"{at} = {brief(edge)}: no such operation; available: {', '.join(OPERATIONS)}{hint}")
    return state, operation


def first_edge(block: int) -> int:
    """Returns the number of a block's first edge: blocks before it have 2, 3, ... inputs."""
    return block * (block + 3) // 2


EDGES = first_edge(BLOCKS)
"""Rows of alpha: 2 + 3 + 4 + 5 + 6."""


def normalized_betas(betas: Tensor) -> Tensor:
    """Turns betas into weights of the paths between levels.

    A softmax over the directions that a level allows; where it allows two, times 2/3 as in the published code.

    Args:
        betas: float [layers,4,3]; the directions are 0 to the finer level, 1 the same level, 2 the coarser level.

    Returns:
        float [layers,4,3], 0 where a direction leads nowhere.
    """
    is_closed = torch.zeros(LEVELS, 3, dtype=torch.bool, device=betas.device)
    is_closed[0, 0] = is_closed[-1, 2] = True
    scale = 1 - is_closed.any(1, keepdim=True).to(betas.dtype) / 3
    return betas.masked_fill(is_closed, -torch.inf).softmax(-1) * scale


def decode_path(betas: Tensor) -> tuple[int, ...]:
    """Finds the path of levels whose product of weights is largest (Viterbi's algorithm; section 3.3 of the paper).

    Args:
        betas: float [layers,4,3], see normalized_betas.

    Returns:
        The level of each layer.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(normalized_betas(betas.detach()).double().cpu().numpy())
    best = np.full(LEVELS, -np.inf)
    best[0] = 0.0  # the stem
    origins = []
    for weights in logs:
        # candidates[d, l]: comes to level l by direction d, from level l + 1 - d
        candidates = np.full((3, LEVELS), -np.inf)
        for direction in range(3):
            for level in range(LEVELS):
                origin = level + 1 - direction
                if 0 <= origin < LEVELS:
                    candidates[direction, level] = best[origin] + weights[origin, direction]
        origins.append(np.arange(LEVELS) + 1 - candidates.argmax(0))
        best = candidates.max(0)
    path = [int(best.argmax())]
    for origin in reversed(origins[1:]):
        path.append(int(origin[path[-1]]))
    return tuple(reversed(path))


def decode_cell(alphas: Tensor) -> tuple[tuple[Edge, ...], ...]:
    """Chooses the two strongest inputs of each block and their strongest operations (section 3.3 of the paper).

    An input is as strong as its largest weight beside that of "none"; its operation may be "none" all the same, as in
    the published code.

    Args:
        alphas: float [20,8], a row for each edge and a column for each of OPERATIONS.

    Returns:
        Of each block two edges, the stronger one first.
    """
    weights = alphas.detach().float().softmax(-1).cpu().numpy()
    cell = []
    for block in range(BLOCKS):
        rows = weights[first_edge(block) : first_edge(block + 1)]
        strongest = np.argsort(-rows[:, 1:].max(1), kind="stable")[:2]
        cell.append(tuple((int(state), OPERATIONS[int(rows[state].argmax())]) for state in strongest))
    return tuple(cell)


PAPER = Genotype(
    path=(0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1),
    cell=(
        ((0, "dil_conv_5x5"), (1, "sep_conv_3x3")),
        ((0, "sep_conv_3x3"), (1, "dil_conv_3x3")),
        ((3, "sep_conv_3x3"), (0, "sep_conv_3x3")),
        ((4, "sep_conv_5x5"), (2, "sep_conv_5x5")),
        ((3, "sep_conv_5x5"), (5, "dil_conv_5x5")),
    ),
)
"""The network of the paper (figure 3; TensorFlow's "hnasnet")."""

SEARCHED_AGAIN = Genotype(
    path=(1, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1),
    cell=(
        ((0, "dil_conv_5x5"), (1, "sep_conv_3x3")),
        ((0, "sep_conv_3x3"), (1, "dil_conv_3x3")),
        ((0, "sep_conv_3x3"), (3, "sep_conv_3x3")),
        ((2, "sep_conv_5x5"), (4, "sep_conv_5x5")),
        ((4, "dil_conv_5x5"), (5, "sep_conv_5x5")),
    ),
)
"""The network that https://github.com/NoamRosenberg/autodeeplab searched and trained, as it runs: of its last block the
list names input 5 first, and its code hands the listed operations to inputs in rising order."""

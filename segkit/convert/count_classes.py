"""How many classes the weights of a file tell apart, for a config that leaves the number open."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segkit.convert.find_map import OWN_NAMES
from segkit.convert.keymap import KeyMap, all_maps
from segkit.readers.state_dict import spellings

Shape = tuple[int, ...]

PROBES = (2, 3)
"""Numbers of classes of two networks, which differ in what depends on the number."""


def count_classes(weights: dict[str, Tensor], build: Callable[[int], nn.Module]) -> int | None:
    """Finds the number of classes for which a network has the shapes of a file.

    Args:
        weights: tensors by the file's names, of segkit or of a project with a key map.
        build: makes the network of a number of classes; it is called on the meta device.

    Returns:
        The number; None where the file does not fit the network with any.
    """
    with torch.device("meta"):
        low, high = (
            {name: tuple(value.shape) for name, value in build(classes).state_dict().items()} for classes in PROBES
        )
    if low.keys() != high.keys():
        return None
    varying = {name: (low[name], high[name]) for name in low if low[name] != high[name]}
    for spelled in spellings(weights):
        for keymap in (OWN_NAMES, *(keymap for keymap in all_maps().values() if not keymap.by_name)):
            if (classes := _solved(_renamed(spelled, keymap), varying, low)) is not None:
                return classes
    return None


def _renamed(weights: dict[str, Tensor], keymap: KeyMap) -> dict[str, Shape]:
    """Shapes by segkit's names; edits of a map do not change how a shape depends on the classes."""
    targets = ((keymap.rename(name)[0], value) for name, value in weights.items())
    return {name: tuple(value.shape) for name, value in targets if name is not None}


def _solved(found: dict[str, Shape], varying: dict[str, tuple[Shape, Shape]], fixed: dict[str, Shape]) -> int | None:
    """The one number of classes that gives the shapes of all names that depend on it.

    varying: shapes with both PROBES by name; fixed: names and shapes of the whole network, of which at least half of
    the file's must be known, so that a map for another network says nothing.
    """
    if not varying or not varying.keys() <= found.keys() or 2 * len(found.keys() & fixed.keys()) < len(found):
        return None
    answers: set[int | None] = set()
    for name, (low, high) in varying.items():
        if len(found[name]) != len(low):
            return None
        for own, a, b in zip(found[name], low, high):
            if a != b:
                classes, rest = divmod(own - a, b - a)
                answers.add(None if rest else PROBES[0] + classes)
    return answers.pop() if len(answers) == 1 else None

"""Finds the key map of a published file: the one whose names and shapes match the model one to one."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from segkit.convert.keymap import KeyMap, Misfit, all_maps, load_map
from segkit.registry import ConfigError

COMMAND = "segkit convert FILE OUT --from MAP --config CONFIG"


class NoFit(ConfigError):
    """No key map matches a file, or several match and give different results.

    Args:
        message: for the user.
        differences: number of names that the nearest map leaves unmatched, inf where no map could be tried; 0 where
            several match.
    """

    def __init__(self, message: str, differences: float):
        super().__init__(message)
        self.differences = differences


@dataclass(frozen=True)
class Trial:
    """A key map compared with a file and a model.

    Args:
        name: of the key map.
        keymap: the key map.
        misfit: what does not match; None where the map does not apply to the file at all (it turns two names into one,
            or an edit fails).
    """

    name: str
    keymap: KeyMap
    misfit: Misfit | None

    @property
    def differences(self) -> float:
        """Number of names that do not match; inf where the map does not apply."""
        return float("inf") if self.misfit is None else self.misfit.count


def family(name: str) -> dict[str, KeyMap]:
    """Finds the key maps of a project.

    Args:
        name: of a key map, or of a project that has several ("smp": smp_unet, smp_fpn, ...).

    Returns:
        Key maps by name, without the `by_name` ones of a project.

    Raises:
        ConfigError: there is none of this name.
    """
    found = {
        key: keymap
        for key, keymap in all_maps().items()
        if key == name or (key.startswith(f"{name}_") and not keymap.by_name)
    }
    return found or {name: load_map(name)}


def try_maps(
    source: dict[str, tuple[int, ...]], model: nn.Module, maps: Mapping[str, KeyMap], drop: tuple[str, ...] = ()
) -> list[Trial]:
    """Compares key maps with a file and a model.

    Args:
        source: shapes of the file's tensors by name.
        model: the model.
        maps: key maps by name; those whose `needs` the model does not fulfil are skipped.
        drop: prefixes of the model's names that need no match.

    Returns:
        A trial of each map, fewest differences first.
    """
    state = model.state_dict()
    trials = [
        Trial(name, keymap, _compare(keymap, source, state, drop))
        for name, keymap in maps.items()
        if all(_attribute(model, path) == value for path, value in keymap.needs.items())
    ]
    return sorted(trials, key=lambda trial: trial.differences)


def choose(
    source: dict[str, tuple[int, ...]],
    model: nn.Module,
    maps: Mapping[str, KeyMap] | None = None,
    drop: tuple[str, ...] = (),
) -> tuple[str, KeyMap]:
    """Chooses the key map that matches a file and a model one to one.

    Args:
        source: shapes of the file's tensors by name.
        model: the model.
        maps: key maps to choose from, by name; None for all but the `by_name` ones.
        drop: prefixes of the model's names that need no match.

    Returns:
        Name and key map; of several that give the same result, the first by name.

    Raises:
        NoFit: none matches (the message lists what the nearest leaves unmatched), or several match and give different
            results.
    """
    maps = {name: keymap for name, keymap in all_maps().items() if not keymap.by_name} if maps is None else maps
    trials = try_maps(source, model, maps, drop)
    fits = [trial for trial in trials if trial.differences == 0]
    different = {_outcome(trial.keymap, source): trial for trial in reversed(fits)}
    if len(different) == 1:
        return fits[0].name, fits[0].keymap
    if fits:
        names = sorted(trial.name for trial in different.values())
        raise NoFit(f"the key maps {', '.join(names)} all fit, and differ; name one: {COMMAND}", 0)
    lines = ["no key map matches the names of this file with this model one to one"]
    if trials and trials[0].misfit is not None:
        lines[0] += f"; the nearest is '{trials[0].name}' ({trials[0].keymap.source}), which leaves"
        lines += trials[0].misfit.lines()
    lines.append(f"change the config to the network of the file, or name a key map: {COMMAND}")
    raise NoFit("\n".join(lines), trials[0].differences if trials else float("inf"))


def _compare(
    keymap: KeyMap, source: dict[str, tuple[int, ...]], state: dict[str, Tensor], drop: tuple[str, ...]
) -> Misfit | None:
    try:
        return keymap.compare(source, state, drop)
    except (ConfigError, RuntimeError, IndexError):
        # An edit of tensors with other shapes, or rules for other names: the map is for another network.
        return None


def _attribute(model: nn.Module, path: str) -> object:
    """The attribute of a model at a dotted path; None where there is none."""
    value: object = model
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _outcome(keymap: KeyMap, source: dict[str, tuple[int, ...]]) -> tuple[type[KeyMap], tuple]:
    """The result of a map for each name of a file; equal for maps that do the same with it."""
    renamed = (keymap.rename(name) for name in source)
    return type(keymap), tuple((target, tuple(edits)) for target, edits in renamed)

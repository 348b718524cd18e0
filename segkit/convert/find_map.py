"""Finds the key map of a published file: the one whose names and shapes match the model one to one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from segkit.convert.keymap import KeyMap, Misfit, all_maps, load_map
from segkit.registry import ConfigError

COMMAND = "tools/convert.py FILE OUT --from MAP --config CONFIG"


class NoFit(ConfigError):
    """No key map matches, or several that differ do. differences: what the nearest leaves, 0 for several."""

    def __init__(self, message: str, differences: float):
        super().__init__(message)
        self.differences = differences


@dataclass(frozen=True)
class Trial:
    """One map held against a file and a model. misfit: None where the map turns two names into one."""

    name: str
    keymap: KeyMap
    misfit: Misfit | None

    @property
    def differences(self) -> float:
        return float("inf") if self.misfit is None else self.misfit.count


def family(name: str) -> dict[str, KeyMap]:
    """name: of a map, or of a project that has several ("smp": smp_unet, smp_fpn, ...) -> those maps by name, without
    the `by_name` ones that it does not name. Raises ConfigError where there is none."""
    maps = all_maps().items()
    found = {key: one for key, one in maps if key == name or (key.startswith(f"{name}_") and not one.by_name)}
    return found or {name: load_map(name)}


def try_maps(
    source: dict[str, tuple[int, ...]], model: nn.Module, maps: Mapping[str, KeyMap], drop: tuple[str, ...] = ()
) -> list[Trial]:
    """source: name -> shape of the file; drop: prefixes of the model's names that need no partner -> each map that
    declares to be for such a model (`needs`), in order of the differences that it leaves, fewest first."""
    own = model.state_dict()
    trials = [
        Trial(name, keymap, _compare(keymap, source, own, drop))
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
    """-> the map that fits and its name; of several that do the same, the first by name. maps: those to choose from,
    all but the `by_name` ones where it is None; the rest as try_maps.

    Raises NoFit where none fits, with the nearest and what it leaves, and where several fit and differ.
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
    lines.append(f"change the config to what the file holds, or name a map: {COMMAND}")
    raise NoFit("\n".join(lines), trials[0].differences if trials else float("inf"))


def _compare(keymap: KeyMap, source: dict, own: dict[str, Tensor], drop: tuple[str, ...]) -> Misfit | None:
    try:
        return keymap.compare(source, own, drop)
    except (ConfigError, RuntimeError, IndexError):
        # An edit for tensors of another shape, or rules for other names: this map is for something else.
        return None


def _attribute(model: nn.Module, path: str) -> Any:
    value: Any = model
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _outcome(keymap: KeyMap, source: dict[str, Any]) -> tuple:
    """What a map makes of each name, and which edits: equal for maps that do the same with this file."""
    renamed = (keymap.rename(name) for name in source)
    return (type(keymap), *((target, tuple(edits)) for target, edits in renamed))

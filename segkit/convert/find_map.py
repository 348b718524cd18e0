"""Finds the key map of a published file: the one whose names and shapes match the model one to one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from segkit.convert.keymap import KeyMap, Misfit, all_maps, load_map
from segkit.readers.state_dict import spellings
from segkit.registry import ConfigError, did_you_mean

COMMAND = "segkit convert FILE OUT --from MAP --config CONFIG"


OWN_NAMES = KeyMap("segkit", ())
"""The map of files that have segkit's names."""


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
        Name and key map. Of several that give the same result all names, and the first map with the name of their
        project alone as its source.

    Raises:
        NoFit: none matches (the message lists what the nearest leaves unmatched), or several match and give different
            results.
    """
    maps = {name: keymap for name, keymap in all_maps().items() if not keymap.by_name} if maps is None else maps
    trials = try_maps(source, model, maps, drop)
    fits = [trial for trial in trials if trial.differences == 0]
    different = {_outcome(trial.keymap, source): trial for trial in reversed(fits)}
    if len(different) == 1:
        return _joined(fits)
    if fits:
        names = sorted(trial.name for trial in different.values())
        raise NoFit(f"the key maps {', '.join(names)} all fit, and differ; name one: {COMMAND}", 0)
    lines = ["no key map matches the names of this file with this model one to one"]
    if trials and trials[0].misfit is not None:
        lines[0] += f"; the nearest is '{trials[0].name}' ({trials[0].keymap.source}), which leaves"
        lines += trials[0].misfit.lines()
    lines.append(f"change the config to the network of the file, or name a key map: {COMMAND}")
    raise NoFit("\n".join(lines), trials[0].differences if trials else float("inf"))


def _joined(fits: list[Trial]) -> tuple[str, KeyMap]:
    """Trials with the same result, none of which says more of the file than the others."""
    first = fits[0].keymap
    if len(fits) == 1:
        return fits[0].name, first
    sources = {trial.keymap.source.partition(",")[0] for trial in fits}
    return ", ".join(sorted(trial.name for trial in fits)), replace(first, source=" or ".join(sorted(sources)))


class Fit(NamedTuple):
    """How the weights of a file come into a model.

    Attributes:
        name: of the key map, "" for segkit's own names.
        keymap: the key map.
        weights: of the file, by the names that the map is for.
    """

    name: str
    keymap: KeyMap
    weights: dict[str, Tensor]

    def apply(self, base: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns the weights by segkit's names.

        Args:
            base: by segkit's names, what the file's tensors are differences to (KeyMap.adds_to); None for none.

        Raises:
            NoFit: the file holds differences and there is no base, or the other way round.
        """
        renamed, prefix = self.keymap.apply(self.weights), self.keymap.adds_to
        if bool(prefix) != (base is not None):
            whole = f"the weights of {self.keymap.source}"
            if not prefix:
                raise NoFit(f"--base: {whole} are whole and are added to nothing; leave it out", 0)
            raise NoFit(
                f"{whole} hold what was added to those of {self.keymap.base}; give the file of these, too: segkit "
                f"convert FILE OUT --from {self.name} --base {self.keymap.base.upper()}_FILE --config CONFIG",
                0,
            )
        return {
            name: value + base[name] if base is not None and name.startswith(prefix) else value
            for name, value in renamed.items()
        }


def fit(
    weights: dict[str, Tensor],
    model: nn.Module,
    maps: Mapping[str, KeyMap] | None = None,
    drop: tuple[str, ...] = (),
) -> Fit:
    """Finds how the weights of a file match a model one to one.

    Args:
        weights: tensors by the file's names, which may begin with the names of wrappers.
        model: the model.
        maps: key maps to choose from, by name; None for segkit's own names and all but the `by_name` maps.
        drop: prefixes of the model's names that need no match.

    Raises:
        NoFit: nothing matches, or several maps match and give different results.
    """
    state = model.state_dict()
    nearest: NoFit | None = None
    for spelled in spellings(weights):
        shapes = {name: tuple(value.shape) for name, value in spelled.items()}
        misfit = OWN_NAMES.compare(shapes, state, drop)
        if maps is None and misfit.count == 0:
            return Fit("", OWN_NAMES, spelled)
        try:
            return Fit(*choose(shapes, model, maps, drop), spelled)
        except NoFit as error:
            if error.differences == 0:
                raise
            if maps is None and misfit.count <= error.differences:
                error = NoFit(misfit_message(OWN_NAMES.apply(spelled), state, drop), misfit.count)
            if nearest is None or error.differences < nearest.differences:
                nearest = error
    assert nearest is not None  # the first spelling is always tried
    raise nearest


def misfit_message(weights: dict[str, Tensor], state: dict[str, Tensor], drop: tuple[str, ...] = ()) -> str:
    """Says what keeps weights from being loaded strictly.

    Args:
        weights: of a file, by segkit's names.
        state: the model's state dict.
        drop: prefixes of names that need no match.

    Returns:
        Counts and first names of what differs; "" where names and shapes match one to one.
    """
    kept = {key: value for key, value in weights.items() if not key.startswith(drop)}
    missing = [key for key in state if key not in weights and not key.startswith(drop)]
    extra = [key for key in kept if key not in state]
    wrong = [key for key in kept if key in state and kept[key].shape != state[key].shape]
    if not (missing or extra or wrong):
        return ""
    sentences = [f"does not fit this model ({len(state)} tensors in the model, {len(kept)} in the file)"]
    if wrong:
        shapes = f"{tuple(kept[wrong[0]].shape)} in the file, {tuple(state[wrong[0]].shape)} in the model"
        sentences.append(f"{len(wrong)} have another shape, first {wrong[0]}: {shapes}")
    if missing:
        sentences.append(f"{len(missing)} are missing, first {missing[0]}{did_you_mean(missing[0], extra)}")
    if extra:
        sentences.append(f"{len(extra)} are unknown, first {extra[0]}")
    sentences.append("use the config that it was trained with, or name what to leave out in init.drop")
    return "; ".join(sentences)


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


def _outcome(keymap: KeyMap, source: dict[str, tuple[int, ...]]) -> tuple:
    """The result of a map for each name of a file; equal for maps that do the same with it."""
    renamed = (keymap.rename(name) for name in source)
    names = tuple((target, tuple(edits)) for target, edits in renamed)
    return type(keymap), names, tuple(keymap.splits.items()), tuple(keymap.joins.items())

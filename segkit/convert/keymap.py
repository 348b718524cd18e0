"""Key maps: ordered rules that rename the tensors of published checkpoints, checked to match a model one to one."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segkit.readers.state_dict import COUNTER, VARIANCE
from segkit.registry import ConfigError, did_you_mean

Edit = Callable[[Tensor], Tensor]
Rule = tuple[str, str | None] | tuple[str, str | None, Edit]
"""(pattern, replacement[, edit]).

pattern: a regular expression, searched in the name as the rules before left it; replacement: None drops the tensor;
edit: a named function of the tensor, for other channel orders and layouts.
"""


class Writes(NamedTuple):
    """Networks whose names in a project a key map knows both ways.

    Attributes:
        heads: types of model.head, separated by "|".
        encoders: pattern of the whole model.backbone.name.
    """

    heads: str
    encoders: str


@dataclass(frozen=True)
class KeyMap:
    """The rules from the tensor names of one source to segkit's.

    Args:
        source: name of the project or file, for messages.
        rules: applied in order, each to the result of the one before.
        url: of the published file, or of the project.
        sha256: of the file.
        score: what the file is published to reach, in percent, by name.
        needs: required values of the model's attributes, by their path in the model; for maps that differ in an edit
            alone, which no name or shape shows.
        by_name: taken only where a user names it, because its files look like those of another map.
        unsaid: what files of this source do not say and the config must, as a sentence with {mean} and {std} for the
            model's own; "" for nothing.
        zeros: biases that the source does not have, filled with zeros, by segkit's name; the value is the name of the
            weight whose output channels they belong to.
        splits: tensors that become several, after the rules: the end of a name -> the ends of the new names, each with
            its share of the first dimension.
        joins: tensors that become one, after the rules and splits: the end of the new name -> the ends of the names
            that are concatenated along the first dimension, in this order.
        adds_to: beginning of segkit's names whose tensors are differences, to be added to the weights of another file;
            "" for none.
        base: name of what they are differences to.
        undo: of each edit in the rules the function that takes it back, for `export`.
        back: renamings of segkit's names that `export` tries before it undoes the rules, where these make one name of
            several of the source.
        writes: networks that `export` writes by the names of this source, see Writes; () for none.
    """

    source: str
    rules: tuple[Rule, ...]
    url: str = ""
    sha256: str = ""
    score: dict[str, float] = field(default_factory=dict)
    needs: dict[str, object] = field(default_factory=dict)
    by_name: bool = False
    unsaid: str = ""
    zeros: dict[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    joins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adds_to: str = ""
    base: str = ""
    undo: Mapping[Edit, Edit] = field(default_factory=dict)
    back: tuple[tuple[str, str], ...] = ()
    writes: "tuple[Writes, ...]" = ()

    def rename(self, name: str) -> tuple[str | None, list[Edit]]:
        """Applies the rules to a name.

        Args:
            name: of a tensor in the source.

        Returns:
            segkit's name, None where the tensor is dropped; and the edits of the tensor, in order.
        """
        edits: list[Edit] = []
        for pattern, replacement, *edit in self.rules:
            expression = _compiled(pattern)
            if expression.search(name):
                if replacement is None:
                    return None, []
                name = expression.sub(replacement, name)
                edits += edit
        return name, edits

    def caution(self, model: nn.Module) -> str:
        """Returns what the user has to know of a file of this source in this model, "" for nothing."""
        if not self.unsaid:
            return ""
        mean, std = (
            ", ".join(f"{float(value):.4g}" for value in getattr(model, name).flatten()) for name in ("mean", "std")
        )
        return self.unsaid.format(mean=mean, std=std)

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames and edits a state dict.

        Args:
            weights: by the source's names.

        Returns:
            Weights by segkit's names. The batch counters of normalizations, which files of torch before 0.4.1 lack, are
            added as 0, and so are the biases of `zeros`.

        Raises:
            ConfigError: two names become one.
        """
        renamed: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        for name, value in weights.items():
            target, edits = self.rename(name)
            if target is None:
                continue
            if target in renamed:
                raise ConfigError(
                    f"{self.source}: {origin[target]} and {name} both become {target}; name another key map"
                )
            for edit in edits:
                value = edit(value)
            renamed[target], origin[target] = value, name
        renamed = self._joined(self._split(renamed))
        for name, weight in self.zeros.items():
            if weight in renamed:
                renamed.setdefault(name, renamed[weight].new_zeros(renamed[weight].shape[0]))
        for name in [name for name in renamed if name.endswith(VARIANCE)]:
            counter = torch.zeros((), dtype=torch.int64, device=renamed[name].device)
            renamed.setdefault(name.removesuffix(VARIANCE) + COUNTER, counter)
        return renamed

    def _split(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights with the tensors of `splits` in their parts."""
        done: dict[str, Tensor] = {}
        for name, value in weights.items():
            end = next((end for end in self.splits if name.endswith(end)), None)
            if end is None:
                done[name] = value
                continue
            parts = self.splits[end]
            unit = value.shape[0] // sum(share for _, share in parts)
            values = value.split([share * unit for _, share in parts])
            done |= {name.removesuffix(end) + part: values[i] for i, (part, _) in enumerate(parts)}
        return done

    def _joined(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights with the tensors of `joins` in one; parts whose others are missing keep their names."""
        done = dict(weights)
        for end, parts in self.joins.items():
            for name in [name for name in done if name.endswith(parts[0])]:
                root = name.removesuffix(parts[0])
                names = [root + part for part in parts]
                if all(part in done for part in names):
                    done[root + end] = torch.cat([done.pop(part) for part in names])
        return done

    def check(self, source: dict[str, tuple[int, ...]], state: dict[str, Tensor]) -> str:
        """Checks that names and shapes of a published file match those of a model one to one.

        Args:
            source: shapes of the file's tensors by name.
            state: the model's state dict.

        Returns:
            One line with the number of matched and dropped tensors.

        Raises:
            ConfigError: they do not match; the message lists the differences.
        """
        misfit = self.compare(source, state)
        if misfit.count:
            lines = [f"{self.source}: the names do not match this model one to one", *misfit.lines()]
            raise ConfigError("\n".join(lines))
        dropped = sum(self.rename(name)[0] is None for name in source)
        return f"{self.source}: {misfit.matched} tensors matched, {dropped} dropped"

    def compare(
        self, source: dict[str, tuple[int, ...]], state: dict[str, Tensor], drop: tuple[str, ...] = ()
    ) -> "Misfit":
        """Compares names and shapes of a published file with those of a model.

        Args:
            source: shapes of the file's tensors by name.
            state: the model's state dict.
            drop: prefixes of the model's names that are left out on both sides.

        Returns:
            What does not match.

        Raises:
            ConfigError: two names become one.
        """
        renamed = self.apply({name: torch.empty(tuple(shape), device="meta") for name, shape in source.items()})
        kept = {name: value for name, value in renamed.items() if not name.startswith(drop)}
        wanted = {name: value for name, value in state.items() if not name.startswith(drop)}
        return Misfit(
            missing=[name for name in wanted if name not in kept],
            extra=[name for name in kept if name not in wanted],
            wrong=[
                f"{name} {tuple(value.shape)} for {tuple(wanted[name].shape)}"
                for name, value in kept.items()
                if name in wanted and value.shape != wanted[name].shape
            ],
            matched=len(kept),
        )


@dataclass(frozen=True)
class Misfit:
    """The differences between a published file and a model.

    Args:
        missing: names of the model that the file lacks.
        extra: names of the file, as segkit's, that the model lacks.
        wrong: names with another shape, and both shapes.
        matched: number of the file's tensors that were compared.
    """

    missing: list[str]
    extra: list[str]
    wrong: list[str]
    matched: int

    @property
    def count(self) -> int:
        """Number of differences; 0 where all names and shapes match one to one."""
        return len(self.missing) + len(self.extra) + len(self.wrong)

    def lines(self) -> list[str]:
        """Returns one line for each kind of difference, with the first five names of each."""
        labelled = (("missing", self.missing), ("left over", self.extra), ("of another shape", self.wrong))
        return [
            f"  {len(names)} {label}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for label, names in labelled
            if names
        ]


@cache
def _compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern)


def all_maps() -> dict[str, KeyMap]:
    """Returns all key maps by name: MAPS of every module of segkit.convert.maps."""
    package = importlib.import_module("segkit.convert.maps")
    found: dict[str, KeyMap] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        maps = importlib.import_module(f"segkit.convert.maps.{info.name}").MAPS
        assert not found.keys() & maps.keys(), f"{info.name}: {sorted(found.keys() & maps.keys())} are taken"
        found |= maps
    return found


@dataclass(frozen=True)
class Form:
    """A checkpoint format of another project that can be written.

    Args:
        keymap: from segkit's names to the project's.
        key: of the file, under which the weights lie; "" where they are the file's content.
        prefix: of all names.
    """

    keymap: KeyMap
    key: str = ""
    prefix: str = ""


def export(weights: dict[str, Tensor], name: str, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Translates segkit's weights into the checkpoint format of another project.

    Args:
        weights: by segkit's names.
        name: of a format, a key of EXPORTS in a module of segkit.convert.maps, or of a key map that writes.
        model: section `model` of the weights' config, which tells whether the key map knows the network both ways.

    Returns:
        The content of a checkpoint of that project: the weights by its names, or a dict of them.

    Raises:
        ConfigError: there is no format of this name, or the key map does not write this network.
    """
    package = importlib.import_module("segkit.convert.maps")
    modules = [importlib.import_module(f"{package.__name__}.{i.name}") for i in pkgutil.iter_modules(package.__path__)]
    forms: dict[str, Form] = {key: form for module in modules for key, form in getattr(module, "EXPORTS", {}).items()}
    writing = {key: keymap for key, keymap in all_maps().items() if keymap.writes}
    if name in writing:
        from segkit.convert.invert import back

        _check_writes(name, writing[name], model or {})
        return {"state_dict": back(weights, writing[name])}
    if name not in forms:
        known = [*forms, *writing]
        hint = did_you_mean(name, known) or f"; available: {', '.join(sorted(known))}"
        raise ConfigError(f"no checkpoint format '{name}' to write{hint}")
    form = forms[name]
    renamed = {form.prefix + theirs: value for theirs, value in form.keymap.apply(weights).items()}
    return {form.key: renamed} if form.key else renamed


def _check_writes(name: str, keymap: KeyMap, model: Mapping[str, Any]) -> None:
    """Raises a ConfigError where a key map does not write the network of a section `model`."""
    backbone = model.get("backbone") or {}
    head, encoder = (model.get("head") or {}).get("type"), str(backbone.get("name", backbone.get("type")))
    for writes in keymap.writes:
        if head in writes.heads.split("|") and _compiled(writes.encoders).fullmatch(encoder):
            return
    known = "; ".join(f"{writes.heads.replace('|', ', ')} on {writes.encoders}" for writes in keymap.writes)
    raise ConfigError(f"--to {name}: writes {known}, and this is {head} on {encoder}; name another form")


def load_map(name: str) -> KeyMap:
    """Returns the key map of a name, as in all_maps; raises ConfigError where there is none."""
    maps = all_maps()
    if name not in maps:
        hint = did_you_mean(name, maps) or f"; available: {', '.join(sorted(maps))}"
        raise ConfigError(f"no key map '{name}'{hint}")
    return maps[name]

"""Names of published checkpoints -> names of segkit: ordered rules as data, checked to match one to one."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from segkit.registry import ConfigError, did_you_mean

Edit = Callable[[Tensor], Tensor]
Rule = tuple[str, str | None] | tuple[str, str | None, Edit]
"""(pattern, replacement[, edit]): a regular expression searched in the name as the rules before left it; None drops
the tensor; edit: a named function of the tensor, for other channel orders and layouts."""

COUNTER, VARIANCE = "num_batches_tracked", "running_var"


@dataclass(frozen=True)
class KeyMap:
    """How one source names its tensors. url: the published file, or the project; sha256: of the file;
    score: what the file is published to reach, in percent; needs: attributes of the model, by their path in it, and the
    value each must have: of maps that differ in an edit alone, which no name or shape shows; by_name: taken only where
    a user names it, because its files look as those of another map do. Rules apply in order, each to the result of the
    last."""

    source: str
    rules: tuple[Rule, ...]
    url: str = ""
    sha256: str = ""
    score: dict[str, float] = field(default_factory=dict)
    needs: dict[str, Any] = field(default_factory=dict)
    by_name: bool = False

    def rename(self, name: str) -> tuple[str | None, list[Edit]]:
        """A name of the source -> segkit's (None: dropped) and the edits its tensor needs, in order."""
        edits: list[Edit] = []
        for pattern, replacement, *edit in self.rules:
            expression = _compiled(pattern)
            if expression.search(name):
                if replacement is None:
                    return None, []
                name = expression.sub(replacement, name)
                edits += edit
        return name, edits

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """weights: by the source's names -> by segkit's, edited; the counters of normalizations, which files of torch
        before 0.4.1 lack, are 0. Raises ConfigError where two become one."""
        renamed: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        for name, value in weights.items():
            target, edits = self.rename(name)
            if target is None:
                continue
            if target in renamed:
                raise ConfigError(f"{self.source}: {origin[target]} and {name} both become {target}")
            for edit in edits:
                value = edit(value)
            renamed[target], origin[target] = value, name
        for name in [name for name in renamed if name.endswith(VARIANCE)]:
            counter = torch.zeros((), dtype=torch.int64, device=renamed[name].device)
            renamed.setdefault(name.removesuffix(VARIANCE) + COUNTER, counter)
        return renamed

    def check(self, source: dict[str, tuple[int, ...]], own: dict[str, Tensor]) -> str:
        """source: name -> shape of the published file; own: the model's state dict -> one line of counts.

        Raises ConfigError unless names and shapes match one to one; it lists what does not.
        """
        misfit = self.compare(source, own)
        if misfit.count:
            lines = [f"{self.source}: the names do not match this model one to one", *misfit.lines()]
            raise ConfigError("\n".join(lines))
        return f"{self.source}: {misfit.matched} tensors matched, {max(len(source) - misfit.matched, 0)} dropped"

    def compare(
        self, source: dict[str, tuple[int, ...]], own: dict[str, Tensor], drop: tuple[str, ...] = ()
    ) -> "Misfit":
        """As check, but -> what does not match; drop: prefixes of the model's names that need no partner and take
        none. Raises ConfigError where two names become one."""
        renamed = self.apply({name: torch.empty(tuple(shape), device="meta") for name, shape in source.items()})
        kept = {name: value for name, value in renamed.items() if not name.startswith(drop)}
        wanted = {name: value for name, value in own.items() if not name.startswith(drop)}
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
    """What of a published file and a model does not match: names of the model without a partner, the file's own that
    are left over, pairs of another shape; matched: tensors of the file that were looked at."""

    missing: list[str]
    extra: list[str]
    wrong: list[str]
    matched: int

    @property
    def count(self) -> int:
        """0 where all match one to one."""
        return len(self.missing) + len(self.extra) + len(self.wrong)

    def lines(self) -> list[str]:
        """One line per kind of difference, with the first five names of each."""
        kinds = (("missing", self.missing), ("left over", self.extra), ("of another shape", self.wrong))
        return [
            f"  {len(names)} {label}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for label, names in kinds
            if names
        ]


@cache
def _compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern)


def all_maps() -> dict[str, KeyMap]:
    """The key maps of segkit.convert.maps by name, as their modules list them in MAPS."""
    package = importlib.import_module("segkit.convert.maps")
    found: dict[str, KeyMap] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        maps = importlib.import_module(f"segkit.convert.maps.{info.name}").MAPS
        assert not found.keys() & maps.keys(), f"{info.name}: {sorted(found.keys() & maps.keys())} are taken"
        found |= maps
    return found


def export(weights: dict[str, Tensor], name: str) -> dict[str, dict[str, Tensor]]:
    """weights: segkit's, by name; name: in EXPORTS of a module of segkit.convert.maps -> the content of a checkpoint in
    that project's form. Raises ConfigError for an unknown name."""
    package = importlib.import_module("segkit.convert.maps")
    modules = [importlib.import_module(f"{package.__name__}.{i.name}") for i in pkgutil.iter_modules(package.__path__)]
    forms = {key: form for module in modules for key, form in getattr(module, "EXPORTS", {}).items()}
    if name not in forms:
        hint = did_you_mean(name, forms) or f"; there are: {', '.join(sorted(forms))}"
        raise ConfigError(f"no form '{name}' to write{hint}")
    keymap, key = forms[name]
    return {key: {f"module.{theirs}": value for theirs, value in keymap.apply(weights).items()}}


def load_map(name: str) -> KeyMap:
    """name: as in all_maps -> the key map. Raises ConfigError for an unknown one."""
    maps = all_maps()
    if name not in maps:
        hint = did_you_mean(name, maps) or f"; there are: {', '.join(sorted(maps))}"
        raise ConfigError(f"no key map '{name}'{hint}")
    return maps[name]

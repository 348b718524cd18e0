"""The criterion: rows of losses, each with the outputs and targets it reads and its weight."""

import fnmatch
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.losses.base import Loss
from segkit.registry import LOSSES, WEIGHTINGS, ConfigError, build, did_you_mean, each_object
from segkit.schema import CLASS_WEIGHTS
from segkit.settings import RowSettings, WeightSettings
from segkit.types import IGNORE, Batch, Outputs

ROW_KEYS = tuple(field.name for field in fields(RowSettings) if field.name != "type")
"""Keys of a row that are not arguments of its loss."""

OWN_KEYS = ("on", "target", "at")
"""Keys of a row that a loss class may state itself, in its attribute `row`."""


class Row:
    """One row of section `losses`: a loss, the outputs and targets it reads, and its weight.

    Its value is `loss(*outputs named in on, *targets named in target) * weight(step)`.

    Args:
        loss: the loss module.
        settings: the other keys of the row. `on` names outputs, or is one pattern ("aux*.logits": the loss is computed
            for each match); `at` is "image" (outputs are first resized to the target's size) or "native" (they keep
            their size).
    """

    def __init__(self, loss: nn.Module, settings: RowSettings):
        self.loss = loss
        self.on = _names(settings.on)
        self.target = _names(settings.target)
        weight = settings.weight
        self.weight = WeightSettings(**weight) if isinstance(weight, dict) else WeightSettings(value=float(weight))
        self.at_image = {"image": True, "native": False}[settings.at]
        self.name = settings.name
        self.type = settings.type.rpartition(":")[2]

    @property
    def has_pattern(self) -> bool:
        """Whether `on` is a pattern instead of names."""
        return len(self.on) == 1 and any(c in self.on[0] for c in "*?[")

    @property
    def trains(self) -> bool:
        """Whether the weight is ever other than 0; a row of weight 0 only reports its value."""
        return self.weight.value != 0 or self.weight.start != 0

    def factor(self, step: int) -> float:
        """Returns the weight at a step; over the warm-up it rises linearly from start to value."""
        w = self.weight
        risen = step - w.after
        if risen < 0:
            return w.start
        return w.value if risen >= w.warmup else w.start + (w.value - w.start) * risen / w.warmup

    def matches(self, outputs: Outputs) -> list[list[str]]:
        """Returns the names of outputs for each time that the loss is computed: one list, or one for each match."""
        if self.has_pattern:
            found = [[name] for name in outputs if fnmatch.fnmatchcase(name, self.on[0])]
            return found or [self.on]
        return [self.on]

    def label(self, names: list[str], *, with_branch: bool = False) -> str:
        """Returns the term's name in the log: `name` or the type of the loss, in front of it the branch of the model.

        The branch is the first output's name without ".logits": "aux0.CrossEntropy", but "CrossEntropy" for "logits".

        Args:
            names: outputs that the loss is computed on.
            with_branch: shows the branch also of a row with several outputs, which is otherwise left out.
        """
        name = self.name or self.type
        branch = re.sub(r"(^|\.)logits$", "", names[0]) if len(names) == 1 or with_branch else ""
        return f"{branch}.{name}" if branch else name


def _names(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


class Criterion(nn.Module):
    """Computes all rows of section `losses`; the sum of their terms is trained.

    Losses with parameters or buffers and the weighting are part of the state.

    Args:
        rows: the rows.
        align_corners: how outputs are resized; the model's own setting.
        weighting: reweights the terms against each other (section `weighting`), or None.
        at: config path of the rows, for error messages.
    """

    def __init__(self, rows: list[Row], align_corners: bool = False, weighting: Any = None, at: str = "losses"):
        super().__init__()
        self.rows = rows
        self.losses = nn.ModuleList(row.loss for row in rows)
        self.align_corners = align_corners
        self.weighting = weighting
        self.at = at
        self._with_branch = _with_branch(rows)
        self._is_checked = False

    def forward(self, outputs: Outputs, batch: Batch, step: int) -> dict[str, Tensor]:
        """Computes the weighted terms.

        The first call with gradients enabled also checks that every row trains something.

        Args:
            outputs: named outputs of the model.
            batch: the batch they were computed from.
            step: number of the training step, for weights with a warm-up.

        Returns:
            One float32 scalar per term, by its name in the log.

        Raises:
            ConfigError: a name of `on` or `target` is missing from outputs or batch; a loss does not take what they
                give; what a row trains has no gradient.
        """
        terms: dict[str, Tensor] = {}
        resized: dict[tuple, Tensor] = {}
        is_checking = not self._is_checked and torch.is_grad_enabled()
        for i, row in enumerate(self.rows):
            targets = [_look_up(batch, name, f"{self.at}.{i}.target", "batch") for name in row.target]
            for names in row.matches(outputs):
                values = [_look_up(outputs, name, f"{self.at}.{i}.on", "model") for name in names]
                if row.at_image:
                    values = [self._resize(n, v, targets, batch, resized) for n, v in zip(names, values)]
                if is_checking and row.trains:
                    _check_first(row, names, values[0], f"{self.at}.{i}")
                    _check_inputs(row, [*values, *targets], f"{self.at}.{i}")
                loss = row.loss(*values, *targets)
                if is_checking and row.trains:
                    _check_value(row, loss, f"{self.at}.{i}")
                _collect(terms, row.label(names, with_branch=self._with_branch[i]), loss, row.factor(step))
        self._is_checked |= is_checking
        return terms if self.weighting is None else self.weighting.weigh(terms, step)

    def compile_losses(self) -> None:
        """Compiles each loss of segkit that makes one graph, in place; losses from outside segkit stay as they are."""
        for loss in self.losses:
            if isinstance(loss, Loss) and not loss.no_compile:
                loss.compile()

    def weights(self) -> dict[str, float]:
        """Returns the weights that the weighting gives the terms now, as "weight.<term>", for the log."""
        current = {} if self.weighting is None else self.weighting.current()
        return {f"weight.{name}": float(value) for name, value in current.items()}

    def get_extra_state(self) -> dict:
        """Returns the state of a weighting without parameters."""
        is_plain = self.weighting is not None and not isinstance(self.weighting, nn.Module)
        return self.weighting.state_dict() if is_plain else {}

    def set_extra_state(self, state: dict) -> None:
        """Restores the state of a weighting without parameters."""
        if state:
            self.weighting.load_state_dict(state)

    def _resize(self, name: str, value: Tensor, targets: list, batch: Batch, resized: dict) -> Tensor:
        """Resizes a map [B,K,h,w] to the target's size, or the image's where there is no target; each size once."""
        if not isinstance(value, Tensor) or value.dim() != 4 or value.shape[-1] * value.shape[-2] == 1:
            return value
        maps = [target for target in targets if isinstance(target, Tensor) and target.dim() >= 3]
        size = tuple((maps[0] if maps else batch["image"]).shape[-2:])
        if tuple(value.shape[-2:]) == size:
            return value
        key = (name, size)
        if key not in resized:
            precise = value if value.dtype == torch.float64 else value.float()
            resized[key] = F.interpolate(precise, size, mode="bilinear", align_corners=self.align_corners)
        return resized[key]


def _look_up(store: Mapping[str, Any], name: str, at: str, owner: str) -> Any:
    if name not in store:
        entry = "output" if owner == "model" else "entry"
        raise ConfigError(
            f"{at} = '{name}': the {owner} has no such {entry}{did_you_mean(name, store)}; available: "
            f"{', '.join(store)}"
        )
    return store[name]


def _check_inputs(row: Row, inputs: list, at: str) -> None:
    """Refuses a row that gives its loss too few or too many inputs, as a loss of one's own without `row` often does."""
    try:
        inspect.signature(row.loss.forward).bind(*inputs)
    except TypeError as error:
        name = type(row.loss).__name__
        raise ConfigError(
            f"{at}: forward() of {name} does not take what on and target = {list(row.target)} give it ({error}); set "
            f"target='mask' in the row, or row = dict(target='mask') in the class"
        ) from error


def _check_first(row: Row, names: list[str], value: Any, at: str) -> None:
    """Raises a ConfigError where the first output of a row, which the loss trains, carries no gradient."""
    if _carries_gradient(value):
        return
    shown = repr(names if len(names) > 1 else names[0])
    way_out = "is it of a frozen part of the model? Remove the row, or set its weight to 0 to log its value only"
    if len(names) > 1:
        way_out = "the first name is what the loss trains (swap the names?)"
    raise ConfigError(
        f"{at}.on = {shown}: '{names[0]}' carries no gradient, so {row.type} would train nothing; {way_out}"
    )


def _check_value(row: Row, loss: Any, at: str) -> None:
    """Raises a ConfigError where the value of a row carries no gradient although its first output does."""
    if not _carries_gradient(loss):
        raise ConfigError(
            f"{at}: the value of {row.type} carries no gradient, so it would train nothing; it must be computed from "
            f"'{row.on[0]}' without detach() or no_grad()"
        )


def _carries_gradient(value: Any) -> bool:
    """Whether a tensor, or any of a list or dictionary of tensors, requires a gradient."""
    if isinstance(value, Mapping):
        return any(map(_carries_gradient, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_carries_gradient, value))
    return isinstance(value, Tensor) and value.requires_grad


def _collect(terms: dict[str, Tensor], label: str, loss: Tensor | dict[str, Tensor], factor: float) -> None:
    named = {f"{label}.{name}": value for name, value in loss.items()} if isinstance(loss, dict) else {label: loss}
    for name, value in named.items():
        terms[_unused(name, terms)] = value * factor


def _unused(name: str, taken: Iterable[str]) -> str:
    """Returns the name with as many apostrophes as keep it apart from those taken."""
    while name in taken:
        name += "'"
    return name


def _with_branch(rows: list[Row]) -> list[bool]:
    """Whether each row's label needs its branch, as another row has the same label without it."""
    labels = [row.label(row.on) for row in rows]
    counts = Counter(labels)
    return [counts[label] > 1 for label in labels]


def _term_names(rows: list[Row]) -> list[str]:
    """Returns the labels of the rows without a pattern, as the terms of losses with one value are named."""
    names: list[str] = []
    for row, with_branch in zip(rows, _with_branch(rows)):
        if not row.has_pattern:
            names.append(_unused(row.label(row.on, with_branch=with_branch), names))
    return names


def complete_row(row: dict[str, Any], at: str = "losses") -> dict[str, Any]:
    """Returns a row of section `losses` together with the keys that its loss class states in its attribute `row`.

    Everything that reads `on`, `target` or `at` of a config's rows reads them from here. Keys of the config win.

    Args:
        row: the row as it stands in the config.
        at: config path of the row, for error messages.

    Raises:
        ConfigError: there is no loss of this type, or its class states a key that it cannot.
    """
    cls = LOSSES.get(row.get("type", ""), f"{at}.type")
    stated = getattr(cls, "row", {})  # a loss from outside segkit may be any module
    for key in stated:
        if key not in OWN_KEYS:
            raise ConfigError(f"{at}: {cls.__name__}.row has the key '{key}'; it may have {', '.join(OWN_KEYS)}")
    return {**stated, **row}


def with_ignore(rows: list[dict], ignore: int, source: str, at: str = "losses") -> list[dict]:
    """Returns rows whose losses leave out what the masks of the data mark as ignored.

    Losses inside losses (OHEM's) too.

    Args:
        rows: section `losses`.
        ignore: the data set's ignore value.
        source: name of the data set, for errors.
        at: config path of the rows, for errors.

    Raises:
        ConfigError: a row sets another value; the message names both.
    """

    def change(loss: dict, arguments: frozenset[str], place: str) -> dict:
        if "ignore" not in arguments:
            return loss
        value = loss.get("ignore")
        if value is not None and value != ignore:
            raise ConfigError(
                f"{place}.ignore = {value!r}: {source} marks ignored pixels with {ignore}, which would be trained as a "
                "label; remove this argument, since losses take the value of the data set"
            )
        loss = {key: inner for key, inner in loss.items() if key != "ignore" or inner is not None}
        # losses leave that value out by themselves, and those of clicks the -1 of float masks
        return loss if ignore == IGNORE else {**loss, "ignore": ignore}

    return [each_object(row, LOSSES, change, f"{at}.{i}") for i, row in enumerate(rows)]


def build_criterion(
    rows: list[dict],
    align_corners: bool = False,
    *,
    weighting: dict | None = None,
    epoch_steps: int = 1,
    at: str = "losses",
) -> Criterion:
    """Builds the criterion of sections `losses` and `weighting`.

    Args:
        rows: section `losses`.
        align_corners: how outputs are resized; the model's own setting.
        weighting: section `weighting`; it reweights the terms of rows without a pattern.
        epoch_steps: training steps of one epoch.
        at: config path of the rows, for error messages.

    Raises:
        ConfigError: a row or the weighting cannot be built.
    """
    built = []
    for i, row in enumerate(rows):
        row = complete_row(row, f"{at}.{i}")
        settings = RowSettings(type=row["type"], **{key: row[key] for key in ROW_KEYS if key in row})
        loss = {key: value for key, value in row.items() if key not in ROW_KEYS}
        if settings.at not in ("image", "native"):
            raise ConfigError(f"{at}.{i}.at = {settings.at!r}: must be 'image' or 'native'")
        _refuse_laws(loss, f"{at}.{i}")
        built.append(Row(build(loss, LOSSES, f"{at}.{i}"), settings))
    if weighting is None:
        return Criterion(built, align_corners, at=at)
    names = _term_names(built)
    weigher = build(weighting, WEIGHTINGS, "weighting", names=names, epoch_steps=epoch_steps)
    return Criterion(built, align_corners, weigher, at=at)


def _refuse_laws(loss: dict, at: str) -> None:
    """Raises a ConfigError for class weights that are still a name, here or in a loss inside the loss."""
    for name, value in loss.items():
        if name in CLASS_WEIGHTS and isinstance(value, str):
            raise ConfigError(
                f"{at}.{name} = '{value}': must be numbers here; segkit.data.statistics.resolve_class_weights "
                "computes them from the training masks, as segkit train does for section `losses`"
            )
        if isinstance(value, dict):
            _refuse_laws(value, f"{at}.{name}")

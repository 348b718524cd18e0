"""Rows of losses: which loss on which outputs against which targets, by which weight."""

import fnmatch
import re
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.registry import LOSSES, WEIGHTINGS, ConfigError, build, did_you_mean
from segkit.settings import RowSettings, WeightSettings
from segkit.types import Batch, Outputs

ROW_KEYS = ("on", "target", "weight", "at", "name")


class Row:
    """One loss with its place: loss(*outputs named by on, *targets named by target) * weight(step).

    on: names or one pattern ("aux*.logits": the loss is taken on each match); at: "image" resizes outputs to the
    target's size first, "native" leaves them.
    """

    def __init__(self, loss: nn.Module, settings: RowSettings):
        self.loss = loss
        self.on = [settings.on] if isinstance(settings.on, str) else list(settings.on)
        self.target = _names(settings.target)
        value = settings.weight
        self.weight = WeightSettings(**value) if isinstance(value, dict) else WeightSettings(value=float(value))
        self.at_image = {"image": True, "native": False}[settings.at]
        self.name = settings.name
        self.type = settings.type.rpartition(":")[2]

    @property
    def has_pattern(self) -> bool:
        """Whether `on` is one pattern instead of names."""
        return len(self.on) == 1 and any(c in self.on[0] for c in "*?[")

    def factor(self, step: int) -> float:
        """The weight at a step: linear from start to value over the warm-up."""
        w = self.weight
        return w.value if step >= w.warmup else w.start + (w.value - w.start) * step / w.warmup

    def matches(self, outputs: Outputs) -> list[list[str]]:
        """Names of the outputs of each loss this row takes."""
        if self.has_pattern:
            found = [[name] for name in outputs if fnmatch.fnmatchcase(name, self.on[0])]
            return found or [self.on]
        return [self.on]

    def label(self, names: list[str]) -> str:
        """Name in the log: the type, with the branch in front where it is not the main one."""
        branch = re.sub(r"(^|\.)logits$", "", names[0])
        own = self.name or self.type
        return f"{branch}.{own}" if branch else own


def _names(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


class Criterion(nn.Module):
    """The rows of section `losses`: outputs, batch, step -> dict of weighted scalar terms; their sum is trained.

    align_corners: how outputs are resized, the model's own; weighting: what weighs the terms against each other anew
    (section `weighting`). Losses with parameters or buffers and the weighting are part of the state.
    """

    def __init__(self, rows: list[Row], align_corners: bool = False, weighting: Any = None):
        super().__init__()
        self.rows = rows
        self.losses = nn.ModuleList(row.loss for row in rows)
        self.align_corners = align_corners
        self.weighting = weighting

    def forward(self, outputs: Outputs, batch: Batch, step: int) -> dict[str, Tensor]:
        """-> {name: weighted float32 scalar}. A name missing from outputs or batch is a ConfigError."""
        terms: dict[str, Tensor] = {}
        resized: dict[tuple, Tensor] = {}
        for i, row in enumerate(self.rows):
            targets = [_look_up(batch, name, f"losses.{i}.target", "batch") for name in row.target]
            for names in row.matches(outputs):
                values = [_look_up(outputs, name, f"losses.{i}.on", "outputs") for name in names]
                if row.at_image:
                    values = [self._resize(n, v, targets, batch, resized) for n, v in zip(names, values)]
                _collect(terms, row.label(names), row.loss(*values, *targets), row.factor(step))
        return terms if self.weighting is None else self.weighting.weigh(terms, step)

    def get_extra_state(self) -> dict:
        """What a weighting without parameters remembers."""
        is_plain = self.weighting is not None and not isinstance(self.weighting, nn.Module)
        return self.weighting.state_dict() if is_plain else {}

    def set_extra_state(self, state: dict) -> None:
        if state:
            self.weighting.load_state_dict(state)

    def _resize(self, name: str, value: Tensor, targets: list, batch: Batch, resized: dict) -> Tensor:
        """A map [B,K,h,w] at the size of the target, or of the image where there is no target; each size once."""
        if value.dim() != 4 or value.shape[-1] * value.shape[-2] == 1:
            return value
        maps = [target for target in targets if isinstance(target, Tensor) and target.dim() >= 3]
        size = tuple((maps[0] if maps else batch["image"]).shape[-2:])
        if tuple(value.shape[-2:]) == size:
            return value
        key = (name, size)
        if key not in resized:
            resized[key] = F.interpolate(value.float(), size, mode="bilinear", align_corners=self.align_corners)
        return resized[key]


def _look_up(store: dict, name: str, at: str, kind: str) -> Tensor:
    if name not in store:
        raise ConfigError(
            f"{at} = '{name}': the {kind} hold no such key{did_you_mean(name, store)}; they hold: {', '.join(store)}"
        )
    return store[name]


def _collect(terms: dict[str, Tensor], label: str, loss: Tensor | dict[str, Tensor], factor: float) -> None:
    named = {f"{label}.{name}": value for name, value in loss.items()} if isinstance(loss, dict) else {label: loss}
    for name, value in named.items():
        while name in terms:
            name += "'"
        terms[name] = value * factor


def build_criterion(
    rows: list[dict],
    align_corners: bool = False,
    *,
    weighting: dict | None = None,
    epoch_steps: int = 1,
    at: str = "losses",
) -> Criterion:
    """Sections `losses` and `weighting` -> Criterion. A weighting weighs the terms of rows without a pattern."""
    built = []
    for i, row in enumerate(rows):
        settings = RowSettings(type=row["type"], **{key: row[key] for key in ROW_KEYS if key in row})
        own = {key: value for key, value in row.items() if key not in ROW_KEYS}
        if settings.at not in ("image", "native"):
            raise ConfigError(f"{at}.{i}.at = {settings.at!r}: it is 'image' or 'native'")
        _refuse_laws(own, f"{at}.{i}")
        built.append(Row(build(own, LOSSES, f"{at}.{i}"), settings))
    if weighting is None:
        return Criterion(built, align_corners)
    names = [row.label(row.on) for row in built if not row.has_pattern]
    weigher = build(weighting, WEIGHTINGS, "weighting", names=names, epoch_steps=epoch_steps)
    return Criterion(built, align_corners, weigher)


def _refuse_laws(own: dict, at: str) -> None:
    """A ConfigError for class weights that are still the name of a law, here or in a loss inside the loss."""
    for name, value in own.items():
        if name in ("class_weight", "alpha") and isinstance(value, str):
            raise ConfigError(
                f"{at}.{name} = '{value}': numbers are wanted here; segkit.data.statistics.resolve_class_weights "
                "computes them from the training masks, as tools/train.py does for the section `losses`"
            )
        if isinstance(value, dict):
            _refuse_laws(value, f"{at}.{name}")

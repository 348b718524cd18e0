"""Two models for rare objects: the first says which classes an image holds, the second draws them (own definition)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from segkit.config import SECTIONS, merged
from segkit.constraints.named import PositiveInt
from segkit.engine import setup
from segkit.engine.check_rows import check_rows
from segkit.files import foreign_code
from segkit.refiners.base import Refiner
from segkit.registry import REFINERS, RUNNERS, ConfigError, build, did_you_mean
from segkit.runners.semantic import Semantic
from segkit.schema import check
from segkit.types import Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

STAGES = ("presence", "positives")
"""Names of the two trainings, and of their folders."""


@RUNNERS.register
class TwoModels(Semantic):
    """Trains two models, one after the other, and predicts with both.

    The first trains as the config says, on all images, and predicts the presence of classes. The second trains on the
    images that hold an object alone. Its predictions pass a ClassGate with the presence of the first, in its validation
    and in all commands: the final mask is the second's where the first says that the class is present. The first's
    checkpoint is presence/best.pt of the run's folder, or last.pt without a validation; the second's names it.

    Args:
        second: sections that are merged over the config's for the second model, such as dict(model=dict(aux=[]),
            losses=[...]).
        objects, min_pixels: which images hold an object, as of the data set Positives.
        gate: arguments of the refiner ClassGate, without `checkpoint`.
        first: checkpoint of the first model, in the place of its training; the second's checkpoints name it here.
        probabilities: as in Semantic.
    """

    def __init__(
        self,
        second: dict,
        objects: list[str | int] | None = None,
        *,
        min_pixels: PositiveInt = 1,
        gate: dict | None = None,
        first: str | None = None,
        probabilities: bool = False,
    ):
        super().__init__(probabilities)
        self.second, self.arguments = second, dict(gate or {})
        self.positives: dict[str, Any] = dict(objects=objects, min_pixels=min_pixels)
        self.first = first
        if {"checkpoint", "type"} & set(self.arguments):
            raise ConfigError("runner.gate: names no 'checkpoint' and no 'type'; the first model's is runner.first")
        self.gate: Refiner | None = self._gate(first) if first else None

    @property
    def keep_stored(self) -> bool:
        """The gate reads the stored images."""
        return True

    @property
    def applied_refiners(self) -> Sequence[Refiner]:
        """The gate, then those of inference.refiners."""
        return self.refiners if self.gate is None else [self.gate, *self.refiners]

    @property
    def first_stage(self) -> int:
        """Number of the stage that a new run begins with: 1 where `first` replaces the first training."""
        return 1 if self.first else 0

    def stages(self, cfg: dict, datasets: setup.DataSets) -> list[Stage]:
        """Returns the two trainings.

        Raises:
            ConfigError: the second could not begin: its sections, the gate, or no image with an object.
        """
        found = foreign_code(cfg)
        if found is not None:
            raise ConfigError(
                f"{found[0]} = '{found[1]}': the runner TwoModels loads its first model from a checkpoint as a gate, "
                "and gates run no code from outside of segkit; leave that out of the config"
            )
        for name in self.second:
            if name not in SECTIONS:
                raise ConfigError(f"runner.second.{name}: no such section{did_you_mean(name, SECTIONS)}")
        changed = merged(dict(cfg), self.second)
        changed["train"] = {
            **changed["train"],
            "dataset": {"type": "Positives", "dataset": changed["train"]["dataset"], **self.positives},
        }
        try:
            check(changed)
            check_rows(changed)
        except ConfigError as error:
            raise ConfigError(f"the config of the second model, with runner.second:\n{error}") from error
        build({"type": "ClassGate", **self.arguments}, REFINERS, "runner.gate")
        datasets.get(changed["train"]["dataset"], "train.dataset")
        return [Stage(STAGES[0]), Stage(STAGES[1], {key: changed[key] for key in (*self.second, "train")})]

    def holds_whole_models(self) -> str:
        """Returns why loop.shard is refused; see Runner.holds_whole_models."""
        return "which trains two models"

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Takes the first model as the gate of the second, and names it in the second's checkpoints."""
        if stage.name == STAGES[1]:
            folder = loop.work_dir / STAGES[0]
            found = folder / "best.pt" if (folder / "best.pt").is_file() else folder / "last.pt"
            self._use(self.first or str(found), loop)

    def state_dict(self) -> dict[str, Any]:
        """Returns the checkpoint of the first model, once there is one."""
        return {} if self.gate is None else {"first": self.first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the first model of the checkpoint's run."""
        first = state.get("first")
        if first and first != self.first:
            self.first, self.gate = first, self._gate(first)

    def _use(self, first: str, loop: "Loop") -> None:
        if self.gate is None or first != self.first:
            self.first, self.gate = first, self._gate(first)
        loop.stage_cfg["runner"] = {**loop.stage_cfg["runner"], "first": first}

    def _gate(self, first: str) -> Refiner:
        if not Path(first).is_file():
            raise ConfigError(f"runner.first = '{first}': no such file; train the first model, or name its checkpoint")
        with torch.random.fork_rng(
            devices=[]
        ):  # the weights that are drawn before those of the file change no training
            gate: Refiner = build({"type": "ClassGate", **self.arguments, "checkpoint": first}, REFINERS, "runner.gate")
        return gate.eval()

"""A search that also makes the network fast on one machine, by a table of measured latencies.

FasterSeg, Chen et al., ICLR 2020, https://arxiv.org/abs/1912.10917, section 3.2.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segkit import dist
from segkit.constraints.named import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.data.splits.split import PositiveShare
from segkit.engine.evaluate import evaluate
from segkit.engine.hooks import Hook
from segkit.files import write_whole
from segkit.models.bases import Network
from segkit.models.timed_search import SearchHead, TimedSearch
from segkit.readers.latency_table import LatencyTable, read_latency_table
from segkit.registry import HOOKS, RUNNERS, ConfigError
from segkit.runners.search import TERM, SearchArchitecture, as_text, searched
from segkit.types import Batch, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

LATENCY = "latency"
"""Name in the log of the expected milliseconds."""

TARGET, POWER = 8.3, -0.07
"""Of the published choice between two networks: score x (milliseconds / 8.3) ^ -0.07."""


def objective(score: float, milliseconds: float) -> float:
    """Returns what the published choice of a derived network makes largest."""
    return score * (milliseconds / TARGET) ** POWER


@HOOKS.register
class WriteFastGenotypes(Hook):
    """Chooses the derived network when a search has ended, and writes the genotypes of student and teacher.

    SearchWithLatency adds it itself. The choice weighs the mIoU on `val` against the latency; without `val` it is the
    network that the search network answers with.
    """

    adds_terms = (TERM, LATENCY)

    def after_stage(self, loop: "Loop") -> None:
        """Scores and times each network that the search may end with."""
        model, runner = loop.raw_model, loop.runner
        if not isinstance(runner, SearchWithLatency):
            raise ConfigError("hooks: WriteFastGenotypes belongs to the runner SearchWithLatency, which adds it itself")
        backbone = timed_search(model)
        head = next((module for module in model.modules() if isinstance(module, SearchHead)), None)
        times = backbone.latencies(runner.measured, runner.size, model.num_classes)
        answer = backbone.answers[-1]
        if loop.val is not None and head is not None:
            before, values = head.answer, {}
            for name in backbone.answers:
                head.answer = name
                scores = evaluate(runner, model, loop.val, loop.metrics, device=loop.device, dtype=loop.amp_dtype)
                score = float(scores.get("mIoU", 0.0))
                values[name] = objective(score, times[name])
                if dist.is_main():
                    print(f"{name}: mIoU {score:.2f}, {times[name]:.3f} ms, objective {values[name]:.3f}", flush=True)
            head.answer, answer = before, max(values, key=lambda name: values[name])
        if dist.is_main():
            for name, content in backbone.genotypes(answer).items():
                path = write_whole(loop.folder / name, as_text(content))
                print(f"genotype: {path}", flush=True)


def timed_search(model: torch.nn.Module) -> TimedSearch:
    """Returns the search network of a model.

    Raises:
        ConfigError: it has none whose operations can be timed.
    """
    backbone = searched(model)
    if not isinstance(backbone, TimedSearch):
        raise ConfigError(
            f"model.backbone = {type(backbone).__name__}: its operations have no latencies; take a search network that "
            "has, such as FasterSegSearch, or the runner 'SearchArchitecture'"
        )
    return backbone


@RUNNERS.register
class SearchWithLatency(SearchArchitecture):
    """Searches an architecture that is good and fast: the expected latency is a further loss of the architecture.

    The table is measured on the user's machine by `segkit benchmark CONFIG --operations --out FILE`. The weight of the
    latency is halved after an epoch in which a derived network was as fast as the upper of `fps`, and doubled where one
    was as slow as the lower.

    Args:
        table: JSON file of the measured operations.
        size: (H, W) of the image that latencies are of.
        weight: of the latency in milliseconds.
        fps: images per second, the least and the most that are wanted; None leaves the weight as it is.
        any_machine: whether the table may be of another machine than this one.
        start_step, share, lr, weight_decay, beta1, beta2, probabilities: as in SearchArchitecture.
    """

    def __init__(
        self,
        table: str,
        size: tuple[PositiveInt, PositiveInt] = (1024, 2048),
        *,
        weight: NonNegativeFloat = 0.01,
        fps: tuple[PositiveFloat, PositiveFloat] | None = (155.0, 175.0),
        any_machine: bool = False,
        start_step: NonNegativeInt = 0,
        share: PositiveShare = 0.5,
        lr: PositiveFloat = 3e-4,
        weight_decay: NonNegativeFloat = 0.0,
        beta1: Decay = 0.5,
        beta2: Decay = 0.999,
        probabilities: bool = False,
    ):
        super().__init__(
            start_step,
            share,
            lr=lr,
            weight_decay=weight_decay,
            beta1=beta1,
            beta2=beta2,
            probabilities=probabilities,
        )
        self.path, self.size, self.any_machine = table, (size[0], size[1]), any_machine
        self.weight, self.fps = weight, fps
        self._table: LatencyTable | None = None
        self._latency = torch.zeros(())

    @property
    def measured(self) -> LatencyTable:
        """The measured operations.

        Raises:
            ConfigError: the file is missing, is no latency table, or is of another machine.
        """
        if self._table is None:
            try:
                self._table = read_latency_table(self.path, any_machine=self.any_machine)
            except ConfigError as error:
                raise ConfigError(f"runner.table = '{self.path}': {error}") from error
        return self._table

    def check_start(self, cfg: dict) -> None:
        """Reads the table before anything is written."""
        self.measured  # noqa: B018 - reads the file

    def hooks(self) -> tuple[Hook, ...]:
        """Returns the hook that chooses and writes the genotypes."""
        return (WriteFastGenotypes(),)

    def prepare(self, model: Network, stage: Stage, loop: "Loop") -> Network:
        """As SearchArchitecture; looks every operation up once, so that none is missing later.

        Raises:
            ConfigError: the table lacks an operation.
        """
        for timed in timed_search(model).timed(self.size, model.num_classes):
            self.measured[timed.name]
        return super().prepare(model, stage, loop)

    def _gradients(self, batch: Batch, number: int) -> tuple[list[Tensor], Tensor]:
        gradients, total = super()._gradients(batch, number)
        for parameter in self._architecture:
            parameter.requires_grad_(True)
        try:
            latency = timed_search(self._loop.raw_model).expected_latency(self.measured, self.size)
            loss = self._loop.scaler.scale(latency * self.weight)
            found = torch.autograd.grad(loss, self._architecture, allow_unused=True)
        finally:
            for parameter in self._architecture:
                parameter.requires_grad_(False)
        self._latency = latency.detach()
        return [a if b is None else a + b for a, b in zip(gradients, found)], total

    def after_step(self, loop: "Loop") -> None:
        """As SearchArchitecture; the expected milliseconds go to the log, and an epoch's end changes their weight."""
        super().after_step(loop)
        if loop.step <= self.start_step:
            return
        loop.terms.add(loop.step, [], {LATENCY: self._latency})
        steps = max(len(loop.dataset) // loop.images_per_step, 1)
        if self.fps is not None and loop.step % steps == 0:
            times = timed_search(loop.raw_model).latencies(self.measured, self.size, loop.raw_model.num_classes)
            self.weight *= weight_change([1000 / time for time in times.values()], self.fps)

    def state_dict(self) -> dict[str, object]:
        """Returns the architecture's optimizer and the weight of the latency."""
        return {**super().state_dict(), "weight": self.weight}

    def load_state_dict(self, state: dict) -> None:
        """Takes back what state_dict gave."""
        super().load_state_dict(state)
        self.weight = float(state["weight"])


def weight_change(speeds: list[float], fps: tuple[float, float]) -> float:
    """Returns the factor of the latency's weight: one half where a network is too fast, else 2 where one is too slow.

    Args:
        speeds: images per second of the derived networks.
        fps: the least and the most.
    """
    if any(speed >= fps[1] for speed in speeds):
        return 0.5
    return 2.0 if any(speed <= fps[0] for speed in speeds) else 1.0

"""The runner of architecture searches: weights and architecture are trained in turn, each on images of its own.

Auto-DeepLab, Liu et al., CVPR 2019, https://arxiv.org/abs/1901.02985, section 3.3; first-order DARTS, Liu et al.,
ICLR 2019, https://arxiv.org/abs/1806.09055.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.constraints.named import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat
from segkit.data.loader import to_device, train_loader
from segkit.data.splits.split import PositiveShare
from segkit.engine import resume, setup
from segkit.engine.hooks import Hook
from segkit.files import write_whole
from segkit.models.bases import Network, SearchBackbone
from segkit.registry import HOOKS, RUNNERS, ConfigError
from segkit.runners.semantic import Semantic
from segkit.types import Batch, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

GENOTYPE = "genotype.json"
"""File of the decoded architecture in the run's folder."""

TERM = "architecture"
"""Name in the log of the losses' sum on the architecture's images."""


@HOOKS.register
class WriteGenotype(Hook):
    """Writes the decoded architecture as genotype.json when the search has ended. SearchArchitecture adds it itself."""

    adds_terms = (TERM,)

    def after_stage(self, loop: "Loop") -> None:
        """Decodes the weights that the checkpoint of the last step holds."""
        if dist.is_main():
            genotype = searched(loop.raw_model).decode()
            path = write_whole(loop.folder / GENOTYPE, as_text(genotype))
            print(f"genotype: {path}", flush=True)


def as_text(genotype: dict[str, Any]) -> str:
    """Formats a genotype as JSON, one line for each entry."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in genotype.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def searched(model: nn.Module) -> SearchBackbone:
    """Returns the part of a model that has an architecture to search.

    Args:
        model: the raw module.

    Raises:
        ConfigError: it has none.
    """
    found = [module for module in model.modules() if isinstance(module, SearchBackbone)]
    if not found:
        backbone = getattr(model, "backbone", None)
        raise ConfigError(
            f"runner.type = 'SearchArchitecture': model.backbone = {type(backbone or model).__name__} has no "
            "architecture to search; take a search network, such as AutoDeepLabSearch, or the runner 'Semantic'"
        )
    return found[0]


@RUNNERS.register
class SearchArchitecture(Semantic):
    """Searches an architecture: after each step of the weights, Adam makes a step of the architecture.

    The training images are divided at random: the weights see one part, the architecture the other. Batch size,
    transforms and losses are those of the config for both. An epoch is one pass over the part of the weights. At
    the end the decoded architecture is written to genotype.json.

    Args:
        start_step: number of steps in which the weights alone are trained.
        share: of the training images for the weights; the others are for the architecture.
        lr: of the architecture's Adam, constant.
        weight_decay: the same, added to the gradient.
        beta1, beta2: decays of Adam's averages.
        probabilities: as in Semantic.
    """

    _loop: "Loop"
    _optimizer: torch.optim.Optimizer
    _architecture: list[nn.Parameter]
    _batches: Iterator[Batch] | None

    def __init__(
        self,
        start_step: NonNegativeInt,
        share: PositiveShare = 0.5,
        *,
        lr: PositiveFloat = 3e-3,
        weight_decay: NonNegativeFloat = 1e-3,
        beta1: Decay = 0.9,
        beta2: Decay = 0.999,
        probabilities: bool = False,
    ):
        super().__init__(probabilities)
        self.start_step, self.share = start_step, share
        self.lr, self.weight_decay, self.betas = lr, weight_decay, (beta1, beta2)

    def stages(self, cfg: dict, datasets: setup.DataSets) -> list[Stage]:
        """Returns the one stage, whose training images are the part of the weights."""
        return [Stage(overrides={"train": self._section(cfg["train"], rest=False)})]

    def _section(self, train: dict, *, rest: bool) -> dict:
        """Section `train` with a part of the images."""
        return {**train, "dataset": dict(type="Part", dataset=train["dataset"], share=self.share, rest=rest)}

    def hooks(self) -> tuple[Hook, ...]:
        """Returns the hook that writes the genotype."""
        return (WriteGenotype(),)

    def prepare(self, model: Network, stage: Stage, loop: "Loop") -> Network:
        """Takes the architecture out of what the config's optimizer trains.

        Raises:
            ConfigError: the model has no architecture to search.
        """
        for parameter in searched(model).architecture():
            parameter.requires_grad_(False)
        return model

    def holds_whole_models(self) -> str:
        """Returns why loop.shard is refused; see Runner.holds_whole_models."""
        return "whose search steps weights of its own"

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Builds the architecture's optimizer and its part of the images."""
        if self.start_step >= loop.total_steps:
            raise ConfigError(
                f"runner.start_step = {self.start_step}: the search would never begin, since the run has "
                f"{loop.total_steps} steps; start earlier, or raise loop.steps"
            )
        self._loop, self._batches = loop, None
        self._architecture = searched(loop.raw_model).architecture()
        self._optimizer = torch.optim.Adam(
            self._architecture, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay
        )
        section = self._section(loop.cfg["train"], rest=True)
        # other random numbers than those of the weights' images
        self._items, self._sampler, _ = setup.build_training(section, loop.settings.seed + 1, loop.datasets)

    def after_step(self, loop: "Loop") -> None:
        """Makes a step of the architecture, from start_step on; the sum of its losses goes to the log."""
        done = loop.step - 1 - self.start_step
        if done < 0:
            return
        if self._batches is None:
            self._batches = self._stream(done)
        number = loop.settings.accumulate
        batches = [to_device(next(self._batches), loop.device) for _ in range(number)]
        gradients = [torch.zeros_like(parameter) for parameter in self._architecture]
        loss = torch.zeros((), device=loop.device)
        for i, batch in enumerate(batches):
            found, value = self._gradients(batch, i)
            gradients = [a + b for a, b in zip(gradients, found)]
            loss = loss + value / number
        scale = number * dist.world_size() * loop.scaler.get_scale()
        for parameter, gradient in zip(self._architecture, gradients):
            parameter.grad = dist.all_reduce_sum(gradient) / scale
        if not loop.scaler.is_enabled() or all(bool(g.isfinite().all()) for g in gradients):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        loop.terms.add(loop.step, [meta["path"] for batch in batches for meta in batch["meta"]], {TERM: loss})

    def _stream(self, start: int) -> Iterator[Batch]:
        """The architecture's batches from its step `start` on."""
        loop, settings = self._loop, self._loop.data_settings
        return train_loader(
            self._items,
            self._sampler,
            batch_size=settings.batch_size,
            workers=settings.workers,
            prefetch=settings.prefetch,
            timeout=settings.timeout,
            start=start * loop.settings.accumulate,
            rank=dist.rank(),
            world_size=dist.world_size(),
            pin=loop.device.type == "cuda",
        )

    def _gradients(self, batch: Batch, number: int) -> tuple[list[Tensor], Tensor]:
        """Gradients of the scaled loss for the architecture, and the loss; gradients of weights stay as they are."""
        loop = self._loop
        rng = np.random.default_rng([loop.settings.seed + 1, loop.step, number, dist.rank()])
        for parameter in self._architecture:
            parameter.requires_grad_(True)
        try:
            with torch.autocast(loop.device.type, loop.amp_dtype, enabled=loop.amp_dtype != torch.float32):
                outputs = self.forward(loop.raw_model, batch, rng)
            losses = loop.criterion(outputs, batch, loop.step)  # outside autocast: losses are float32
            total = sum(losses.values(), torch.zeros((), device=loop.device))
            gradients = list(torch.autograd.grad(loop.scaler.scale(total), self._architecture))
        finally:
            for parameter in self._architecture:
                parameter.requires_grad_(False)
        return gradients, total.detach()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the architecture's optimizer; the step tells its place in the stream of images."""
        return {"architecture": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what state_dict gave.

        Raises:
            CheckpointError: the state does not fit the architecture.
        """
        resume.restore_optimizer(self._optimizer, state["architecture"], "runner.architecture")

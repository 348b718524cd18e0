"""The contract of runners: what feeds the model in training and turns its outputs into predictions.

Losses are configured separately; all runners share one loop.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from segkit.analysis.recorders import ImageRecorder
from segkit.engine.hooks import Hook
from segkit.engine.pictures import Show, Shower
from segkit.engine.worst import Worst, WorstMaps
from segkit.metrics.base import Metric
from segkit.metrics.per_image import ImageScores
from segkit.models.bases import Network
from segkit.refiners.base import Refiner
from segkit.registry import REFINERS, RUNNERS, ConfigError, build
from segkit.runners.tables import score_table
from segkit.runners.writers import LabelWriter, Writer
from segkit.settings import InferenceSettings
from segkit.types import Batch, Color, Outputs, Prediction, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop
    from segkit.engine.setup import DataSets


class Runner:
    """Base of all runners: a subclass gives `forward` and `predict`; the other methods have defaults.

    Attributes:
        inference: section `inference`, set before the first prediction.
        default_metrics: rows of section `metrics` where a config has none.
        needs_stored: whether predictions need images as they are stored: then transforms of `val` and `test` that move
            pixels are refused.
        refiners: built of `inference.refiners`, applied in turn to the probabilities of a map.
        predicts_maps: whether predictions are probabilities of classes at each pixel, which refiners take.
        predicts_classes: whether the outputs of the model are the classes of the data set, by name and order.
        usage: how to predict with a checkpoint, for a page about it: a command with {quoted}, its file as a shell takes
            it, or Python with {checkpoint!r}.
        predicts_whole: whether predictions run parts of the model, so that one which processes share out among them
            (loop.shard) is gathered for each evaluation.
        folder: of the run, set before `stages` by what trains; a stage may read what the one before has written there.
    """

    default_metrics: tuple[dict, ...] = ({"type": "Confusion"},)
    needs_stored: bool = False
    refiners: Sequence[Refiner] = ()
    predicts_maps: bool = False
    predicts_classes: bool = True
    usage: str = "segkit predict {quoted} IMAGES --out predictions"
    folder: Path = Path()
    predicts_whole: bool = False
    inference: InferenceSettings = InferenceSettings()

    @property
    def keep_stored(self) -> bool:
        """Whether predictions read "stored" of the batch, the images before the transforms, as refiners do."""
        return bool(self.applied_refiners)

    @property
    def applied_refiners(self) -> Sequence[Refiner]:
        """The refiners that predictions pass in turn."""
        return self.refiners

    @property
    def first_stage(self) -> int:
        """Number of the stage that a new run begins with."""
        return 0

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model in training.

        Args:
            model: the wrapped model in training mode.
            batch: the batch on the device; keys may be added to it.
            rng: of this step and process.

        Returns:
            The outputs that rows of losses name.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no forward()")

    def pass_weights(self, rng: np.random.Generator) -> tuple[float, ...]:
        """Returns the weights of the passes that a batch goes through, each with a backward pass of its own.

        Args:
            rng: of this step and process.
        """
        return (1.0,)

    def between_passes(self, model: nn.Module, outputs: Outputs, batch: Batch, rng: np.random.Generator) -> None:
        """Called after each pass of a batch but its last one; changes the batch for the next pass.

        Args:
            model: the wrapped model in training mode.
            outputs: of the pass that is done; its gradients have been computed.
            batch: as `forward` takes it.
            rng: of this step and process.
        """

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Predicts a batch.

        Args:
            model: the raw model in evaluation mode.
            batch: images with their meta, on the device.

        Returns:
            B predictions at the images' original sizes.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no predict()")

    def show(self, folder: Path, dataset: Any, count: int) -> Shower:
        """Returns a hook that draws at most `count` images of an evaluation into the folder."""
        return Show(folder, dataset, count)

    def worst_images(self, dataset: Any, count: int) -> Worst:
        """Returns a hook that keeps the worst `count` images of an evaluation for a page."""
        return WorstMaps(dataset, count)

    def table(self, scores: dict[str, Any]) -> str:
        """Formats the scores of one test set as text: a row for each class, then the means."""
        return score_table(scores)

    def report(self, results: dict[str, dict[str, Any]], out: Path, title: str) -> str:
        """Summarizes the scores of all test sets.

        Args:
            results: scores of each test set by its name.
            out: file of the scores; plots go beside it.
            title: name of what was scored.

        Returns:
            Text beyond the tables of the single sets, "" where there is nothing to add.
        """
        return ""

    def writer(
        self,
        folder: Path,
        classes: tuple[str, ...],
        palette: tuple[Color, ...],
        *,
        annotations: str | Path | None = None,
        score: float = 0.3,
    ) -> Writer:
        """Returns what writes predictions to files.

        Args:
            folder: takes label maps or results, and overlays.
            classes: K names, () where they are not known.
            palette: K colors, () for the default ones.
            annotations: COCO JSON file that gives the results of instances their ids.
            score: least score of instances that are drawn.
        """
        return LabelWriter(folder, palette)

    def keep_probabilities(self) -> None:
        """Makes predictions hold "probabilities".

        Raises:
            ConfigError: this runner predicts none.
        """
        raise ConfigError(
            f"--probabilities: the runner {type(self).__name__} predicts no probabilities of classes at each pixel; "
            "leave it out (runner 'Semantic' and those that derive from it have them)"
        )

    def image_scores(self, dataset: Any) -> ImageScores:
        """Returns what scores the predictions for a data set image by image.

        Raises:
            ConfigError: this runner's predictions have no such scores.
        """
        raise ConfigError(
            f"--per-image: predictions of the runner {type(self).__name__} have no scores of single images"
        )

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Returns what keeps the counts of single images, from which intervals of scores are computed.

        Args:
            dataset: that is scored.
            metrics: of the evaluation, whose options hold for the counts.

        Raises:
            ConfigError: this runner's predictions have no such counts.
        """
        raise ConfigError(
            f"--intervals: predictions of the runner {type(self).__name__} have no counts of single images; leave it "
            "out (label maps, instances and clicks have them)"
        )

    def stages(self, cfg: dict, datasets: "DataSets") -> list[Stage]:
        """Returns the trainings of the run in their order.

        Args:
            cfg: the checked sections.
            datasets: builds data sets that stages depend on; the loop takes them over.
        """
        return [Stage()]

    def check_start(self, cfg: dict) -> None:
        """Called before a new run: raises ConfigError where what it starts from is missing or does not fit."""

    def hooks(self) -> tuple[Hook, ...]:
        """Returns the runner's own hooks, which run beside those of every run."""
        return ()

    def prepare(self, model: Network, stage: Stage, loop: "Loop") -> Network:
        """Returns the model that the stage trains; `model` is as the config builds it, on the CPU."""
        return model

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Called when the data, model and optimizer of a stage are built."""

    def after_backward(self, model: nn.Module) -> dict[str, Tensor]:
        """Called between unscaling and clipping; may edit gradients. Returns terms for the log."""
        return {}

    def after_step(self, loop: "Loop") -> None:
        """Called after each optimizer step."""

    def finish(self, loop: "Loop") -> None:
        """Called once after the last optimizer step of a stage, before its last evaluation; may change the weights."""

    def holds_whole_models(self) -> str:
        """Returns why a training cannot share its model out among processes (loop.shard), "" where it can."""
        return "whose training reads weights of the whole model"

    def state_dict(self) -> dict[str, Any]:
        """Returns tensors and plain types that a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what state_dict gave."""


def bare(model: nn.Module) -> nn.Module:
    """Returns the module inside DistributedDataParallel and torch.compile."""
    while isinstance(inner := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inner
    return model


def need_whole(inference: InferenceSettings, what: str) -> None:
    """Raises ConfigError where a section asks for a sliding window or TTA; what: that is predicted without them."""
    if inference.mode != "whole" or inference.tta:
        raise ConfigError(f"inference: a sliding window and TTA (--slide, --tta) are not for {what}; remove them")


def alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """Groups the images of a batch that can run through a network together.

    Args:
        keys: of each image; those of one group are equal.

    Returns:
        The positions of each group, in the order of its first image.
    """
    groups: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def build_runner(cfg: dict) -> Runner:
    """Builds the runner of a config, "Semantic" where the section `runner` does not name one, and its refiners.

    Args:
        cfg: the sections.

    Raises:
        ConfigError: a part cannot be built, or refiners are named for a runner whose predictions are no maps.
    """
    runner: Runner = build({"type": "Semantic", **(cfg.get("runner") or {})}, RUNNERS, "runner")
    runner.inference = InferenceSettings(**(cfg.get("inference") or {}))
    for at, rows in _refiners_of(cfg).items():
        if rows and not runner.predicts_maps:
            raise ConfigError(
                f"{at} = {', '.join(str(row.get('type')) for row in rows)}: refiners take the probabilities of classes "
                f"at each pixel, and the runner {type(runner).__name__} predicts none; remove them, or predict label "
                "maps (runner 'Semantic' or 'Incremental')"
            )
    rows = runner.inference.refiners
    runner.refiners = [build(row, REFINERS, f"inference.refiners.{i}").eval() for i, row in enumerate(rows)]
    return runner


def _refiners_of(cfg: dict) -> dict[str, list[dict]]:
    """Rows of refiners by their config path: those of `inference`, and of test sets with an inference of their own."""
    test = cfg.get("test") or {}
    sets = {"test": test} if {"dataset", "transforms"} & set(test) else {f"test.{n}": test[n] for n in test}
    sections = {"inference": cfg.get("inference")}
    sections |= {f"{at}.inference": (section or {}).get("inference") for at, section in sets.items()}
    return {f"{at}.refiners": (section or {}).get("refiners") or [] for at, section in sections.items()}

"""Class-incremental learning: runs of MiB and of the methods it is compared with.

MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718. B batch, K classes before a step, C after it.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.config import merged
from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, OneOf
from segkit.data.incremental.class_steps import ClassSteps
from segkit.data.incremental.plan import BACKGROUND, CONVENTIONS, SETTINGS, ClassPlan, make_plan
from segkit.data.incremental.replay import MEMORY, Replay
from segkit.engine import setup
from segkit.engine.hooks import Hook
from segkit.engine.world import bring
from segkit.models import growing_segmentor
from segkit.models.bases import Network
from segkit.models.growing_segmentor import GrowingSegmentor
from segkit.models.segmentor import Segmentor
from segkit.models.two_branches import merge_branches
from segkit.registry import LOSSES, RUNNERS, ConfigError, did_you_mean
from segkit.runners.base import bare
from segkit.runners.incremental.checks import check_growth, check_later, check_penalty, check_recipe
from segkit.runners.incremental.embedding_cache import EmbeddingCache
from segkit.runners.incremental.feature_replay import REPLAYS, FeatureReplay, kept_names
from segkit.runners.incremental.first_pass import observe, unready_losses
from segkit.runners.incremental.frozen import checked_patterns, groups_of_step, stay_in_evaluation, train_only
from segkit.runners.incremental.fusion import FUSIONS, fuse_endpoints
from segkit.runners.incremental.memory import memory_settings, remember
from segkit.runners.incremental.proposals import check_inference, with_proposals
from segkit.runners.incremental.regularisers import REGULARISERS, Regulariser
from segkit.runners.incremental.scores import StepScores
from segkit.runners.incremental.steps import (
    RESERVED,
    grow_to,
    grown_name,
    grown_names,
    load_before,
    parameters_before,
    step_sections,
)
from segkit.runners.semantic import Semantic
from segkit.types import Batch, Outputs, Prediction, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

INITS: dict[str, Callable[[Segmentor], None]] = {
    "balanced": growing_segmentor.init_balanced,
    "random": growing_segmentor.init_random,
    "auxiliary": growing_segmentor.init_auxiliary,
    "unknown": growing_segmentor.init_unknown,
    RESERVED: lambda model: None,
}
"""How the newest outputs of a model start, by the value of runner.init."""

MERGES = ("exact", "as_published")
"""Values of runner.merge."""

TEACHER = "teacher."
"""Prefix of the teacher's outputs in the rows of losses."""


@RUNNERS.register
class Incremental(Semantic):
    """Trains one stage per class step; from the second on, the model of the step before grows and is the teacher.

    Class weights by name in losses are computed from the labels of each step.

    Args:
        losses: rows for all steps after the first, which trains with the config's. They may name the teacher's
            outputs, "teacher.logits", the backbone's maps, "features.i" and "teacher.features.i", and what is kept of
            old classes, see feature_replay.
        task, steps, setting, convention, background, order_seed, lists, saliency, proposals: which classes, images,
            labels and proposed regions each step sees; arguments of the data set ClassSteps, which every data section
            is put into.
        init: how new outputs start, "balanced" (MiB), "random", "auxiliary" (DKD: as copies of the auxiliary output),
            "unknown" (SSUL: as copies of the head for unknown objects) or "reserved" (DFT*: the outputs of all steps
            train from the first on; predictions name classes that are learned alone).
        later: sections that are merged over the config's after the first step, such as
            dict(optimizer=dict(lr=1e-3), loop=dict(steps=500)).
        regulariser: dict(type="EWC", "PI" or "RW", ...), a penalty on weights that move; None for none.
        train_only: after the first step, patterns of the parameters that train, see frozen.train_only; () for all.
        evaluation_mode: whether, after the first step, the model trains in evaluation mode, its normalizations fixed.
        fuse: "endpoints" fuses the weights of a step with those of the step before at its end (EWF); None for none.
        memory: dict(size=100, rule="round_robin" or "greedy", mix="concat" or "half"), images of earlier steps that are
            replayed with the labels of all classes seen so far, see memory.MemorySettings; None for none.
        cache_gb: where only the last classifier trains, gigabytes on disk for what the network makes of the images, in
            the folder embeddings of the run; 0 for none.
        replay: how features of old classes are drawn where rows read "replay.logits": "lengths" from stored directions
            and lengths (STAR), "directions" and "class_directions" without lengths (STAR-Basic), "inverted" and
            "class_inverted" from the old classifier, with nothing stored (STAR-Lite), see feature_replay.
        merge: folds the two branches of RCIL's network into the first at the end of each step: "exact" keeps what the
            model computes, "as_published" does not, see models.two_branches; None for neither.
        start: checkpoint that replaces the training of the first step; the scores beside it are the first step's.
        probabilities: as in Semantic.

    Raises:
        ConfigError: init or regulariser has no such value.
    """

    configs = {"losses": LOSSES}

    plan: ClassPlan
    kept: FeatureReplay
    step: int
    _loop: "Loop"
    _levels: dict[str, Outputs]
    _wants_teacher: bool
    _wants_features: bool

    def __init__(
        self,
        losses: list[dict],
        task: str | None = None,
        *,
        steps: Sequence[Sequence[int | str]] | None = None,
        setting: Annotated[str, OneOf(SETTINGS)] = "overlapped",
        convention: Annotated[str, OneOf(CONVENTIONS)] = "official",
        background: str | int | None = BACKGROUND,
        order_seed: NonNegativeInt | None = None,
        lists: str | None = None,
        saliency: str | None = None,
        proposals: str | None = None,
        init: Annotated[str, OneOf(INITS)] = "balanced",
        later: dict | None = None,
        regulariser: dict | None = None,
        train_only: str | Sequence[str] = (),
        evaluation_mode: bool = False,
        fuse: Annotated[str, OneOf(FUSIONS)] | None = None,
        memory: dict | None = None,
        cache_gb: NonNegativeFloat = 0.0,
        replay: Annotated[str, OneOf(REPLAYS)] = "lengths",
        merge: Annotated[str, OneOf(MERGES)] | None = None,
        start: str | None = None,
        probabilities: bool = False,
    ):
        super().__init__(probabilities)
        if init not in INITS:
            raise ConfigError(
                f"runner.init = {init!r}: must be one of {', '.join(map(repr, INITS))}{did_you_mean(init, INITS)}"
            )
        check_penalty(regulariser)
        self.losses, self.later, self.init, self.first = losses, later or {}, init, start
        self.task: dict[str, Any] = dict(task=task, steps=steps, background=background, order_seed=order_seed)
        self.images = {**self.task, "setting": setting, "convention": convention, "lists": lists}
        self.images |= {"saliency": saliency, "proposals": proposals}
        self.penalty = dict(regulariser or {})
        self.patterns, self.evaluation_mode = checked_patterns(train_only), evaluation_mode
        self.fuse, self.memory, self.cache_gb = fuse, memory_settings(memory), cache_gb
        self.merge, self.replay = merge, REPLAYS[replay]
        self.cache: EmbeddingCache | None = None
        self.regulariser: Regulariser | None = None
        self.teacher: Segmentor | None = None
        self._saved: dict | None = None
        self._old: dict[str, Tensor] | None = None

    def stages(self, cfg: dict, datasets: setup.DataSets) -> list[Stage]:
        """Returns one stage per class step, in the folders step0, step1, ...

        Raises:
            ConfigError: the task does not fit the data set, or a later step could not begin.
        """
        self.plan = make_plan(datasets.get(cfg["train"]["dataset"], "train.dataset"), **self.task)
        check_recipe(cfg, init=self.init, has_penalty=bool(self.penalty), fuses=self.fuse is not None)
        first = Stage("step0", self._sections(cfg, 0))
        changed = merged(dict(cfg), self.later) | {"losses": self.losses, "init": None}
        later = {key: changed[key] for key in changed if key in (*self.later, "losses", "init")}
        stages = [first]
        for number in range(1, len(self.plan.steps)):
            overrides = later | self._sections(changed, number)
            if "optimizer" in later:
                overrides["optimizer"] = groups_of_step(later["optimizer"], number, len(self.plan.steps))
            stages.append(Stage(f"step{number}", overrides))
        if len(stages) > 1:
            check_later(cfg, stages[1].overrides, self.later)
            check_growth(
                cfg,
                self.plan,
                INITS[self.init],
                self.losses,
                is_reserved=self.init == RESERVED,
                patterns=self.patterns,
                caches=self.cache_gb > 0,
                merge=self.merge,
            )
        return stages

    def _sections(self, cfg: dict, number: int) -> dict[str, Any]:
        replay = None
        if self.memory is not None and number:
            replay = (str(self._memory_of(number - 1)), self.memory.mix)
        is_reserved = self.init == RESERVED
        return step_sections(cfg, self.plan, number, self.images, is_reserved=is_reserved, replay=replay)

    def _memory_of(self, number: int) -> Path:
        """The file of the memory that a step leaves: beside the checkpoint that stands for it, where one does."""
        folder = self.folder / f"step{number}"
        return (Path(self.first).parent if number == 0 and self.first is not None else folder) / MEMORY

    def check_start(self, cfg: dict) -> None:
        """Loads the checkpoint that replaces the first step's training, where there is one.

        Raises:
            ConfigError: it is missing, or does not fit the task.
        """
        if self.first is not None:
            load_before(cfg["model"], self.plan, 1, Path(self.first), is_reserved=self.init == RESERVED)

    def hooks(self) -> tuple[Hook, ...]:
        """Returns the hook that writes the scores of the steps."""
        return (StepScores(None if self.first is None else Path(self.first)),)

    @property
    def first_stage(self) -> int:
        """Number of the stage that a new run begins with: 1 where `start` replaces the first step's training."""
        return 0 if self.first is None else 1

    def prepare(self, model: Network, stage: Stage, loop: "Loop") -> Network:
        """Returns the model of the step before, grown, in place of `model`; in the first step `model` itself.

        The model of the step before stays as the teacher.

        Raises:
            ConfigError: the checkpoint of the step before is missing, or does not fit the task.
        """
        self.step, self._loop = loop.stages.index(stage), loop
        self.teacher, self._old, self._saved = None, None, None
        if self.step == 0:
            self.kept = self._kept(None)
            return model
        before = loop.work_dir / f"step{self.step - 1}" / "last.pt"
        path = Path(self.first) if self.step == 1 and self.first else before
        bring(path)  # a machine may have a disk of its own
        is_reserved = self.init == RESERVED
        teacher, content = load_before(loop.cfg["model"], self.plan, self.step, path, is_reserved=is_reserved)
        student = copy.deepcopy(teacher)
        self.teacher = teacher.requires_grad_(False)
        grow_to(student, self.plan, self.step, is_reserved=is_reserved)
        self._old = parameters_before(student)
        INITS[self.init](student)
        if self.patterns:
            train_only(student, self.patterns, self.step, len(self.plan.steps))
        if self.evaluation_mode:
            stay_in_evaluation(student)
        self._saved = grown_names(content.get("runner", {}).get("regulariser"))
        self.kept = self._kept(content.get("runner", {}).get("statistics"))
        return student

    def _kept(self, old: dict[str, Tensor] | None) -> FeatureReplay:
        is_overlapped = self.images["setting"] == "overlapped"  # the other settings have each image in one step
        names = kept_names(self.losses)
        return FeatureReplay(self.plan, self.step, names, rule=self.replay, is_overlapped=is_overlapped, old=old)

    def holds_whole_models(self) -> str:
        """Returns why loop.shard is refused, where a part of the runner reads weights; see Runner."""
        readers = {"regulariser": self.penalty, "fuse": self.fuse, "memory": self.memory, "cache_gb": self.cache_gb}
        readers |= {"merge": self.merge, "losses": ", ".join(kept_names(self.losses))}
        return next((f"whose runner.{name} reads weights of the whole model" for name, on in readers.items() if on), "")

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Moves the teacher to the device, builds the regulariser, and looks up which outputs the rows name."""
        self._levels = {}
        self.kept.start(loop.device)
        model = cast(Segmentor, loop.raw_model)
        if self.teacher is not None:
            layout = torch.channels_last if loop.settings.channels_last else torch.preserve_format
            self.teacher.to(loop.device, memory_format=layout)  # type: ignore[call-overload]
            self._keep_features(self.teacher, TEACHER)
        names = {name for row in loop.criterion.rows for name in row.on}
        self._wants_teacher = self.kept.draws or any(name.startswith(TEACHER) for name in names)
        self._wants_features = any("features." in name for name in names)
        self._keep_features(model, "")
        if self.cache_gb and self.step:
            self.cache = EmbeddingCache(loop.work_dir / "embeddings", model, self.cache_gb)
        if self.penalty:
            kwargs = {key: value for key, value in self.penalty.items() if key != "type"}
            if self.step and not self._saved and dist.is_main():
                reason = f"the checkpoint before it has no state of {self.penalty['type']}"
                print(f"{stage.name}: {reason}, and this step trains without its penalty", flush=True)
            self.regulariser = REGULARISERS[self.penalty["type"]](model, self._old, saved=self._saved, **kwargs)

    def _keep_features(self, model: Segmentor, prefix: str) -> None:
        """Keeps the feature maps of each pass of the backbone under their names in the outputs."""

        def keep(module: nn.Module, arguments: Any, features: list[Tensor]) -> None:
            self._levels[prefix] = {f"{prefix}features.{i}": x for i, x in enumerate(features)}

        model.backbone.register_forward_hook(keep)

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model and, where a row names its outputs, the teacher without gradients; see Runner.forward."""
        batch = with_proposals(batch)
        if self.cache is not None:
            return self.cache.outputs(cast(Segmentor, bare(model)), batch["image"])
        if self.teacher is not None and (losses := unready_losses(self._loop)):
            observe(self.teacher, losses, self._loop, sum(self.plan.sizes(self.step)))
        if self.teacher is not None:
            self.kept.prepare(self.teacher, self._loop)
        # the teacher first: the memory of its pass is free again before the model's pass keeps its feature maps
        taught = self._taught(self.teacher, batch) if self._wants_teacher and self.teacher is not None else {}
        outputs = super().forward(model, batch, rng)
        outputs = outputs | (self._levels[""] if self._wants_features else {}) | taught
        return outputs | self.kept.outputs(bare(model), self.teacher, outputs, batch, rng)

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Predicts a batch, with its proposed regions where the data sets hold some; see Semantic.predict."""
        if "proposals" in batch:
            check_inference(self.inference)
        return super().predict(model, with_proposals(batch))

    @torch.no_grad()
    def _taught(self, teacher: Segmentor, batch: Batch) -> Outputs:
        outputs = {f"{TEACHER}{name}": value for name, value in teacher(batch["image"]).items()}
        # weights cast for this pass belong to the teacher alone, and no other pass needs them
        return outputs | self._levels[TEACHER] if self._wants_features else outputs

    def after_backward(self, model: nn.Module) -> dict[str, Tensor]:
        """Adds the gradient of the regulariser's penalty to that of the losses. Returns the penalty for the log."""
        return {} if self.regulariser is None else self.regulariser.after_backward(model)

    @torch.no_grad()
    def finish(self, loop: "Loop") -> None:
        """Fuses weights and merges branches, then keeps what the next step needs of this one's classes and images."""
        models = {id(model): model for model in (loop.raw_model, loop.eval_model)}.values()
        if self.fuse is not None and self.teacher is not None:
            old = {grown_name(name): value for name, value in self.teacher.state_dict().items()}
            num_old, num_new = sum(self.plan.sizes(self.step - 1)), len(self.plan.steps[self.step])
            for model in models:
                fuse_endpoints(model, old, num_old=num_old, num_new=num_new)
        if self.merge is not None:
            for model in models:
                merge_branches(model, as_published=self.merge == "as_published")
        self.kept.collect(cast(Segmentor, loop.eval_model), loop)
        if self.memory is not None and self.step + 1 < len(self.plan.steps):
            data = loop.dataset
            model = cast(GrowingSegmentor, loop.eval_model)
            is_training = model.training
            images = cast(ClassSteps, data.dataset if isinstance(data, Replay) else data)
            before = self._memory_of(self.step - 1) if self.step else None
            remember(loop, images, model.eval(), self.memory, before)
            model.train(is_training)

    def state_dict(self) -> dict[str, Any]:
        """Returns the classes of the steps so far, and what the next step needs of the regulariser and of them."""
        classes, sizes = self.plan.classes(self.step), self.plan.sizes(self.step)
        state: dict[str, Any] = {"classes": list(classes), "sizes": list(sizes), "images": self._images()}
        state |= self.kept.state_dict()
        return state | ({} if self.regulariser is None else {"regulariser": self.regulariser.state_dict()})

    def _images(self) -> dict[str, Any]:
        """Arguments that decide, beside the classes, which images and labels a step sees."""
        return {name: self.images[name] for name in ("setting", "convention", "lists")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a run in the middle of a step.

        Raises:
            ConfigError: the run is of another task.
        """
        classes, sizes = list(self.plan.classes(self.step)), list(self.plan.sizes(self.step))
        if state["classes"] != classes or state["sizes"] != sizes:
            raise ConfigError(
                f"runner: the checkpoint learned {state['sizes']} classes (last: {', '.join(state['classes'][-3:])}), "
                f"this task has {sizes} (last: {', '.join(classes[-3:])}); the task has changed: train in a new "
                "--work-dir"
            )
        for name, value in state.get("images", {}).items():
            if value != self.images[name]:
                raise ConfigError(
                    f"runner.{name} = {self.images[name]!r}: the checkpoint learned with {value!r}; the task has "
                    "changed: train in a new --work-dir"
                )
        self.kept.load_state_dict(state, self._loop.device)
        if self.regulariser is not None and "regulariser" in state:
            self.regulariser.load_state_dict(state["regulariser"])

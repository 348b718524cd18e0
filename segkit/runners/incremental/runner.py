"""Classes learned in steps: the runs of MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718, and of the
methods it is compared with. B batch, K classes before a step, C after it.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.config import merged
from segkit.data.incremental.plan import BACKGROUND, make_plan
from segkit.data.loader import to_device, train_loader
from segkit.engine import setup
from segkit.models import growing_segmentor
from segkit.registry import LOSSES, RUNNERS, ConfigError, did_you_mean
from segkit.runners.incremental.checks import check_growth, check_later, check_penalty
from segkit.runners.incremental.regularisers import REGULARISERS, Regulariser
from segkit.runners.incremental.scores import StepScores
from segkit.runners.incremental.steps import grown_names, load_before, parameters_before, step_sections
from segkit.runners.semantic import Semantic
from segkit.types import Batch, Outputs, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

INITS = {"balanced": growing_segmentor.init_balanced, "random": growing_segmentor.init_random}
TEACHER = "teacher."


@RUNNERS.register
class Incremental(Semantic):
    """One stage per class step: the model of the step before gains outputs, and it teaches.

    task, steps, setting, convention, background, order_seed, lists: which classes, images and labels each step sees,
    see the data set ClassSteps, which every data section is wrapped in. losses: the rows of all steps after the first,
    which trains with the config's; they may name the teacher's outputs, "teacher.logits", and the backbone's maps,
    "features.i" and "teacher.features.i". init: how new outputs start, "balanced" or "random". later: sections merged
    over the config's after the first step, such as dict(optimizer=dict(lr=1e-3), loop=dict(steps=500)).
    regulariser: dict(type="EWC", "PI" or "RW", ...), a penalty on weights that move. start: a checkpoint in place of
    the first step's training; the scores beside it are the first step's. Class weights by name are laws of the labels
    of each step. probabilities: as of Semantic.
    """

    configs = {"losses": LOSSES}

    def __init__(
        self,
        losses: list,
        task: str | None = None,
        *,
        steps: list | None = None,
        setting: str = "overlapped",
        convention: str = "official",
        background: str | int | None = BACKGROUND,
        order_seed: int | None = None,
        lists: str | None = None,
        init: str = "balanced",
        later: dict | None = None,
        regulariser: dict | None = None,
        start: str | None = None,
        probabilities: bool = False,
    ):
        super().__init__(probabilities)
        if init not in INITS:
            raise ConfigError(f"runner.init = {init!r}{did_you_mean(init, INITS)}; there are {', '.join(INITS)}")
        check_penalty(regulariser)
        self.losses, self.later, self.init, self.first = losses, later or {}, init, start
        self.task = dict(task=task, steps=steps, background=background, order_seed=order_seed)
        self.images = {**self.task, "setting": setting, "convention": convention, "lists": lists}
        self.penalty = dict(regulariser or {})
        self.regulariser: Regulariser | None = None
        self.teacher: nn.Module | None = None
        self._saved: dict | None = None
        self._old: dict[str, Tensor] | None = None
        self._loop: Loop = None

    def stages(self, cfg: dict, datasets: setup.DataSets) -> list[Stage]:
        """One per class step, in folders step0, step1, ...; ConfigError where the task does not fit the data set, or
        where a later step could not begin."""
        self.plan = make_plan(datasets.get(cfg["train"]["dataset"], "train.dataset"), **self.task)
        first = Stage("step0", step_sections(cfg, self.plan, 0, self.images))
        changed = merged(dict(cfg), self.later) | {"losses": self.losses, "init": None}
        later = {key: changed[key] for key in changed if key in (*self.later, "losses", "init")}
        stages = [first] + [
            Stage(f"step{number}", later | step_sections(changed, self.plan, number, self.images))
            for number in range(1, len(self.plan.steps))
        ]
        if len(stages) > 1:
            check_later(cfg, stages[1].overrides, self.later)
            check_growth(cfg, self.plan, INITS[self.init], self.losses)
        return stages

    def check_start(self, cfg: dict) -> None:
        """Reads what stands for the first step."""
        if self.first is not None:
            load_before(cfg["model"], self.plan, 1, Path(self.first))

    def hooks(self) -> tuple:
        """What writes the scores of the steps."""
        return (StepScores(None if self.first is None else Path(self.first)),)

    @property
    def first_stage(self) -> int:
        """Where a new run begins: after the first step where `start` stands for its training."""
        return 0 if self.first is None else 1

    def prepare(self, model: nn.Module, stage: Stage, loop: "Loop") -> nn.Module:
        """After the first step, in place of `model`: that of the step before, grown; it stays as the teacher."""
        self.step, self._loop = loop.stages.index(stage), loop
        self.teacher, self._old, self._saved = None, None, None
        if self.step == 0:
            return model
        before = loop.work_dir / f"step{self.step - 1}" / "last.pt"
        path = Path(self.first) if self.step == 1 and self.first else before
        self.teacher, content = load_before(loop.cfg["model"], self.plan, self.step, path)
        student = copy.deepcopy(self.teacher)
        self.teacher.requires_grad_(False)
        growing_segmentor.grow(student, len(self.plan.steps[self.step]))
        self._old = parameters_before(student)
        INITS[self.init](student)
        self._saved = grown_names(content.get("runner", {}).get("regulariser"))
        return student

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Brings teacher and regulariser to the device; the names of features the rows want are known from here on."""
        self._levels = {}
        model = loop.raw_model
        if self.teacher is not None:
            layout = torch.channels_last if loop.settings.channels_last else torch.preserve_format
            self.teacher.to(loop.device, memory_format=layout)
            self._listen(self.teacher, TEACHER)
        names = {name for row in loop.criterion.rows for name in row.on}
        self._wants_teacher = any(name.startswith(TEACHER) for name in names)
        self._wants_features = any("features." in name for name in names)
        self._listen(model, "")
        own = {key: value for key, value in self.penalty.items() if key != "type"}
        if self.penalty:
            kind = REGULARISERS[self.penalty["type"]]
            if self.step and not self._saved and dist.is_main():
                why = f"the checkpoint before it has no state of {self.penalty['type']}"
                print(f"{stage.name}: {why}, and this step trains without its penalty", flush=True)
            self.regulariser = kind(model, self._old, saved=self._saved, **own)

    def _listen(self, model: nn.Module, prefix: str) -> None:
        """Keeps the maps of the model's backbone, as it passes them on, under their names in the outputs."""

        def keep(_module: nn.Module, _given: Any, maps: list[Tensor]) -> None:
            self._levels[prefix] = {f"{prefix}features.{i}": x for i, x in enumerate(maps)}

        model.backbone.register_forward_hook(keep)

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """The model's outputs, and the teacher's, without a gradient, where a row names them."""
        if self._unobserved():
            self._observe()
        # the teacher first: what its pass holds is free again before the model's pass keeps its maps
        taught = self._taught(batch) if self._wants_teacher else {}
        outputs = super().forward(model, batch, rng)
        return outputs | (self._levels[""] if self._wants_features else {}) | taught

    @torch.no_grad()
    def _taught(self, batch: Batch) -> Outputs:
        outputs = {f"{TEACHER}{name}": value for name, value in self.teacher(batch["image"]).items()}
        # weights cast for this pass belong to the teacher alone, and no other pass needs them
        return outputs | self._levels[TEACHER] if self._wants_features else outputs

    def _unobserved(self) -> list[nn.Module]:
        """Losses that look at the training images once before the step (PLOP's thresholds) and have not yet."""
        if self.teacher is None:
            return []
        return [loss for loss in self._loop.criterion.losses if not getattr(loss, "is_ready", True)]

    @torch.no_grad()
    def _observe(self) -> None:
        """Shows the teacher's answers to all training images, augmented as in the first epoch, to those losses."""
        loop, losses = self._loop, self._unobserved()
        data = loop.data_settings
        images = train_loader(
            loop.items,
            loop.sampler,
            batch_size=data.batch_size,
            workers=data.workers,
            rank=dist.rank(),
            world_size=dist.world_size(),
        )
        for _ in range(-(-len(loop.dataset) // (data.batch_size * dist.world_size()))):
            batch = to_device(next(images), loop.device)
            logits = self.teacher(batch["image"])["logits"].float()
            size = tuple(batch["mask"].shape[-2:])
            logits = nn.functional.interpolate(logits, size, mode="bilinear", align_corners=self.teacher.align_corners)
            for loss in losses:
                loss.observe(logits, batch["mask"], sum(self.plan.sizes(self.step)))
        for loss in losses:
            loss.finish()

    def after_backward(self, model: nn.Module) -> dict[str, Tensor]:
        """The regulariser's penalty, its gradient added to that of the losses."""
        return {} if self.regulariser is None else self.regulariser.after_backward(model)

    def state_dict(self) -> dict[str, Any]:
        """The classes of the steps so far, and the regulariser's state, which the next step needs as well."""
        classes, sizes = self.plan.classes(self.step), self.plan.sizes(self.step)
        state: dict[str, Any] = {"classes": list(classes), "sizes": list(sizes), "images": self._images()}
        return state | ({} if self.regulariser is None else {"regulariser": self.regulariser.state_dict()})

    def _images(self) -> dict[str, Any]:
        """What decides, beside the classes, which images and labels a step sees."""
        return {name: self.images[name] for name in ("setting", "convention", "lists")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a run in the middle of a step. ConfigError where it is another task's."""
        own = (list(self.plan.classes(self.step)), list(self.plan.sizes(self.step)))
        if (state["classes"], state["sizes"]) != own:
            names = [", ".join(classes[-3:]) for classes in (state["classes"], own[0])]
            raise ConfigError(
                f"runner: the checkpoint learned {state['sizes']} classes (last: {names[0]}), this task has {own[1]} "
                f"(last: {names[1]}); the task has changed: train in a new --work-dir"
            )
        for name, value in state.get("images", {}).items():
            if value != self.images[name]:
                raise ConfigError(
                    f"runner.{name} = {self.images[name]!r}: the checkpoint learned with {value!r}; the task has "
                    "changed: train in a new --work-dir"
                )
        if self.regulariser is not None and "regulariser" in state:
            self.regulariser.load_state_dict(state["regulariser"])

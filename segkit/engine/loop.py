"""The one training loop. What changes numbers stands here; what only observes is a hook."""

import contextlib
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit import __version__, dist
from segkit.config import plain_values
from segkit.criterion import build_criterion
from segkit.data.loader import to_device, train_loader
from segkit.engine import checkpoint, setup
from segkit.engine.evaluate import evaluate
from segkit.engine.fit_to_labels import fit_to_labels
from segkit.engine.optim import Ema, all_finite, build_optimizer
from segkit.engine.schedules import LearningRate
from segkit.registry import SCHEDULES, ConfigError, build_model
from segkit.settings import LoopSettings, WarmupSettings
from segkit.types import Batch, Stage


class NonFiniteLoss(RuntimeError):
    """A loss or weight that is NaN or infinite; the message names term, step and the files of the batch."""


class Loop:
    """Steps one model through the stages of a run.

    cfg: checked sections; runner: what the model is fed; hooks: observers in their order; work_dir: the run's folder;
    stage: number of the stage to begin with.
    """

    def __init__(
        self, cfg: dict, runner: Any, *, work_dir: Path, device: torch.device, hooks: tuple = (), stage: int = 0
    ):
        self.cfg, self.runner, self.hooks = cfg, runner, hooks
        self.work_dir, self.device = work_dir, device
        self.stage_number, self.step = stage, 0
        self.best: float | None = None
        self.is_stopping = False
        self.stages = runner.stages(cfg)
        if not 0 <= stage < len(self.stages):
            raise ConfigError(f"--from-step {stage}: this run has the steps 0 to {len(self.stages) - 1}")
        self.begin(self.stages[stage])

    def begin(self, stage: Stage) -> None:
        """Builds data, model, criterion and optimizer of a stage; torch's generators start from the seed."""
        self.stage, self.stage_cfg = stage, self.cfg | stage.overrides
        cfg = self.stage_cfg
        self.settings = settings = LoopSettings(**cfg.get("loop", {}))
        self.amp_dtype = setup.amp_dtype(settings.amp, self.device)
        self.items, self.sampler, self.data_settings = setup.build_training(cfg["train"], settings.seed)
        self.dataset = self.items.dataset
        self.val = setup.build_evaluation(cfg["val"], "val", self.device) if cfg.get("val") else None
        self.metrics = setup.build_metrics(cfg.get("metrics", []))
        torch.manual_seed(settings.seed)  # here, since a data set that scans its masks may draw numbers
        model = build_model(cfg["model"])
        self.init_report = setup.initialise(model, cfg.get("init"))
        model = self.runner.prepare(model, stage, self)
        self._check_classes(model)
        if settings.sync_bn:
            model = setup.convert_norms(model, self.device)
        if settings.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.raw_model = model.to(self.device)
        self.criterion = build_criterion(
            cfg["losses"],
            model.align_corners,
            weighting=cfg.get("weighting"),
            epoch_steps=max(len(self.dataset) // self.images_per_step, 1),
        ).to(self.device)
        self.optimizer = build_optimizer(cfg["optimizer"], self.raw_model, self.criterion)
        self.ema = Ema(self.raw_model, settings.ema) if settings.ema else None
        self.model = setup.wrap(self.raw_model, settings, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype == torch.float16)
        self.total_steps = self._total_steps()
        own = dict(cfg.get("schedule") or {"type": "Poly"})
        warmup = WarmupSettings(**own.pop("warmup")) if own.get("warmup") else None
        self.learning_rate = LearningRate(
            self.optimizer, setup.build(own, SCHEDULES, "schedule"), self.total_steps, warmup
        )
        self.pending: list[tuple[int, list[str], dict[str, Tensor]]] = []
        self.read: list[dict[str, float]] = []
        self.seconds = {"data": 0.0, "all": 0.0}
        torch.manual_seed(settings.seed + 1000003 * (1 + dist.rank()))  # dropout differs between processes
        self.runner.start(stage, self)

    def fit(self) -> None:
        """Trains all stages that are not finished."""
        for number, stage in enumerate(self.stages):
            if number < self.stage_number:
                continue
            if number > self.stage_number:
                self.stage_number, self.step, self.best = number, 0, None
                dist.barrier()  # a stage may begin with what the main process has just written
                self.begin(stage)
            with self._stopping_softly():
                self._run_stage()
            if self.is_stopping:
                return
            for hook in self.hooks:
                hook.after_stage(self)

    def _run_stage(self) -> None:
        fit_to_labels(self)
        data = self._batches()
        self.model.train()
        while self.step < self.total_steps and not self.is_stopping:
            start = time.perf_counter()
            batches = [to_device(next(data), self.device) for _ in range(self.settings.accumulate)]
            self.seconds["data"] += time.perf_counter() - start
            terms = self.train_step(batches)
            self.pending.append((self.step, [m["path"] for b in batches for m in b["meta"]], terms))
            self.runner.after_step(self)
            self.seconds["all"] += time.perf_counter() - start
            for hook in self.hooks:
                hook.after_step(self, terms)

    def train_step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """One optimizer step over `accumulate` batches; returns the mean of each weighted loss term."""
        terms: dict[str, Tensor] = {}
        self.learning_rate.set(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        for i, batch in enumerate(batches):
            is_last = i == len(batches) - 1
            sync = nullcontext() if is_last or not hasattr(self.model, "no_sync") else self.model.no_sync()
            rng = np.random.default_rng([self.settings.seed, self.step, i, dist.rank()])
            if self.settings.channels_last:
                batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
            with sync:
                with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype != torch.float32):
                    with setup.explaining(self.data_settings):
                        outputs = self.runner.forward(self.model, batch, rng)
                losses = self.criterion(outputs, batch, self.step)  # outside autocast: losses are float32
                self.scaler.scale(sum(losses.values()) / len(batches)).backward()
            for name, value in losses.items():
                terms[name] = terms.get(name, 0) + value.detach() / len(batches)
        self.scaler.unscale_(self.optimizer)
        terms |= self.runner.after_backward(self.raw_model)
        if self.settings.clip:
            terms["grad_norm"] = nn.utils.clip_grad_norm_(self.raw_model.parameters(), self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema:
            self.ema.update(self.raw_model, self.step)
        self.step += 1
        return terms

    @property
    def eval_model(self) -> nn.Module:
        """The module that is scored and published: the moving average where there is one."""
        return self.ema.module if self.ema else self.raw_model

    def evaluate(self) -> dict:
        """Scores of the validation set, on every process; hooks see each batch and the result."""
        if self.val is None:
            raise ConfigError("val: this section is missing; add it or set loop.eval_every = 0")
        scores = evaluate(
            self.runner,
            self.eval_model,
            self.val,
            self.metrics,
            device=self.device,
            dtype=self.amp_dtype,
            hooks=self.hooks,
            loop=self,
        )
        for hook in self.hooks:
            hook.after_eval(self, scores)
        return scores

    def drain(self) -> None:
        """Reads the loss terms of the last steps from the device; stops the run at the first that is not finite."""
        if not self.pending:
            return
        names = [(i, name) for i, (_, _, terms) in enumerate(self.pending) for name in terms]
        values = torch.stack([self.pending[i][2][name].float() for i, name in names]).tolist()
        bad = [k for k, (_, name) in enumerate(names) if name != "grad_norm" and not np.isfinite(values[k])]
        if int(dist.all_reduce_sum(torch.tensor(len(bad)))):
            self._stop_at(names[bad[0]] if bad else None)
        read: list[dict[str, float]] = [{} for _ in self.pending]
        for (i, name), value in zip(names, values):
            read[i][name] = value
        self.read += read
        self.pending.clear()

    def _stop_at(self, place: tuple[int, str] | None) -> None:
        if place is None:
            raise NonFiniteLoss("a loss is not finite on another process; see its message")
        step, paths, terms = self.pending[place[0]]
        raise NonFiniteLoss(
            f"loss term '{place[1]}' is {float(terms[place[1]])} at step {step}; batch: {', '.join(paths)}; nothing "
            "was saved after the last checkpoint. Lower optimizer.lr, set loop.clip, or look at these files"
        )

    def averages(self) -> dict[str, float]:
        """Mean of each term over the steps since the last call."""
        self.drain()
        names = dict.fromkeys(name for terms in self.read for name in terms)
        means = {name: float(np.mean([terms[name] for terms in self.read if name in terms])) for name in names}
        self.read = []
        return means

    def state_dict(self) -> dict[str, Any]:
        """All that an exact continuation needs; plain types and tensors only."""
        self.drain()
        if not all_finite([*self.raw_model.state_dict().values()]):
            raise NonFiniteLoss(
                f"a weight is not finite after step {self.step}; not saved. Lower optimizer.lr or set loop.clip"
            )
        state = dict(
            model=self.raw_model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            criterion=self.criterion.state_dict(),
            runner=self.runner.state_dict(),
            step=self.step,
            stage=self.stage_number,
            best=self.best,
            rng=dist.gather_objects(_rng_state()),
            config=plain_values(self.stage_cfg),
            classes=list(self.dataset.classes),
            palette=[list(color) for color in self.dataset.palette],
            segkit_version=__version__,
        )
        return state | ({"ema": self.ema.module.state_dict()} if self.ema else {})

    def load_state_dict(self, state: dict[str, Any], path: str | Path) -> None:
        """Takes up a run where its checkpoint left it. path: for messages."""
        if "optimizer" not in state:
            raise checkpoint.CheckpointError(f"{path}: holds weights only; start from it with init=dict(path=...)")
        if state["stage"] != self.stage_number:
            self.stage_number = state["stage"]
            self.begin(self.stages[self.stage_number])
        self.runner.load_state_dict(state["runner"])  # before the weights: it knows why they are of other shapes
        checkpoint.load_weights(self.raw_model, state["model"], path)
        if self.ema and "ema" in state:
            checkpoint.load_weights(self.ema.module, state["ema"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.criterion.load_state_dict(state["criterion"])
        self.step, self.best = state["step"], state["best"]
        _set_rng_state(state["rng"][dist.rank() % len(state["rng"])])

    @property
    def images_per_step(self) -> int:
        """Images of one optimizer step, over all processes."""
        return self.data_settings.batch_size * self.settings.accumulate * dist.world_size()

    def _batches(self) -> Any:
        return train_loader(
            self.items,
            self.sampler,
            batch_size=self.data_settings.batch_size,
            workers=self.data_settings.workers,
            prefetch=self.data_settings.prefetch,
            start=self.step * self.settings.accumulate,
            rank=dist.rank(),
            world_size=dist.world_size(),
            pin=self.device.type == "cuda",
        )

    def _total_steps(self) -> int:
        settings = self.settings
        if bool(settings.steps) == bool(settings.epochs):
            raise ConfigError("loop: give either steps or epochs")
        return settings.steps or -(-settings.epochs * len(self.dataset) // self.images_per_step)

    def _check_classes(self, model: nn.Module) -> None:
        classes, width = len(self.dataset.classes), getattr(model, "num_classes", None)
        if classes and width is not None and width != classes and not (width == 1 and classes == 2):
            raise ConfigError(f"model.num_classes = {width}: {type(self.dataset).__name__} has {classes} classes")

    @contextlib.contextmanager
    def _stopping_softly(self):
        """The first Ctrl-C ends the run after the current step; the second one at once."""

        def stop(number: int, frame: Any) -> None:
            self.is_stopping = True
            signal.signal(number, previous[number])

        previous: dict[int, Any] = {}
        if dist.world_size() == 1:
            with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
                previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _rng_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_rng_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

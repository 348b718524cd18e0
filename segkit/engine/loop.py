"""The training loop of all runners. What changes numbers stands here; what only observes is a hook."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from segkit import dist
from segkit.criterion import Criterion, build_criterion, with_ignore
from segkit.data.dataset import Dataset
from segkit.data.loader import TrainItems, train_loader
from segkit.data.samplers import Sampler
from segkit.data.statistics import resolve_class_weights
from segkit.engine import resume, setup
from segkit.engine.check_rows import check_gradients
from segkit.engine.device_batches import DeviceBatches
from segkit.engine.evaluate import evaluate
from segkit.engine.fit_to_labels import fit_to_labels
from segkit.engine.folder import made
from segkit.engine.monitor import Monitor, choose
from segkit.engine.notify import notify
from segkit.engine.optim import Ema, adapt, build_optimizer, moving_average
from segkit.engine.process import StopRequest, rng_state, stopping_softly
from segkit.engine.rescue import save_what_is_done
from segkit.engine.schedules import LearningRate, learning_rate
from segkit.engine.sharded_checkpoint import ShardedCheckpoints, filled
from segkit.engine.sharding import check_sharding, gathered_model, save_activations, shard, share_buffers
from segkit.engine.state import state_of, whole
from segkit.engine.terms import StepTerms
from segkit.engine.workers import explaining_workers
from segkit.models.bases import Network
from segkit.readers.shard_folder import is_shard_folder
from segkit.registry import ConfigError
from segkit.settings import LoopSettings, TrainSettings
from segkit.types import Batch, Stage

if TYPE_CHECKING:
    from segkit.engine.hooks import Hook
    from segkit.runners.base import Runner


class Loop:
    """Steps one model through the stages of a run.

    Args:
        cfg: the checked sections.
        runner: feeds the model and makes its predictions.
        work_dir: the run's folder.
        device: of model and batches.
        hooks: observers in their order.
        stage: number of the stage to begin with.
        datasets: data sets that are built already, by the check before training.
        resumes: whether load_state_dict will give the first stage its weights.

    Attributes:
        stage, stage_cfg, stage_number: the stage that runs, its sections and its number.
        step, total_steps: optimizer steps of the stage that are done, and all of them.
        raw_model, model: the module that holds the weights; the same wrapped for training.
        items, sampler, dataset: the training data.
        val: data of the validation, None without one.
        monitor: the score that best.pt goes by, None without a validation.
        best: best value of that score so far, None before the first.
        scored_step, saved_step: the last step that was scored, and that last.pt holds; -1 for none.
        is_stopping: set, on all processes, to end the run after the current step.
        is_between_steps: whether no step has begun since the last whole one.
        is_whole: whether the state is that after `step`, and not that of a half updated one.
        rng_before: torch's generators before the step that runs.
        seconds: of the steps alone since the last line of the log ("all"), and of them for the wait for data ("data").
        init_report: what section `init` loaded, one line.
        shards: writes the checkpoints of a model that processes share out among them, None without.
    """

    cfg: dict
    runner: "Runner"
    hooks: "tuple[Hook, ...]"
    work_dir: Path
    device: torch.device
    datasets: setup.DataSets
    stages: list[Stage]
    stage_number: int
    step: int
    monitor: Monitor | None
    best: float | None
    unimproved: int
    scored_step: int
    saved_step: int
    resumes: bool
    is_stopping: bool
    is_between_steps: bool
    is_whole: bool
    _is_checked: bool
    rng_before: dict[str, Tensor]

    stage: Stage
    stage_cfg: dict
    settings: LoopSettings
    amp_dtype: torch.dtype
    items: TrainItems
    sampler: Sampler
    data_settings: TrainSettings
    dataset: Dataset
    val: setup.Evaluation | None
    metrics: list
    init_report: str
    raw_model: Network
    model: nn.Module
    criterion: Criterion
    optimizer: Optimizer
    ema: Ema | None
    shards: ShardedCheckpoints | None
    scaler: torch.amp.GradScaler
    total_steps: int
    learning_rate: LearningRate
    terms: StepTerms
    seconds: dict[str, float]

    def __init__(
        self,
        cfg: dict,
        runner: "Runner",
        *,
        work_dir: Path,
        device: torch.device,
        hooks: "Sequence[Hook]" = (),
        stage: int = 0,
        datasets: setup.DataSets | None = None,
        resumes: bool = False,
    ):
        self.cfg, self.runner, self.hooks = cfg, runner, tuple(hooks)
        self.work_dir, self.device, runner.folder = work_dir, device, work_dir
        self.datasets, self.stop_request = datasets or setup.DataSets(), StopRequest()
        self.stage_number, self.step, self.resumes = stage, 0, resumes
        self.best, self.is_stopping, self.shards = None, False, None
        self.stages = runner.stages(cfg, self.datasets)
        if not 0 <= stage < len(self.stages):
            last = len(self.stages) - 1
            way_out = f"this run has the steps 0 to {last}" if last else "this run has no class steps; leave it out"
            raise ConfigError(f"--from-step {stage}: {way_out}")
        self.begin(self.stages[stage])

    def begin(self, stage: Stage) -> None:
        """Builds data, model, criterion and optimizer of a stage; torch's generators start from the seed."""
        self.stage, self.stage_cfg = stage, self.cfg | stage.overrides
        cfg = self.stage_cfg
        self.settings = settings = LoopSettings(**cfg.get("loop", {}))
        if settings.deterministic:
            setup.be_deterministic()
        self.amp_dtype = setup.amp_dtype(settings.amp, self.device)
        self.items, self.sampler, self.data_settings = setup.build_training(cfg["train"], settings.seed, self.datasets)
        self.dataset = self.items.dataset
        self.val = None
        if cfg.get("val"):
            stored = dict(needs_stored=self.runner.needs_stored, keep_stored=self.runner.keep_stored)
            self.val = setup.build_evaluation(cfg["val"], "val", self.device, self.datasets, **stored)
        self.datasets.forget_unused()
        self.metrics = setup.build_metrics(cfg.get("metrics", []), default=self.runner.default_metrics)
        self.monitor = choose(settings, self.metrics, self.val.dataset) if self.val else None
        setup.check_patience(settings, has_val=self.val is not None)
        self.scored_step, self.saved_step, self.unimproved = -1, -1, 0
        self.is_between_steps, self.is_whole, self._is_checked = True, True, False
        cfg["losses"] = resolve_class_weights(cfg["losses"], self.dataset)
        torch.manual_seed(settings.seed)  # here, since a data set that scans its masks may draw numbers
        built = setup.start_model(cfg["model"], resumes=self.resumes)
        self.init_report = "" if self.resumes else setup.initialise(built, cfg.get("init"))
        network = self.runner.prepare(built, stage, self)
        setup.check_classes(network, self.dataset)
        model: nn.Module = setup.convert_norms(network, self.device) if settings.sync_bn else network
        save_activations(model, settings)
        model = setup.suited(model, settings, self.device, self.amp_dtype)
        # a sharded model goes to the device part by part, which need not hold it whole
        self.raw_model = cast(Network, model if settings.shard != "off" else model.to(self.device))
        self.criterion = build_criterion(
            with_ignore(cfg["losses"], self.dataset.ignore, type(self.dataset).__name__),
            self.raw_model.align_corners,
            weighting=cfg.get("weighting"),
            epoch_steps=max(self.sampler.epoch // self.images_per_step, 1),
        ).to(self.device)
        check_sharding(settings, self.runner, self.raw_model, self.criterion)
        frozen = adapt(cfg["optimizer"], self.raw_model)
        self.ema = moving_average(self.raw_model, settings)
        self.shards = self.shards or (ShardedCheckpoints(settings.process_timeout) if settings.shard != "off" else None)
        for sharded in (self.raw_model, *([self.ema.module] if self.ema else [])) if self.shards else ():
            shard(sharded, self.device, self.amp_dtype)
        self.optimizer = build_optimizer(cfg["optimizer"], self.raw_model, self.criterion, frozen)
        self.model = setup.wrap(self.raw_model, settings, self.device)
        if settings.compile:
            self.criterion.compile_losses()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_dtype == torch.float16)
        self.total_steps = setup.total_steps(settings, self.sampler.epoch, self.images_per_step)
        self.items.images_per_step, self.items.total_steps = self.images_per_step, self.total_steps
        self.learning_rate = learning_rate(cfg.get("schedule"), self.optimizer, self.total_steps)
        self.terms, self.seconds = StepTerms(), {"data": 0.0, "all": 0.0}
        torch.manual_seed(settings.seed + 1000003 * (1 + dist.rank()))  # dropout differs between processes
        self.runner.start(stage, self)

    def fit(self) -> None:
        """Trains all stages that are not finished."""
        for number, stage in enumerate(self.stages):
            if number < self.stage_number:
                continue
            if number > self.stage_number:
                self.stage_number, self.step, self.best, self.resumes = number, 0, None, False
                dist.barrier()  # a stage may begin with what the main process has just written
                self.begin(stage)
            with stopping_softly(self, self.stop_request):
                try:
                    with explaining_workers("train", self.data_settings.workers, self.data_settings.timeout):
                        self._run_stage()
                except BaseException as error:
                    save_what_is_done(self, error)
                    raise
                if self.is_stopping:
                    notify(self.hooks, "after_break", self, None)
            if self.is_stopping:
                return
            notify(self.hooks, "after_stage", self)

    def _run_stage(self) -> None:
        fit_to_labels(self)
        data = DeviceBatches(self.batches(), self.device, self.settings.accumulate, self.total_steps - self.step)
        self.model.train()
        notify(self.hooks, "before_stage", self)
        if self.step:
            notify(self.hooks, "after_resume", self)
        data.start()
        while self.step < self.total_steps and not self.is_stopping:
            start = time.perf_counter()
            batches = data.take()
            self.seconds["data"] += time.perf_counter() - start
            self.rng_before = rng_state()
            self.is_between_steps = False
            terms = self.train_step(batches)
            data.prepare()
            self.terms.add(self.step, [meta["path"] for batch in batches for meta in batch["meta"]], terms)
            self.runner.after_step(self)
            if self.step >= self.total_steps:
                self.runner.finish(self)  # before the last evaluation, and before the last checkpoint
            self.is_between_steps = self.is_whole = True
            self.seconds["all"] += time.perf_counter() - start
            self.is_stopping |= self.stop_request.is_agreed()
            notify(self.hooks, "after_step", self, terms)
        self.is_stopping = self.is_stopping or self.stop_request.is_agreed_at_last()

    def train_step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """Makes one optimizer step over `accumulate` batches. Returns the mean of each weighted loss term."""
        terms: dict[str, Tensor] = {}
        self.learning_rate.set(self.step)
        self.raw_model.start_step(self.step, self.total_steps)
        self.optimizer.zero_grad(set_to_none=True)
        for i, batch in enumerate(batches):
            rng = np.random.default_rng([self.settings.seed, self.step, i, dist.rank()])
            if self.settings.channels_last:
                batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
            for j, weight in enumerate(weights := self.runner.pass_weights(rng)):
                is_last = j == len(weights) - 1
                with self._averaged(is_last and i == len(batches) - 1):
                    with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype != torch.float32):
                        with setup.explaining(self.data_settings):
                            outputs = self.runner.forward(self.model, batch, rng)
                    losses = self.criterion(outputs, batch, self.step)  # outside autocast: losses are float32
                    self.scaler.scale(sum(losses.values()) * weight / len(batches)).backward()
                for name, value in losses.items():
                    terms[name] = terms.get(name, 0) + value.detach() * weight / len(batches)
                if not is_last:
                    self.runner.between_passes(self.model, outputs, batch, rng)
        if not self._is_checked:
            check_gradients(self.raw_model)
            self._is_checked = True
        self.scaler.unscale_(self.optimizer)
        terms |= self.runner.after_backward(self.raw_model)
        if self.settings.clip:
            norm = nn.utils.clip_grad_norm_(self.raw_model.parameters(), self.settings.clip)
            terms["grad_norm"] = dist.gathered(norm)
        self.is_whole = False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.shards:
            share_buffers(self.raw_model)
        if self.ema:
            self.ema.update(self.raw_model, self.step)
        self.step += 1
        return terms

    def _averaged(self, is_last: bool) -> AbstractContextManager:
        """Around a pass: gradients of several processes are averaged once a step, in its last backward pass."""
        model = self.model
        return nullcontext() if is_last or not isinstance(model, DistributedDataParallel) else model.no_sync()

    @property
    def eval_model(self) -> Network:
        """The module that is scored and published: the moving average where there is one."""
        return cast(Network, self.ema.module) if self.ema else self.raw_model

    @property
    def folder(self) -> Path:
        """The folder of the stage that runs, made where it is missing, by the process that writes to it."""
        return made(self.work_dir / self.stage.name if self.stage.name else self.work_dir)

    def evaluate(self) -> dict[str, Any]:
        """Scores the validation set, on every process; hooks see each batch and the result."""
        if self.val is None:
            raise ConfigError("val: this section is missing; add it or set loop.eval_every = 0")
        self.drain()  # scores of weights that are not finite say nothing
        notify(self.hooks, "before_eval", self)
        scores = evaluate(
            self.runner,
            gathered_model(self) if self.shards and self.runner.predicts_whole else self.eval_model,
            self.val,
            self.metrics,
            device=self.device,
            dtype=self.amp_dtype,
            hooks=self.hooks,
            loop=self,
        )
        self.scored_step = self.step
        value = self.monitor.value(scores) if self.monitor else None
        if self.monitor and value is not None:
            self.unimproved = 0 if self.monitor.is_better(value, self.best) else self.unimproved + 1
        try:
            notify(self.hooks, "after_eval", self, scores)
        except BaseException:
            self.scored_step = -1  # what the hooks make of the scores is made when the run goes on
            raise
        self.end_with_patience()
        return scores

    def end_with_patience(self) -> None:
        """Makes this step the last one after loop.patience evaluations in a row without a better score."""
        if 0 < self.settings.patience <= self.unimproved:
            self.total_steps = self.step

    def drain(self, *, alone: bool = False) -> None:
        """Reads the loss terms of the last steps from the device; see StepTerms.drain."""
        self.seconds["all"] += self.terms.drain(alone=alone)  # a GPU is still busy with steps that were queued

    def averages(self) -> dict[str, float]:
        """Returns the mean of each term over the steps since the last call."""
        self.drain()
        return self.terms.averages()

    def state_dict(self, *, alone: bool = False) -> dict[str, Any]:
        """Returns all that an exact continuation needs; plain types and tensors only, whole on the main process.

        Args:
            alone: whether this process calls it without the others, whose random states are then missing.
        """
        state = state_of(self, alone=alone)
        return state if self.shards is None else whole(state)

    def load_state_dict(self, state: dict[str, Any], path: str | Path) -> list[str]:
        """Takes up a run where its checkpoint left it.

        Args:
            state: of state_dict.
            path: the checkpoint's file, for messages.

        Returns:
            Notes for the user on what differs from the checkpoint's run.

        Raises:
            CheckpointError: it lacks something, or does not fit this run.
            ConfigError: a value of the config makes it another training.
        """
        resume.check_state(state, path, len(self.stages))
        if state["stage"] != self.stage_number:
            self.stage_number = state["stage"]
            self.begin(self.stages[self.stage_number])
        if is_shard_folder(path):
            state = filled(self, state, Path(path))
        return resume.restore(self, state, path)

    @property
    def images_per_step(self) -> int:
        """Images of one optimizer step, over all processes."""
        return self.data_settings.batch_size * self.settings.accumulate * dist.world_size()

    def batches(self) -> Iterator[Batch]:
        """Returns the endless training batches from the current step on, still on the CPU."""
        return train_loader(
            self.items,
            self.sampler,
            batch_size=self.data_settings.batch_size,
            workers=self.data_settings.workers,
            prefetch=self.data_settings.prefetch,
            timeout=self.data_settings.timeout,
            start=self.step * self.settings.accumulate,
            rank=dist.rank(),
            world_size=dist.world_size(),
            pin=self.device.type == "cuda",
        )

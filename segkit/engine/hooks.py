"""Observers of the loop: the log, checkpoints, when to score, and pictures. None of them changes a number."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from segkit import dist
from segkit.engine import checkpoint
from segkit.engine.evaluate import flat_scores
from segkit.engine.pictures import comparison, shown
from segkit.registry import HOOKS, ConfigError
from segkit.types import Batch, Prediction

TRAIN_IOU = "train_iou"
NOT_LOSSES = ("grad_norm", TRAIN_IOU)
"""Terms of the log that are no losses."""


class Hook:
    """Base: all four do nothing. adds_terms: whether after_step adds to the terms, so that it comes before the log."""

    adds_terms = False

    def after_step(self, loop: Any, terms: dict[str, Tensor]) -> None:
        """After each optimizer step; terms stay on the device."""

    def after_batch(self, loop: Any, predictions: list[Prediction], batch: Batch) -> None:
        """After each batch of an evaluation."""

    def after_eval(self, loop: Any, scores: dict) -> None:
        """After an evaluation, on every process."""

    def after_stage(self, loop: Any) -> None:
        """After the last step of a stage."""


def is_due(step: int, every: int, total: int) -> bool:
    """Whether something done every so many steps (0 = at the end only) is due after this step."""
    return step == total or (every > 0 and step % every == 0)


@HOOKS.register
class Evaluate(Hook):
    """Scores the validation set every loop.eval_every steps and at the end."""

    def after_step(self, loop: Any, terms: dict[str, Tensor]) -> None:
        if loop.val is not None and is_due(loop.step, loop.settings.eval_every, loop.total_steps):
            loop.evaluate()


@HOOKS.register
class Log(Hook):
    """Losses, rates and scores: a bar on a terminal, lines elsewhere; log.jsonl and TensorBoard files in the folder."""

    def __init__(self, tensorboard: bool = True):
        self.tensorboard = tensorboard
        self._bar: Any = None
        self._writer: Any = None
        self._since = time.perf_counter()
        self._from_step: int | None = None

    def after_step(self, loop: Any, terms: dict[str, Tensor]) -> None:
        is_first = self._from_step is None
        self._from_step = loop.step - 1 if is_first else self._from_step
        if self._bar is None and dist.is_main() and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=loop.total_steps, initial=loop.step - 1, unit="step", dynamic_ncols=True)
        if self._bar is not None:
            self._bar.update(1)
        if is_due(loop.step, loop.settings.log_every, loop.total_steps) or is_first:
            self._write_losses(loop)

    def after_eval(self, loop: Any, scores: dict) -> None:
        flat = flat_scores(scores)
        line = "  ".join(f"{name} {value:.2f}" for name, value in flat.items() if name not in ("images",))
        self._say(f"step {loop.step}  val: {line}")
        self._record(loop, {"step": loop.step, "stage": loop.stage_number, "val": flat}, "val", flat)

    def after_stage(self, loop: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._writer is not None:
            self._writer.close()
        self._bar, self._writer, self._from_step = None, None, None

    def _write_losses(self, loop: Any) -> None:
        averages = loop.averages()
        seconds, steps = time.perf_counter() - self._since, max(loop.step - self._from_step, 1)
        self._since, self._from_step = time.perf_counter(), loop.step
        rate = max(group["lr"] for group in loop.optimizer.param_groups)
        losses = [value for name, value in averages.items() if name not in NOT_LOSSES]
        loss = sum(losses)
        share = loop.seconds["data"] / max(loop.seconds["all"], 1e-9)
        loop.seconds.update(data=0.0, all=0.0)
        left = (loop.total_steps - loop.step) * seconds / steps
        terms = "  ".join(f"{name} {value:.4f}" for name, value in averages.items())
        extra = f"  loss {loss:.4f}" if len(losses) > 1 else ""
        self._say(
            f"step {loop.step}/{loop.total_steps}  {terms}{extra}  lr {rate:.2e}  {seconds / steps:.3f} s/step "
            f"({share:.0%} data)  left {_clock(left)}"
        )
        record = {"step": loop.step, "stage": loop.stage_number, "loss": loss, **averages, "lr": rate}
        record |= {"seconds_per_step": round(seconds / steps, 4), "data_share": round(share, 4)}
        self._record(loop, record, "train", {"loss": loss, **averages, "lr": rate})

    def _say(self, line: str) -> None:
        if not dist.is_main():
            return
        if self._bar is not None:
            self._bar.write(line)
        else:
            print(line, flush=True)

    def _record(self, loop: Any, record: dict, prefix: str, scalars: dict[str, float]) -> None:
        if not dist.is_main():
            return
        folder = stage_folder(loop)
        with open(folder / "log.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")
        if self.tensorboard and self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder)
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(f"{prefix}/{name}", value, loop.step)

    def writer(self) -> Any:
        """The open TensorBoard writer, or None."""
        return self._writer


@HOOKS.register
class Checkpoint(Hook):
    """last.pt every loop.save_every steps and at the end, best.pt at the best loop.monitor, `keep` numbered ones."""

    def after_eval(self, loop: Any, scores: dict) -> None:
        settings = loop.settings
        value = scores
        for part in [settings.monitor] if settings.monitor in scores else settings.monitor.split("."):
            if not isinstance(value, dict) or part not in value:
                known = ", ".join(flat_scores(scores))
                raise ConfigError(f"loop.monitor = '{settings.monitor}': no such score; there are: {known}")
            value = value[part]
        if value is None:
            return
        sign = {"higher": 1, "lower": -1}.get(settings.better)
        if sign is None:
            raise ConfigError(f"loop.better = {settings.better!r}: it is 'higher' or 'lower'")
        if loop.best is None or sign * value > sign * loop.best:
            loop.best = float(value)
            self._save(loop, "best.pt")

    def after_step(self, loop: Any, terms: dict[str, Tensor]) -> None:
        if not is_due(loop.step, loop.settings.save_every, loop.total_steps) and not loop.is_stopping:
            return
        self._save(loop, "last.pt")
        if loop.settings.keep and dist.is_main():
            folder = stage_folder(loop)
            checkpoint.copy(folder / "last.pt", folder / f"step_{loop.step}.pt")
            for old in sorted(folder.glob("step_*.pt"), key=lambda p: int(p.stem[5:]))[: -loop.settings.keep]:
                old.unlink()

    def _save(self, loop: Any, name: str) -> None:
        state = loop.state_dict()
        if dist.is_main():
            checkpoint.save(stage_folder(loop) / name, state)
        dist.barrier()


@HOOKS.register
class Visualise(Hook):
    """After each evaluation a grid of the first images: image | truth | prediction, in pictures/ and TensorBoard."""

    def __init__(self, count: int = 4):
        self.count = count
        self._rows: list = []

    def after_batch(self, loop: Any, predictions: list[Prediction], batch: Batch) -> None:
        for i, prediction in enumerate(predictions):
            if len(self._rows) < self.count and "labels" in prediction and "mask" in batch:
                self._rows.append(shown(prediction, batch, i))

    def after_eval(self, loop: Any, scores: dict) -> None:
        from segkit.viz import draw

        rows, self._rows = self._rows, []
        if not rows or not dist.is_main():
            return
        dataset = loop.val[0]
        picture = comparison(rows, dataset.palette, dataset.classes)
        draw.save_png(stage_folder(loop) / "pictures" / f"val_{loop.step:07d}.png", picture)
        for hook in loop.hooks:
            if isinstance(hook, Log) and hook.writer() is not None:
                hook.writer().add_image("val", picture, loop.step, dataformats="HWC")


def stage_folder(loop: Any) -> Path:
    """The folder of the stage that runs, made where it is missing."""
    folder = loop.work_dir / loop.stage.name if loop.stage.name else loop.work_dir
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def standard_hooks() -> tuple[Hook, ...]:
    """Those of every run, in their order: scores come before the checkpoint that remembers them."""
    return (Evaluate(), Log(), Visualise(), Checkpoint())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"

"""Hooks of the loop: the log, checkpoints, when to score, and pictures. None of them changes a number."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from segkit import dist
from segkit.constraints.named import PositiveInt
from segkit.data.transforms.schedule import switches
from segkit.engine import checkpoint
from segkit.engine.evaluate import flat_scores
from segkit.engine.folder import claim
from segkit.engine.notify import notify, observing
from segkit.engine.pictures import comparison, row_of
from segkit.engine.progress import Progress
from segkit.files import DataError, read_text, write_whole
from segkit.registry import HOOKS
from segkit.types import Batch, Prediction

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from segkit.engine.loop import Loop

LOG = "log.jsonl"
"""File of the log in the folder of a stage."""

MOST_LOG = 1 << 31
"""Bytes of a log at most, ten million lines."""

NOT_LOSSES = ("grad_norm",)
"""Terms of the log that the loop adds and that are no losses."""


class Hook:
    """Base of all hooks: every method does nothing.

    Attributes:
        adds_terms: names that after_step adds to the terms, such as ("train_iou",); a hook that has some comes before
            the log, which tells them from losses.
        is_observer: whether a training goes on when the hook fails, with one warning: of what only shows something,
            such as pictures. It must leave the model in training mode also where it fails.
    """

    adds_terms: tuple[str, ...] = ()
    is_observer: bool = False

    def before_stage(self, loop: "Loop") -> None:
        """Called before the first step of a stage, and before the next step of a resumed one."""

    def after_resume(self, loop: "Loop") -> None:
        """Called before the next step of a resumed stage, after before_stage of all hooks."""

    def after_step(self, loop: "Loop", terms: dict[str, Tensor]) -> None:
        """Called after each optimizer step; terms stay on the device."""

    def before_eval(self, loop: "Loop") -> None:
        """Called before an evaluation, on every process."""

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Called after each batch of an evaluation; loop is None where no training runs."""

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        """Called after an evaluation, on every process."""

    def after_log(self, loop: "Loop", prefix: str, scalars: dict[str, float]) -> None:
        """Called on the main process with what is logged: prefix "train" (means since the last call) or "val"."""

    def after_picture(self, loop: "Loop", name: str, picture: np.ndarray) -> None:
        """Called on the main process with a picture of the validation, uint8 [H,W,3]."""

    def after_stage(self, loop: "Loop") -> None:
        """Called after the last step of a stage."""

    def after_break(self, loop: "Loop", error: BaseException | None) -> None:
        """Called when a stage ends before its last step, with the state after loop.step.

        Args:
            loop: the loop.
            error: what ended the stage, perhaps on this process alone: it must not wait for the others. None for a stop
                that all processes have agreed on.
        """


def drop_later_lines(path: Path, step: int, *, is_scored: bool) -> None:
    """Removes the lines of a log that a resumed run writes again, and a last one that was cut off.

    Args:
        path: log.jsonl of the stage; a missing one stays missing.
        step: of the checkpoint; 0 for a stage that begins.
        is_scored: whether the checkpoint's step was scored; otherwise the run scores it first.

    Raises:
        DataError: the file cannot be written.
    """
    if not path.is_file():
        return
    lines = read_text(path, most=MOST_LOG).splitlines()
    kept = [line for line in lines if _is_of(line, step, is_scored)]
    if kept != lines:
        write_whole(path, "".join(f"{line}\n" for line in kept))


def _is_of(line: str, step: int, is_scored: bool) -> bool:
    """Whether a line of the log is of a step that the checkpoint has done."""
    try:
        record = json.loads(line)
        at = record["step"]
    except (ValueError, KeyError, TypeError):
        return False  # cut off when the process died
    return at < step or (at == step and (is_scored or "val" not in record))


def is_due(step: int, every: int, total: int) -> bool:
    """Returns whether something done every so many steps (0 = at the end only) is due after this step."""
    return step == total or (every > 0 and step % every == 0)


@HOOKS.register
class Evaluate(Hook):
    """Scores the validation set every loop.eval_every steps and at the end.

    A run that was asked to stop does not score any more; it does so when it is resumed.
    """

    def after_resume(self, loop: "Loop") -> None:
        if loop.scored_step != loop.step:
            self._score(loop)

    def after_step(self, loop: "Loop", terms: dict[str, Tensor]) -> None:
        if not loop.is_stopping:
            self._score(loop)

    @staticmethod
    def _score(loop: "Loop") -> None:
        if loop.val is not None and is_due(loop.step, loop.settings.eval_every, loop.total_steps):
            loop.evaluate()


@HOOKS.register
class Log(Hook):
    """Writes losses, rates and scores: a bar on a terminal, lines elsewhere, log.jsonl and TensorBoard files.

    Seconds per step count the steps alone; the time left counts the evaluations that are left as well, and neither the
    start. A resumed run first takes out of log.jsonl what is beyond its checkpoint, so that each step stands in it
    once.

    Args:
        tensorboard: whether TensorBoard files are written.
    """

    def __init__(self, tensorboard: bool = True):
        self.tensorboard = tensorboard
        self._progress = Progress()
        self._writer: SummaryWriter | None = None
        self._from_step = self._resumed_at = 0
        self._is_first = True
        self._switches: list[int] = []

    def before_stage(self, loop: "Loop") -> None:
        if dist.is_main():
            drop_later_lines(loop.folder / LOG, loop.step, is_scored=loop.scored_step == loop.step)
        self._from_step, self._resumed_at, self._is_first = loop.step, loop.step, True
        self._switches = switches(loop.items.transforms, loop.total_steps)
        loop.seconds.update(data=0.0, all=0.0)
        self._progress.start(loop)

    def after_step(self, loop: "Loop", terms: dict[str, Tensor]) -> None:
        if is_due(loop.step, loop.settings.log_every, loop.total_steps) or self._is_first:
            self._write_losses(loop)
        self._is_first = False
        self._progress.step(loop)
        if loop.step in self._switches:
            applied = ", ".join(type(transform).__name__ for transform in loop.items.transforms_at(loop.step))
            self._progress.say(f"step {loop.step}  the transforms change; from here on: {applied or 'none'}")

    def before_eval(self, loop: "Loop") -> None:
        self._progress.begin_evaluation()

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        if loop is not None:
            self._progress.evaluated_batch(loop)

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        self._progress.end_evaluation()
        flat = flat_scores(scores)
        line = "  ".join(f"{name} {value:.2f}" for name, value in flat.items() if name not in ("images",))
        self._progress.say(f"step {loop.step}  val: {line}")
        self._record(loop, {"step": loop.step, "stage": loop.stage_number, "val": flat}, "val", flat)

    def after_stage(self, loop: "Loop") -> None:
        if 0 < loop.settings.patience <= loop.unimproved:
            self._progress.say(
                f"ends at step {loop.step}: the last {loop.unimproved} evaluations were no better than the best"
            )
        self._close()

    def _close(self) -> None:
        self._progress.close()
        if self._writer is not None:
            with observing(self, "TensorBoard"):
                self._writer.close()
        self._writer = None

    def after_break(self, loop: "Loop", error: BaseException | None) -> None:
        self._close()

    def _write_losses(self, loop: "Loop") -> None:
        averages = loop.averages()
        steps = max(loop.step - self._from_step, 1)
        seconds = loop.seconds["all"]
        self._from_step = loop.step
        rate = max(group["lr"] for group in loop.optimizer.param_groups)
        no_losses = {*NOT_LOSSES, *(name for hook in loop.hooks for name in hook.adds_terms)}
        losses = [value for name, value in averages.items() if name not in no_losses]
        loss = sum(losses)
        share = loop.seconds["data"] / max(seconds, 1e-9)
        loop.seconds.update(data=0.0, all=0.0)
        if not self._is_first:
            self._progress.add_steps(steps, seconds)
        shown = averages | loop.criterion.weights()  # those of the next step, beside the means of the last ones
        terms = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        extra = f"  loss {loss:.4f}" if len(losses) > 1 else ""
        self._progress.say(
            f"step {loop.step}/{loop.total_steps}  {terms}{extra}  lr {rate:.2e}  {seconds / steps:.3f} s/step "
            f"({share:.0%} data)  left {self._progress.left(loop)}"
        )
        record = {"step": loop.step, "stage": loop.stage_number, "loss": loss, **shown, "lr": rate}
        record |= {"seconds_per_step": round(seconds / steps, 4), "data_share": round(share, 4)}
        self._record(loop, record, "train", {"loss": loss, **shown, "lr": rate})

    def _record(self, loop: "Loop", record: dict[str, Any], prefix: str, scalars: dict[str, float]) -> None:
        if not dist.is_main():
            return
        path = loop.folder / LOG
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{path}: cannot be written ({reason}); {checkpoint.REMEDY}") from error
        with observing(self, "TensorBoard"):
            self._write_scalars(loop, prefix, scalars)
        notify(loop.hooks, "after_log", loop, prefix, scalars)

    def _write_scalars(self, loop: "Loop", prefix: str, scalars: dict[str, float]) -> None:
        if self.tensorboard and self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # what a killed run has drawn after its checkpoint is drawn again
            self._writer = SummaryWriter(loop.folder, purge_step=self._resumed_at + 1 if self._resumed_at else None)
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(f"{prefix}/{name}", value, loop.step)

    def after_picture(self, loop: "Loop", name: str, picture: np.ndarray) -> None:
        if self._writer is not None:
            with observing(self, "TensorBoard"):
                self._writer.add_image(name, picture, loop.step, dataformats="HWC")


@HOOKS.register
class Checkpoint(Hook):
    """Saves last.pt every loop.save_every steps and at the end, best.pt at the best loop.monitor, and `keep` others.

    Where a step is both saved and scored, last.pt is written before as well, so that an evaluation that fails loses
    nothing. A run that ends early, by a stop or an error, saves last.pt after its last whole step. A sharded training
    writes folders of parts in place of last.pt (engine/sharded_checkpoint.py) until its end.
    """

    def __init__(self) -> None:
        self._best_step = self._scored_step = -1

    def before_stage(self, loop: "Loop") -> None:
        self._best_step = self._scored_step = -1

    def before_eval(self, loop: "Loop") -> None:
        if self._is_due(loop) and loop.saved_step != loop.step:
            self._save(loop, "last.pt")

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        self._scored_step = loop.step
        value = None if loop.monitor is None else loop.monitor.value(scores)
        if loop.monitor is None or value is None or not loop.monitor.is_better(value, loop.best):
            return
        loop.best = float(value)
        self._save(loop, "best.pt")
        self._best_step = loop.step

    def after_resume(self, loop: "Loop") -> None:
        if self._scored_step == loop.step:  # only now, since the run ended before it was
            self._save_last(loop)

    def after_step(self, loop: "Loop", terms: dict[str, Tensor]) -> None:
        if not self._is_due(loop):
            return
        self._save_last(loop)
        if loop.settings.keep and dist.is_main() and loop.shards is None:
            checkpoint.copy(loop.folder / "last.pt", loop.folder / f"step_{loop.step}.pt")
            numbered = sorted(loop.folder.glob("step_*.pt"), key=lambda path: int(path.stem[5:]))
            for old in numbered[: -loop.settings.keep]:
                old.unlink()

    def after_break(self, loop: "Loop", error: BaseException | None) -> None:
        if loop.shards is not None and (error is None or loop.saved_step == loop.step):
            loop.shards.wait(alone=error is not None)
        if loop.step == 0 or loop.saved_step == loop.step or not loop.is_whole:
            return
        if error is None:
            self._save(loop, "last.pt")
        elif loop.shards is not None or (dist.is_distributed() and dist.is_restarted_after_errors()):
            pass  # one process holds no sharded state; torchrun goes on from what all have saved together
        elif dist.is_main() or (loop.is_between_steps and claim(loop.folder, loop.step)):
            checkpoint.save(loop.folder / "last.pt", loop.state_dict(alone=True))
            loop.saved_step = loop.step

    @staticmethod
    def _is_due(loop: "Loop") -> bool:
        return is_due(loop.step, loop.settings.save_every, loop.total_steps) or loop.is_stopping

    def _save_last(self, loop: "Loop") -> None:
        """Saves last.pt; where best.pt holds the same state, as a link to it."""
        if self._best_step != loop.step or _is_by_shards(loop):
            self._save(loop, "last.pt")
            return
        if dist.is_main():
            checkpoint.copy(loop.folder / "best.pt", loop.folder / "last.pt")
        dist.barrier()
        loop.saved_step = loop.step
        if loop.shards is not None:
            loop.shards.finish(loop.folder, loop.settings.keep)

    def _save(self, loop: "Loop", name: str) -> None:
        dist.at("saving")
        if name == "last.pt" and _is_by_shards(loop):
            assert loop.shards is not None
            loop.shards.save(loop)
            return
        state = loop.state_dict()
        if dist.is_main():
            checkpoint.save(loop.folder / name, state)
        dist.barrier()
        if name == "last.pt":
            loop.saved_step = loop.step
            if loop.shards is not None:
                loop.shards.finish(loop.folder, loop.settings.keep)


def _is_by_shards(loop: "Loop") -> bool:
    """Whether processes write their parts of a state, and no last.pt, which all parts are gathered for at the end."""
    return loop.shards is not None and loop.step < loop.total_steps


@HOOKS.register
class Visualise(Hook):
    """Draws the first images of each evaluation as image | truth | prediction, in pictures/ and TensorBoard.

    Args:
        count: images that are drawn.
    """

    is_observer = True

    def __init__(self, count: PositiveInt = 4):
        self.count = count
        self._rows: list = []

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        for i, prediction in enumerate(predictions):
            if len(self._rows) < self.count:
                row = row_of(prediction, batch, i)
                self._rows += [] if row is None else [row]

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        from segkit.viz import draw

        rows, self._rows = self._rows, []
        if not rows or loop.val is None or not dist.is_main():
            return
        dataset = loop.val.dataset
        picture = comparison(rows, dataset.palette, dataset.classes)
        draw.save_png(loop.folder / "pictures" / f"val_{loop.step:07d}.png", picture)
        notify(loop.hooks, "after_picture", loop, "val", picture)


def standard_hooks() -> tuple[Hook, ...]:
    """Returns the hooks of every run in their order.

    Scores come before the checkpoint that remembers them, and the checkpoint before what only observes.
    """
    return (Evaluate(), Checkpoint(), Log(), Visualise())


def in_order(hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    """Sorts hooks so that those which add terms come before the log; otherwise the order stays."""
    return tuple(sorted(hooks, key=lambda hook: not hook.adds_terms))

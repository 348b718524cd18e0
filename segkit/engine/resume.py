"""Takes up a run from its checkpoint: looks at what the file holds, then fills the loop with it."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segkit import dist
from segkit.engine import checkpoint, resume_rules
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.config_changes import Change, changes
from segkit.engine.optim import all_finite
from segkit.engine.process import set_rng_state
from segkit.files import DataError, brief, shortened
from segkit.registry import ConfigError
from segkit.settings import LoopSettings, TrainSettings

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

WAY_OUT = "take another checkpoint, or start from its weights with init=dict(path=...)"


class Entry(NamedTuple):
    """What an entry of a checkpoint must be.

    Attributes:
        types: of the value.
        words: for the error.
        is_needed: whether it must be there.
    """

    types: tuple[type, ...]
    words: str
    is_needed: bool = True


ENTRIES = {
    "model": Entry((dict,), "weights by name"),
    "optimizer": Entry((dict,), "the state of an optimizer"),
    "scaler": Entry((dict,), "a dict"),
    "criterion": Entry((dict,), "a dict"),
    "runner": Entry((dict,), "a dict"),
    "step": Entry((int,), "a whole number from 0"),
    "stage": Entry((int,), "a whole number from 0"),
    "rng": Entry((list, tuple), "a list of the random states of each process"),
    "best": Entry((int, float, type(None)), "a number or None"),
    "scored": Entry((int,), "a whole number", is_needed=False),
    "unimproved": Entry((int,), "a whole number", is_needed=False),
    "images": Entry((int,), "a whole number from 0", is_needed=False),
    "processes": Entry((int,), "a whole number from 0", is_needed=False),
}
"""Entries that a resumed run reads; those that are not needed are missing in files of version 0.1.0."""

OF_PARAMETERS = {
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg"),
    *("grad_avg", "acc_delta", "sum", "prev", "ax"),
}
"""Names in the state of torch's optimizers whose tensors have the parameter's shape."""


def check_state(state: dict[str, Any], path: str | Path, stages: int | None = None) -> None:
    """Checks the entries of a checkpoint that a resumed run reads.

    Args:
        state: the content of the file.
        path: the file, for errors.
        stages: of the run, None where they are not known yet.

    Raises:
        CheckpointError: an entry is missing or of another type.
    """
    if "optimizer" not in state:
        raise CheckpointError(f"{path}: holds weights only; start from it with init=dict(path=...)")
    for name, entry in ENTRIES.items():
        if name not in state:
            if entry.is_needed:
                raise CheckpointError(f"{path}: holds no '{name}', which a resumed run needs; {WAY_OUT}")
            continue
        value = state[name]
        is_right = isinstance(value, entry.types) and not isinstance(value, bool)
        if is_right and isinstance(value, int) and name not in ("best", "scored"):
            is_right = value >= 0
        if not is_right or (isinstance(value, float) and value != value):
            raise CheckpointError(f"{path}: '{name}' is {brief(value)}, must be {entry.words}; {WAY_OUT}")
    if stages is not None and state["stage"] >= stages:
        raise CheckpointError(
            f"{path}: is of stage {state['stage']}, and this run has the stages 0 to {stages - 1}; is it of another "
            f"config? {WAY_OUT.capitalize()}"
        )


def processes_of(state: dict[str, Any]) -> int | None:
    """Returns how many processes a checkpoint's run had, None where the file does not tell."""
    if "processes" in state:
        return int(state["processes"])
    return len(state["rng"]) if len(state["rng"]) > 1 else None


def compare(cfg: dict, state: dict[str, Any], path: str | Path) -> list[Change]:
    """Returns what differs between a run's config and that of its checkpoint.

    Args:
        cfg: the sections of the checkpoint's stage.
        state: of Loop.state_dict.
        path: the checkpoint's file, for errors.

    Raises:
        ConfigError: the run cannot go on with a value (segkit/engine/resume_rules.py).
    """
    found = changes(state["config"], cfg) if state.get("config") else []
    resume_rules.refuse(found, path)
    return found


def with_images_of(cfg: dict, state: dict[str, Any]) -> dict:
    """Returns the sections with as many images per step as a checkpoint's run had, on today's number of processes.

    Batches per step change where that is enough, else the batch size; where neither is, nothing does.

    Args:
        cfg: sections of the run.
        state: of the checkpoint.
    """
    processes, config = processes_of(state), state.get("config")
    if processes is None or not config:
        return cfg
    with _part("config", "the checkpoint"):
        old, old_loop = TrainSettings(**config["train"]), LoopSettings(**(config.get("loop") or {}))
    images = old.batch_size * old_loop.accumulate * processes
    size, accumulate = TrainSettings(**cfg["train"]).batch_size, LoopSettings(**(cfg.get("loop") or {})).accumulate
    world = dist.world_size()
    if size * accumulate * world == images or images % world:
        return cfg
    if images % (size * world):
        return {
            **cfg,
            "train": {**cfg["train"], "batch_size": images // world},
            "loop": {**cfg["loop"], "accumulate": 1},
        }
    return {**cfg, "loop": {**cfg["loop"], "accumulate": images // (size * world)}}


def _compare_images(loop: "Loop", state: dict[str, Any], path: str | Path) -> str:
    """A note on other shares of the same images per step; ConfigError where a step has another number of them."""
    processes, config = processes_of(state), state.get("config")
    if processes is None or not config:
        return ""
    train, settings = TrainSettings(**config["train"]), LoopSettings(**(config.get("loop") or {}))
    before = (train.batch_size, settings.accumulate, processes)
    after = (loop.data_settings.batch_size, loop.settings.accumulate, dist.world_size())
    return resume_rules.check_images(before, after, path)


def restore(loop: "Loop", state: dict[str, Any], path: str | Path) -> list[str]:
    """Fills a loop with the state of a checkpoint.

    Args:
        loop: at the start of the checkpoint's stage.
        state: of Loop.state_dict.
        path: the checkpoint's file, for errors.

    Returns:
        Notes for the user on what differs from the checkpoint's run.

    Raises:
        CheckpointError: a part of the file does not fit the run.
        ConfigError: the runner's task is another one, or the config makes it another training.
    """
    with _part("runner", path):
        loop.runner.load_state_dict(state["runner"])  # first: it knows best why a task or shapes are others
    found = compare(loop.stage_cfg, state, path)
    with _part("config", path):
        share = _compare_images(loop, state, path)
    images = state.get("images")
    if images is not None and images != len(loop.dataset):
        raise CheckpointError(
            f"{path}: its run trained on {images} images, train.dataset has {len(loop.dataset)} now, so the stream of "
            "images is another one; bring the old files back, or start from its weights with init=dict(path=...)"
        )
    checkpoint.load_weights(loop.raw_model, state["model"], path)
    if loop.ema is not None:
        # without an average in the file it starts from the weights, not from those that the loop has drawn
        checkpoint.load_weights(loop.ema.module, state.get("ema", state["model"]), path)
    restore_optimizer(loop.optimizer, state["optimizer"], path)
    with _part("scaler", path):
        if state["scaler"]:  # empty where the run was without fp16
            loop.scaler.load_state_dict(state["scaler"])
    with _part("criterion", path):
        loop.criterion.load_state_dict(state["criterion"])
    with _part("rng", path):
        _set_rng(loop, state["rng"], state["step"])
    loop.step, loop.best = state["step"], state["best"]
    loop.scored_step, loop.saved_step = state.get("scored", loop.step), loop.step
    loop.unimproved = state.get("unimproved", 0)
    if resume_rules.starts_scores_over(found):
        loop.best, loop.scored_step, loop.unimproved = None, -1, 0
    loop.end_with_patience()
    return [*resume_rules.notes(found), *([share] if share else [])]


def _set_rng(loop: "Loop", states: Sequence[dict[str, Tensor]], step: int) -> None:
    """Sets the generators to those of this process; one that the checkpoint does not know draws other numbers."""
    if not states:
        raise ValueError("it is empty")
    if len(states) == dist.world_size() or dist.rank() == 0:
        set_rng_state(states[dist.rank()])
    else:
        torch.manual_seed(loop.settings.seed + 1000003 * (1 + dist.rank()) + step)


@contextlib.contextmanager
def _part(name: str, path: str | Path) -> Iterator[None]:
    """Turns the errors of whoever reads a part of a checkpoint into a sentence on that part."""
    try:
        yield
    except (ConfigError, DataError, CheckpointError):
        raise
    except Exception as error:  # a part can hold anything, and each reader fails in its own way
        reason = shortened(f"{type(error).__name__}: {error}".replace("\n", " "), 300)
        raise CheckpointError(f"{path}: '{name}' does not fit this run ({reason}); {WAY_OUT}") from error


def restore_optimizer(optimizer: Optimizer, state: dict[str, Any], path: str | Path) -> None:
    """Fills an optimizer with the state of a checkpoint; rates, decay and the like stay as they are.

    Args:
        optimizer: built from the config.
        state: of its state_dict.
        path: the checkpoint's file, for errors.

    Raises:
        CheckpointError: the state is of other groups or shapes, is not finite, or lacks what the options need.
    """
    with _part("optimizer", path):
        groups, entries = state["param_groups"], state["state"]
        counts = [len(group["params"]) for group in groups]
        own_counts = [len(group["params"]) for group in optimizer.param_groups]
        if counts != own_counts:
            raise CheckpointError(
                f"{path}: its optimizer has groups of {counts} parameters, this run's has {own_counts}: "
                f"optimizer.groups or what is trained has changed; {WAY_OUT}"
            )
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        numbers = [number for group in groups for number in group["params"]]
        for number, parameter in zip(numbers, parameters):
            _check_entry(entries.get(number, {}), parameter, number, path)
        arguments = [name for name in inspect.signature(type(optimizer)).parameters if name != "params"]
        names = (*arguments, "base_lr", "base_momentum")
        options = [{key: group[key] for key in names if key in group} for group in optimizer.param_groups]
        _check_options(optimizer, groups, options, path)
        shared_out = {
            number: {
                name: dist.shared_out_like(value, parameter)
                if isinstance(value, Tensor) and value.shape == parameter.shape
                else value
                for name, value in entries[number].items()
            }
            for number, parameter in zip(numbers, parameters)
            if number in entries
        }
        optimizer.load_state_dict({**state, "state": {**entries, **shared_out}})
        for group, values in zip(optimizer.param_groups, options):
            group.update(values)


def _check_entry(entry: dict[str, Any], parameter: Tensor, number: int, path: str | Path) -> None:
    """Checks the state of one parameter."""
    for name, value in entry.items():
        if not isinstance(value, Tensor):
            continue
        if name in OF_PARAMETERS and value.shape != parameter.shape:
            raise CheckpointError(
                f"{path}: the optimizer's {name} of parameter {number} has the shape {tuple(value.shape)}, the "
                f"parameter {tuple(parameter.shape)}: the groups are in another order; {WAY_OUT}"
            )
        if not all_finite([value]):
            raise CheckpointError(f"{path}: the optimizer's {name} of parameter {number} is not finite; {WAY_OUT}")


def _check_options(optimizer: Optimizer, old: list[dict], new: list[dict], path: str | Path) -> None:
    """Tries each switch of options on an optimizer of one small parameter: some ask for a state that is not there."""
    for before, after in zip(old, new):
        values = {key: before[key] for key in after if key in before}
        changed = [key for key in values if key not in ("lr", "base_lr") and values[key] != after[key]]
        if not changed:
            continue
        parameter = nn.Parameter(torch.zeros(2, 2))
        parameter.grad = torch.ones(2, 2)
        try:
            cls: Any = type(optimizer)
            small = cls([{"params": [parameter], **_arguments(optimizer, values)}])
            small.step()
        except Exception:  # an optimizer from outside, or one that needs a GPU, is taken at its word
            continue
        small.param_groups[0].update(after)
        try:
            small.step()
        except Exception as error:
            raise CheckpointError(
                f"{path}: its optimizer has no state for other values of {', '.join(changed)} ({error!r}); take the "
                "old values back, or start from its weights with init=dict(path=...)"
            ) from error


def _arguments(optimizer: Optimizer, values: dict[str, Any]) -> dict[str, Any]:
    names = inspect.signature(type(optimizer)).parameters
    return {key: value for key, value in values.items() if key in names}

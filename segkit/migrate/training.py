"""Sections `schedule` and `loop` from mmsegmentation's runner."""

from collections.abc import Callable
from typing import Any

from segkit.migrate.part import Part, look_up

Section = dict[str, Any]

QUIET_HOOKS = ("timer", "param_scheduler", "sampler_seed", "visualization", "runtime_info")
"""Hooks of mmengine whose work the loop does, or that draw."""


def migrate_schedule(parts: list[Part], loop: Section, notes: list[str]) -> Section:
    """Translates param_scheduler.

    Args:
        parts: the schedulers.
        loop: section `loop`, whose steps or epochs are the run's length.
        notes: gets a sentence where rates change by epochs there.

    Returns:
        Section `schedule`.
    """
    warmup: Section = {}
    section: Section = {"type": "Constant"}
    begin = 0
    for number, part in enumerate(parts):
        name = part.type()
        by_epoch, is_smooth = part.take("by_epoch", True), part.take("convert_to_iter_based", False)
        if by_epoch and "epochs" not in loop:
            raise part.refusal("by_epoch", True, "train_cfg counts iterations; set by_epoch=False")
        if not by_epoch and "epochs" in loop and number == len(parts) - 1:
            raise part.refusal("by_epoch", False, "train_cfg counts epochs; set by_epoch=True")
        length = loop["epochs"] if by_epoch else loop.get("steps", 0)
        if name == "LinearLR" and not number and len(parts) > 1:
            if by_epoch:
                raise part.refusal("by_epoch", True, "segkit's warm-up counts steps; set by_epoch=False")
            part.same("begin", 0)
            part.same("end_factor", 1.0)
            begin = part.number("end")
            warmup = {"steps": begin, "factor": part.number("start_factor", 1 / 3), "law": "mmengine"}
            part.done(f" of {name}")
            continue
        section = look_up(SCHEDULES, name, part, "schedule")(part, begin, length if by_epoch else 0)
        start, end = part.number("begin", 0), part.number("end", length)
        if number != len(parts) - 1 or end != length:
            raise part.refusal("end", end, f"segkit's schedules reach to the end of the run, {length}")
        if name != "MultiStepLR" and start != begin and not (by_epoch and warmup):
            raise part.refusal("begin", start, f"must be {begin}, where the warm-up ends")
        if by_epoch and not is_smooth and name != "MultiStepLR":
            notes.append(f"{name} changes the rate after every epoch there, after every step here")
        part.done(f" of {name}")
    if not warmup and section["type"] in ("Poly", "Cosine"):
        warmup = {"steps": 0, "law": "mmengine"}  # its schedulers are at their end in the last step
    return section | ({"warmup": warmup} if warmup else {})


def _poly(part: Part, begin: int, epochs: int) -> Section:
    made: Section = {"type": "Poly", "power": part.number("power", 1.0)}
    minimum = part.number("eta_min", 0.0)
    return made | ({"min_lr": minimum} if minimum else {})


def _steps(part: Part, begin: int, epochs: int) -> Section:
    """Milestones here are counted from the end of the warm-up, those in epochs are fractions of the run."""
    marks = part.numbers("milestones")
    if epochs and begin:
        raise part.refusal("milestones", marks, "segkit has no milestones in epochs behind a warm-up; give iterations")
    marks = tuple(mark / epochs for mark in marks) if epochs else tuple(mark - begin for mark in marks)
    made: Section = {"type": "MultiStep", "milestones": marks}
    gamma = part.number("gamma", 0.1)
    return made | ({} if gamma == 0.1 else {"gamma": gamma})


def _cosine(part: Part, begin: int, epochs: int) -> Section:
    length, end = part.number("T_max", 0), part.values.get("end")
    if length and end is not None and length != end - part.values.get("begin", begin):
        raise part.refusal("T_max", length, "must be the time from begin to end: segkit's cosine falls once")
    minimum = part.number("eta_min", 0.0)
    return {"type": "Cosine"} | ({"min_lr": minimum} if minimum else {})


SCHEDULES = {"PolyLR": _poly, "MultiStepLR": _steps, "CosineAnnealingLR": _cosine}
"""mmengine's schedulers; each gives the section without its warm-up."""


def migrate_loop(train: Part) -> Section:
    """Translates train_cfg, which counts iterations or epochs."""
    kind = train.take("type", "EpochBasedTrainLoop" if train.take("by_epoch", False) else "IterBasedTrainLoop")
    look_up(dict.fromkeys(("IterBasedTrainLoop", "EpochBasedTrainLoop")), kind, train, "training loop")
    made: Section
    if kind == "IterBasedTrainLoop":
        made = {"steps": train.number("max_iters"), "eval_every": train.number("val_interval", 1000)}
    else:
        made = {"epochs": train.number("max_epochs")}
        train.skip("val_interval")
    train.skip("val_begin", "dynamic_intervals", "by_epoch")
    train.done()
    return made


def _saving(hook: Part) -> Section:
    by_epoch = hook.take("by_epoch", True)
    keep, best, every = hook.number("max_keep_ckpts", -1), hook.take("save_best", None), hook.number("interval", -1)
    made: Section = {} if by_epoch else {"save_every": max(every, 0)}
    made |= {"keep": keep} if keep > 0 else {}
    made |= {"monitor": best} if best not in (None, "auto") else {}
    hook.skip("save_last", "rule", "out_dir", "save_optimizer", "save_param_scheduler", "published_keys")
    return made


def _average(hook: Part) -> Section:
    hook.same("ema_type", "ExponentialMovingAverage")
    hook.skip("strict_load", "update_buffers", "priority")
    return {"ema": round(1 - hook.number("momentum", 0.0002), 10)}


def _patience(hook: Part) -> Section:
    hook.skip("rule", "priority", "min_delta", "strict", "check_finite")
    return {"monitor": hook.take("monitor"), "patience": hook.number("patience", 5)}


def _log(hook: Part) -> Section:
    hook.skip("log_metric_by_epoch", "ignore_last", "interval_exp_name", "out_dir", "priority")
    return {"log_every": hook.number("interval", 10)}


HOOKS: dict[str, Callable[[Part], Section]] = {
    "CheckpointHook": _saving,
    "EMAHook": _average,
    "EarlyStoppingHook": _patience,
    "LoggerHook": _log,
}
"""mmengine's hooks that are keys of section `loop`."""


def migrate_hooks(hooks: Part, more: list[Part]) -> Section:
    """Translates default_hooks and custom_hooks to keys of section `loop`."""
    loop: Section = {}
    named = [hooks.part(name) for name in hooks.values if name not in QUIET_HOOKS and hooks.has(name)]
    for hook in [*named, *more]:
        name = hook.type()
        made = look_up(HOOKS, name, hook, "hook")(hook)
        for key, value in made.items():
            if loop.get(key, value) != value:
                raise hook.refusal(key, value, f"another hook sets loop.{key} = {loop[key]!r}; remove one of them")
        loop |= made
        hook.done(f" of {name}")
    hooks.skip(*hooks.values)
    return loop

"""Sections `optimizer`, `schedule` and `loop` from mmsegmentation's runner."""

from collections.abc import Mapping
from typing import Any

from segkit.migrate.part import Part, look_up

Section = dict[str, Any]

PREFIXES = {
    "head": r"^(head|aux)\.",
    "decode_head": r"^head\.",
    "auxiliary_head": r"^aux\.",
    "backbone": r"^backbone\.",
    "neck": r"^neck\.",
}
"""Keys of paramwise_cfg.custom_keys, and the names of these parameters here."""

FACTORS = {"lr_mult": "lr", "decay_mult": "decay"}
"""Factors in custom_keys, and in optimizer.groups."""

QUIET_HOOKS = ("timer", "param_scheduler", "sampler_seed", "visualization", "runtime_info")
"""Hooks of mmengine whose work the loop does, or that draw."""


MIT_NAMES = {"pos_block": None, "norm": r"(embed|downsample|attn)\.norm\.|\.norm\d\."}
"""The same of SegFormer's encoder: pos_block names no parameter, and no key names the norms behind the stages."""


def migrate_optimizer(wrapper: Part, encoder: str) -> tuple[Section, Section]:
    """Translates optim_wrapper.

    Args:
        wrapper: the section.
        encoder: model.backbone.name, "" where it has none.

    Returns:
        Section `optimizer`, and keys of section `loop`.
    """
    kind, loop = wrapper.type(), Section()
    look_up(dict.fromkeys(("OptimWrapper", "AmpOptimWrapper")), kind, wrapper, "optimizer wrapper")
    if kind == "AmpOptimWrapper":
        precision = {None: "fp16", "float16": "fp16", "bfloat16": "bf16"}
        wrapper.same("loss_scale", "dynamic", *([wrapper.values.get("loss_scale")]))
        loop["amp"] = precision[wrapper.take("dtype", None)]
    section = dict(wrapper.part("optimizer").values)
    for key, value in section.items():
        section[key] = tuple(value) if isinstance(value, list) else value
    if wrapper.has("paramwise_cfg"):
        section["groups"] = _groups(
            wrapper.part("paramwise_cfg"), PREFIXES | (MIT_NAMES if encoder.startswith("mit_") else {})
        )
    wrapper.same("constructor", None, "DefaultOptimWrapperConstructor")
    if wrapper.has("clip_grad"):
        clip = wrapper.part("clip_grad")
        clip.same("norm_type", 2)
        loop["clip"] = float(clip.number("max_norm"))
        clip.done()
    accumulate = wrapper.number("accumulative_counts", 1)
    loop |= {} if accumulate == 1 else {"accumulate": accumulate}
    wrapper.skip("paramwise_cfg", "clip_grad")
    wrapper.done(f" of {kind}")
    return section, loop


def _groups(part: Part, patterns: Mapping[str, str | None]) -> list[Section]:
    """Rows of optimizer.groups; patterns: keys of custom_keys and the names of these parameters here."""
    rows: list[Section] = []
    for key, kind in (("norm_decay_mult", "norm"), ("bias_decay_mult", "bias")):
        factor = part.number(key, 1.0)
        rows += [] if factor == 1 else [{"kind": kind, "decay": float(factor)}]
    factor = part.number("bias_lr_mult", 1.0)
    rows += [] if factor == 1 else [{"kind": "bias", "lr": float(factor)}]
    keys = part.part("custom_keys", {})
    for name in keys.values:
        if name not in patterns:
            why = (
                f"parameters have other names here; known keys are {', '.join(patterns)}; set optimizer.groups by hand"
            )
            raise keys.refusal(name, keys.values[name], why)
        row, pattern = keys.part(name), patterns[name]
        factors = {ours: float(row.number(theirs)) for theirs, ours in FACTORS.items() if row.has(theirs)}
        row.done()
        if pattern is not None:
            rows.append({"match": pattern, **factors})
    part.skip("bypass_duplicate")
    part.done()
    return rows


def migrate_schedule(parts: list[Part], steps: int) -> Section:
    """Translates param_scheduler.

    Args:
        parts: the schedulers.
        steps: of the run.

    Returns:
        Section `schedule`.
    """
    warmup: Section = {}
    section: Section = {"type": "Constant"}
    begin = 0
    for number, part in enumerate(parts):
        name = part.type()
        part.same("by_epoch", False, stated=True)
        if name == "LinearLR" and not number and len(parts) > 1:
            part.same("begin", 0)
            part.same("end_factor", 1.0)
            begin = part.number("end")
            warmup = {"steps": begin, "factor": part.number("start_factor", 1 / 3), "law": "mmengine"}
            part.done(f" of {name}")
            continue
        section = look_up(SCHEDULES, name, part, "schedule")(part, begin)
        start, end = part.number("begin", 0), part.number("end", steps)
        if number != len(parts) - 1 or end != steps:
            raise part.refusal("end", end, f"segkit's schedules reach to the end of the run, {steps}")
        if name != "MultiStepLR" and start != begin:
            raise part.refusal("begin", start, f"must be {begin}, where the warm-up ends")
        part.done(f" of {name}")
    if not warmup and section["type"] in ("Poly", "Cosine"):
        warmup = {"steps": 0, "law": "mmengine"}  # its schedulers are at their end in the last step
    return section | ({"warmup": warmup} if warmup else {})


def _poly(part: Part, begin: int) -> Section:
    made: Section = {"type": "Poly", "power": part.number("power", 1.0)}
    minimum = part.number("eta_min", 0.0)
    return made | ({"min_lr": minimum} if minimum else {})


def _steps(part: Part, begin: int) -> Section:
    """Milestones here are counted from the end of the warm-up."""
    marks = tuple(mark - begin for mark in part.numbers("milestones"))
    made: Section = {"type": "MultiStep", "milestones": marks}
    gamma = part.number("gamma", 0.1)
    return made | ({} if gamma == 0.1 else {"gamma": gamma})


def _cosine(part: Part, begin: int) -> Section:
    length, end = part.number("T_max", 0), part.values.get("end")
    if length and end is not None and length != end - begin:
        raise part.refusal("T_max", length, f"must be {end - begin}, from begin to end: segkit's cosine falls once")
    minimum = part.number("eta_min", 0.0)
    return {"type": "Cosine"} | ({"min_lr": minimum} if minimum else {})


SCHEDULES = {"PolyLR": _poly, "MultiStepLR": _steps, "CosineAnnealingLR": _cosine}
"""mmengine's schedulers; each gives the section without its warm-up."""


def migrate_loop(train: Part) -> Section:
    """Translates train_cfg, which counts iterations."""
    kind = train.take("type", "IterBasedTrainLoop")
    if kind != "IterBasedTrainLoop" or train.take("by_epoch", False):
        raise train.refusal("type", kind, "segkit migrates schedules by iterations, IterBasedTrainLoop with max_iters")
    made = {"steps": train.number("max_iters"), "eval_every": train.number("val_interval", 1000)}
    train.skip("val_begin", "dynamic_intervals")
    train.done()
    return made


def migrate_hooks(hooks: Part, more: list[Part]) -> Section:
    """Translates default_hooks and custom_hooks to keys of section `loop`."""
    loop: Section = {}
    if hooks.has("logger"):
        logger = hooks.part("logger")
        loop["log_every"] = logger.number("interval", 10)
    if hooks.has("checkpoint"):
        saving = hooks.part("checkpoint")
        saving.same("type", "CheckpointHook")
        saving.same("by_epoch", False, stated=True)
        loop["save_every"] = saving.number("interval", -1)
        keep = saving.number("max_keep_ckpts", -1)
        loop |= {"keep": keep} if keep > 0 else {}
        best = saving.take("save_best", None)
        loop |= {"monitor": best} if best not in (None, "auto") else {}
        saving.skip("save_last", "rule", "out_dir", "save_optimizer", "save_param_scheduler", "published_keys")
        saving.done(" of CheckpointHook")
    hooks.skip("logger", "checkpoint", *QUIET_HOOKS)
    hooks.done()
    for hook in more:
        name = hook.type()
        look_up(dict.fromkeys(("EMAHook", "EarlyStoppingHook")), name, hook, "hook")
        if name == "EMAHook":
            hook.same("ema_type", "ExponentialMovingAverage")
            loop["ema"] = round(1 - hook.number("momentum", 0.0002), 10)
            hook.skip("strict_load", "update_buffers", "priority")
        else:
            loop |= {"monitor": hook.take("monitor"), "patience": hook.number("patience", 5)}
            hook.skip("rule", "priority")
        hook.done(f" of {name}")
    return loop

"""What a resumed run does with each value of its config that differs from the checkpoint's: one table for all."""

from collections.abc import Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from segkit.engine.config_changes import Change
from segkit.registry import ConfigError


class Effect(Enum):
    """What happens with a changed value; the text stands in docs/training.md."""

    APPLIED = "applied"
    SCORED = "applied; the best score starts over, since scores before and after cannot be compared"
    IMAGES = "applied where batch_size x accumulate x processes stays the same; otherwise refused"
    START = "no effect: it only matters at the start of a run"
    EQUAL = "refused"


class Rule(NamedTuple):
    """A row of the table.

    Attributes:
        patterns: config paths, with [] for positions in lists and * for anything.
        effect: what happens.
        why: the reason, or what it means, for the page and the user.
    """

    patterns: tuple[str, ...]
    effect: Effect
    why: str


RULES = (
    Rule(
        (
            "init",
            "init.*",
            "model.backbone.pretrained",
            "model.stages[[]].backbone.pretrained",
            "runner.start",
            "runner.first",
        ),
        Effect.START,
        "the weights are the checkpoint's",
    ),
    Rule(("model", "model.*"), Effect.EQUAL, "the weights are of this network"),
    Rule(
        ("train.batch_size", "loop.accumulate"),
        Effect.IMAGES,
        "the place in the stream of images is counted in images per step",
    ),
    Rule(
        (
            "train.dataset.root",
            "train.dataset.*.root",
            "train.dataset.memory",
            "runner.unlabelled.root",
            "runner.unlabelled.*.root",
        ),
        Effect.APPLIED,
        "the data has moved; the number of images must be the same",
    ),
    Rule(
        ("train.dataset", "train.dataset.*", "train.sampler", "train.sampler.*", "loop.seed"),
        Effect.EQUAL,
        "they decide which image comes at which place of the stream",
    ),
    Rule(("train.transforms", "train.transforms[[]]*"), Effect.APPLIED, "from the next image on"),
    Rule(
        ("train.workers", "train.prefetch", "train.timeout", "loop.process_timeout"),
        Effect.APPLIED,
        "the images stay the same",
    ),
    Rule(
        ("val", "val.dataset", "val.dataset.*", "val.transforms", "val.transforms[[]]*", "metrics", "metrics[[]]*"),
        Effect.SCORED,
        "what is scored",
    ),
    Rule(("loop.monitor", "loop.better"), Effect.SCORED, "which score chooses best.pt"),
    Rule(("loop.patience",), Effect.APPLIED, "a run that it has ended continues with a larger value"),
    Rule(("inference", "inference.*"), Effect.SCORED, "how the validation predicts"),
    Rule(
        ("val.batch_size", "val.workers", "val.timeout", "test", "test.*"),
        Effect.APPLIED,
        "the training does not depend on it",
    ),
    Rule(
        ("loop.steps", "loop.epochs"),
        Effect.APPLIED,
        "the schedule is that of the new length from the next step on",
    ),
    Rule(
        ("loop.ema",),
        Effect.APPLIED,
        "switched on, the average starts from the checkpoint's weights; switched off, it is dropped",
    ),
    Rule(("loop.ema_rise", "loop.ema_buffers"), Effect.APPLIED, "the average follows the new rule from now on"),
    Rule(
        ("loop.clip", "loop.amp", "loop.sync_bn", "loop.channels_last", "loop.compile", "loop.deterministic"),
        Effect.APPLIED,
        "from the next step on",
    ),
    Rule(
        ("loop.shard", "loop.checkpoint_activations"),
        Effect.APPLIED,
        "they change what a process holds; any number of processes can resume the checkpoints of any other",
    ),
    Rule(
        ("loop.log_every", "loop.eval_every", "loop.save_every", "loop.keep"), Effect.APPLIED, "they change no number"
    ),
    Rule(
        (
            *(
                "optimizer.type",
                "optimizer.groups",
                "optimizer.groups[[]]*",
                "optimizer.layer_decay*",
                "optimizer.lora*",
            ),
            *("optimizer.freeze", "optimizer.freeze[[]]*"),
        ),
        Effect.EQUAL,
        "the state of the optimizer is of its type, and of its parameters in the order of its groups",
    ),
    Rule(
        ("optimizer", "optimizer.*"),
        Effect.APPLIED,
        "rate, decay, momentum and the like, in all groups; refused where the optimizer would need a state that the "
        "checkpoint lacks",
    ),
    Rule(
        ("schedule", "schedule.*"),
        Effect.APPLIED,
        "rates are functions of the step, as if the run had always had this schedule",
    ),
    Rule(("weighting", "weighting.*"), Effect.EQUAL, "it has learned or counted since the start"),
    Rule(
        ("losses", "losses[[]]*", "runner.losses", "runner.losses[[]]*"),
        Effect.APPLIED,
        "from the next step on; refused where a loss keeps a state that does not fit",
    ),
    Rule(("runner.cache_gb",), Effect.APPLIED, "class steps: how much disk space stored features may take"),
    Rule(("runner.later", "runner.later.*"), Effect.APPLIED, "class steps: each section by its own rule in this table"),
    Rule(
        (
            *("runner.threshold", "runner.threshold[[]]*", "runner.top_threshold", "runner.top_threshold[[]]*"),
            *("runner.min_area", "runner.min_area[[]]*", "runner.min_component", "runner.min_component[[]]*"),
        ),
        Effect.SCORED,
        "how overlapping classes become masks",
    ),
    Rule(("runner.score", "runner.overlap"), Effect.SCORED, "how queries become panoptic segments"),
    Rule(("runner.iou", "runner.side", "runner.is_fast"), Effect.SCORED, "how the validation refines coarse masks"),
    Rule(("runner", "runner.*"), Effect.EQUAL, "it decides what the network is shown"),
    Rule(("hooks", "hooks[[]]*"), Effect.APPLIED, "they change no number"),
)
"""The first rule that matches counts."""


def rule_of(pattern: str) -> Rule | None:
    """Returns the rule for a config path with [] for positions in lists, None where there is none."""
    return next((rule for rule in RULES if any(fnmatchcase(pattern, glob) for glob in rule.patterns)), None)


def effect_of(change: Change) -> Effect:
    """Returns what a change does; what no rule names must be equal."""
    rule = rule_of(change.pattern)
    return Effect.EQUAL if rule is None else rule.effect


def refuse(found: Sequence[Change], source: object) -> None:
    """Refuses to go on with values that make another training.

    Args:
        found: what differs between the checkpoint's config and that of the run.
        source: the checkpoint's file.

    Raises:
        ConfigError: a value must be equal; the message lists both values of each.
    """
    bad = [change for change in found if effect_of(change) is Effect.EQUAL]
    if not bad:
        return
    reasons = dict.fromkeys(rule.why for change in bad if (rule := rule_of(change.pattern)) is not None)
    shown = ", ".join(map(str, bad[:5])) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
    raise ConfigError(
        f"--resume {source}: cannot go on with {shown} (checkpoint -> config): {'; '.join(reasons)}. Take the "
        f"checkpoint's value back, or start a new run from its weights with init=dict(path='{source}'), in another "
        "--work-dir or with --overwrite"
    )


def check_images(old: Sequence[int], new: Sequence[int], source: object) -> str:
    """Compares the images of a step, which count the place in the stream.

    Args:
        old: batch size, batches per step and processes of the checkpoint.
        new: the same of the run.
        source: the checkpoint's file.

    Returns:
        A note for the user where they are shared out differently, else "".

    Raises:
        ConfigError: a step has another number of images.
    """
    before, after = (a * b * c for a, b, c in (old, new))
    shares = [f"{a} x {b} x {c}" for a, b, c in (old, new)]
    if before != after:
        raise ConfigError(
            f"--resume {source}: its steps have {shares[0]} = {before} images (train.batch_size x loop.accumulate x "
            f"processes), those of this run {shares[1]} = {after}: images would be left out or come twice. Choose them "
            f"so that the product is {before}, or start a new run from its weights with init=dict(path='{source}')"
        )
    if tuple(old) == tuple(new):
        return ""
    return f"images per step {shares[0]} -> {shares[1]} (batch size x accumulate x processes; the images are the same)"


def notes(found: Sequence[Change]) -> list[str]:
    """Returns a line for each kind of change, for the head of the log; of `refuse` none is left."""
    lines = []
    for effect, title in (
        (Effect.APPLIED, "changed"),
        (Effect.SCORED, "changed, and the best score starts over"),
        (Effect.START, "without effect on a resumed run"),
    ):
        of_effect = [change for change in found if effect_of(change) is effect]
        if of_effect:
            more = f" and {len(of_effect) - 6} more" if len(of_effect) > 6 else ""
            lines.append(f"{title}: {', '.join(map(str, of_effect[:6]))}{more}")
    return lines


def starts_scores_over(found: Sequence[Change]) -> bool:
    """Returns whether scores before and after the changes cannot be compared."""
    return any(effect_of(change) is Effect.SCORED for change in found)


def table() -> str:
    """Returns the rules as a table of docs/training.md."""
    rows = ["| values | with `--resume` | because |", "|---|---|---|"]
    for rule in RULES:
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(map(_written, rule.patterns)))
        rows.append(f"| {names} | {rule.effect.value} | {rule.why} |")
    return "\n".join(rows)


def _written(pattern: str) -> str:
    """A pattern for the page: a section stands for all below it."""
    pattern = pattern.replace("[[]]*", "").replace("[[]]", "[]")
    return pattern.removesuffix(".*")

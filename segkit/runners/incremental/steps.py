"""Differences between class steps: sections of the config, the model, and the names of its weights."""

import re
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from segkit.data.incremental.plan import ClassPlan
from segkit.engine import checkpoint
from segkit.models import growing_segmentor
from segkit.models.growing_segmentor import GrowingSegmentor, StepClassifier, add_background, sizes_in
from segkit.models.readouts import READOUTS
from segkit.models.step_heads import StepHeads
from segkit.registry import ConfigError, build_model, without_start_weights

PLAIN_MODELS = (None, "Segmentor", "GrowingSegmentor")
"""Values of model.type that can learn classes in steps; None is the default, a Segmentor."""


RESERVED = "reserved"
"""Value of runner.init with which step 0 builds the outputs of all steps (DFT*)."""


def step_sections(
    cfg: dict,
    plan: ClassPlan,
    step: int,
    images: dict[str, Any],
    *,
    is_reserved: bool = False,
    replay: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Builds the sections of a step that differ from the config's.

    Args:
        cfg: the config.
        plan: the classes of all steps.
        step: number of the step.
        images: arguments of the data set ClassSteps.
        is_reserved: whether the outputs of later steps are there already.
        replay: memory of the step before and how it is mixed in, see runner.memory; None for none.

    Returns:
        Data sections with their data sets inside of ClassSteps, the model with the outputs of all classes so far, and
        metrics over old and new classes. Validation and test cover all classes seen so far.

    Raises:
        ConfigError: model.type cannot learn classes in steps.
    """

    def wrapped(section: dict, part: str) -> dict:
        kwargs = {key: value for key, value in images.items() if value is not None or key == "background"}
        dataset = {"type": "ClassSteps", **kwargs, "dataset": section["dataset"], "step": step, "part": part}
        return {**section, "dataset": dataset}

    model = model_section(cfg["model"], plan, step, is_reserved=is_reserved)
    # a later step begins with a checkpoint: the file of the encoder's pretrained weights need not exist any more
    model = without_start_weights(model) if step else model
    sections: dict[str, Any] = {"train": wrapped(cfg["train"], "train"), "model": model}
    if replay is not None and step:
        file, mix = replay
        sections["train"]["dataset"] = {"type": "Replay", "dataset": sections["train"]["dataset"], "memory": file}
        if mix == "half":
            sections["train"]["sampler"] = {"type": "HalfReplay"}
    for name in ("val", "test"):
        section = cfg.get(name)
        if section:
            if "dataset" in section:
                sections[name] = wrapped(section, "test")
            else:
                sections[name] = {key: wrapped(test_set, "test") for key, test_set in section.items()}
    sections["metrics"] = cfg.get("metrics") or [{"type": "IncrementalIoU"}]
    return sections


def model_section(model: dict, plan: ClassPlan, step: int, *, is_reserved: bool = False) -> dict:
    """Returns section `model` with the classifiers of the steps 0 to `step`, or of all steps where they are reserved.

    Raises:
        ConfigError: model.type cannot learn classes in steps.
    """
    if model.get("type") not in PLAIN_MODELS:
        raise ConfigError(f"model.type = {model['type']!r}: only a Segmentor learns classes in steps; remove the type")
    first, *later = plan.sizes(step)
    readout = READOUTS.get(model.get("readout", "classes"), READOUTS["classes"])  # another value is refused as built
    section = {**model, "type": "GrowingSegmentor", "num_classes": first + readout.surplus, "grown": tuple(later)}
    return {**section, "reserved": to_come(plan, step)} if is_reserved else section


def to_come(plan: ClassPlan, step: int) -> tuple[int, ...]:
    """Returns the numbers of outputs of the steps after one."""
    return tuple(len(classes) for classes in plan.steps[step + 1 :])


def grow_to(model: GrowingSegmentor, plan: ClassPlan, step: int, *, is_reserved: bool) -> None:
    """Gives a model of the step before the outputs of a step, in place; new ones have random weights.

    Args:
        model: of the step before.
        plan: the classes of all steps.
        step: number of the step.
        is_reserved: whether the outputs of all later steps come with them, where they are not there already.
    """
    if is_reserved and not model.num_reserved:
        for num_new in to_come(plan, step - 1):
            growing_segmentor.grow(model, num_new)
        model.num_reserved = sum(to_come(plan, step - 1))
        model.num_classes -= model.num_reserved
    if is_reserved:
        model.reveal(len(plan.steps[step]))
    else:
        growing_segmentor.grow(model, len(plan.steps[step]))


def load_before(
    model: dict, plan: ClassPlan, step: int, path: Path, *, is_reserved: bool = False
) -> tuple[GrowingSegmentor, dict[str, Any]]:
    """Loads the model of the step before.

    A model of step 0 that was trained without a background, because the data set has none, gets one.

    Args:
        model: section `model` of the config.
        plan: the classes of all steps.
        step: number of the step to come.
        path: checkpoint of the step before.
        is_reserved: whether it may hold outputs of later steps.

    Returns:
        The model in evaluation mode, with its moving average where there is one; and the checkpoint's content.

    Raises:
        ConfigError: the checkpoint is missing, or is of other classes or another step.
        CheckpointError: it cannot be read, or does not fit the model.
    """
    if not path.exists():
        raise ConfigError(
            f"{path}: step {step} begins with the checkpoint of step {step - 1}, which is missing; train from an "
            "earlier step (--from-step), or name a checkpoint in runner.start"
        )
    content = checkpoint.read(path)
    weights = checkpoint.scored_weights(content)
    _compare_classes(content.get("classes"), plan, step - 1, path)
    before = model_section(model, plan, step - 1)
    sizes = sizes_in(weights)
    is_plain = before.get("readout", "classes") == "classes"
    lacks_background = step == 1 and plan.background is None and sum(sizes) == plan.sizes(0)[0] - 1 and is_plain
    if lacks_background:
        before["num_classes"] -= 1
    expected = (before["num_classes"], *before["grown"])
    if is_reserved and sizes == (*expected, *to_come(plan, step - 1)):
        before["reserved"], expected = to_come(plan, step - 1), sizes
    if sizes != expected:
        raise ConfigError(
            f"{path}: its classifiers have {list(sizes)} outputs, those of step {step - 1} have {list(expected)}; "
            "the checkpoint is of another task or another step"
        )
    built = cast(GrowingSegmentor, build_model(without_start_weights(before)))
    checkpoint.load_weights(built, weights, path)
    if lacks_background:
        add_background(built)
    return built.eval(), content


def _compare_classes(names: list | None, plan: ClassPlan, step: int, path: Path) -> None:
    expected = plan.classes(step)
    if not names or tuple(names) == expected or (plan.background is None and tuple(names) == expected[1:]):
        return
    difference = next((f"the first that differs is '{a}' beside '{b}'" for a, b in zip(names, expected) if a != b), "")
    longer, owner = (names, "the checkpoint") if len(names) > len(expected) else (expected, "the task")
    difference = difference or f"{owner} alone has '{longer[min(len(names), len(expected))]}'"
    raise ConfigError(
        f"{path}: was trained on {len(names)} classes, the task has {len(expected)} in step {step}, and {difference}; "
        "the task has changed, or the checkpoint is of another one"
    )


def grown_name(name: str) -> str:
    """Returns the name of a classifier's weight after the classifier has grown; other names stay."""
    return re.sub(r"(^|\.)(\w*classifier)\.(weight|bias)$", r"\1\2.steps.0.\3", name)


def grown_names(state: Any) -> Any:
    """Renames the weights in a regulariser's state, which was saved before the classifiers grew, by grown_name.

    Args:
        state: nested dictionaries with names as keys; other values are returned unchanged.
    """
    if not isinstance(state, dict):
        return state
    return {grown_name(key) if isinstance(key, str) else key: grown_names(value) for key, value in state.items()}


def parameters_before(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of all parameters but those of the newest classifiers, by name."""
    newest = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, StepClassifier | StepHeads)
        for parameter in module.steps[-1].parameters()
    }
    return {n: p.detach().clone() for n, p in model.named_parameters() if id(p) not in newest}

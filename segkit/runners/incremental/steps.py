"""What changes from one class step to the next: the sections of the config, the model and the names of its weights."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from segkit.data.incremental.plan import ClassPlan
from segkit.engine import checkpoint
from segkit.models.growing_segmentor import StepClassifier, add_background, sizes_in
from segkit.registry import ConfigError, build_model, without_start_weights

PLAIN_MODELS = (None, "Segmentor", "GrowingSegmentor")


def step_sections(cfg: dict, plan: ClassPlan, step: int, images: dict) -> dict:
    """-> sections of a step: data sets wrapped in ClassSteps with the arguments `images`, the model with the outputs of
    all classes so far, metrics over old and new classes. What is validated and tested is all classes seen so far."""

    def wrapped(section: dict, part: str) -> dict:
        own = {key: value for key, value in images.items() if value is not None or key == "background"}
        dataset = {"type": "ClassSteps", **own, "dataset": section["dataset"], "step": step, "part": part}
        return {**section, "dataset": dataset}

    model = model_section(cfg["model"], plan, step)
    # a later step begins with a checkpoint, whose encoder's start weights need not be there any more
    model = without_start_weights(model) if step else model
    sections: dict[str, Any] = {"train": wrapped(cfg["train"], "train"), "model": model}
    for name in ("val", "test"):
        section = cfg.get(name)
        if section:
            is_one = "dataset" in section
            sections[name] = wrapped(section, "test") if is_one else {k: wrapped(v, "test") for k, v in section.items()}
    sections["metrics"] = cfg.get("metrics") or [{"type": "IncrementalIoU"}]
    return sections


def model_section(model: dict, plan: ClassPlan, step: int) -> dict:
    """-> section `model` with the classifiers of the steps 0 to `step`."""
    if model.get("type") not in PLAIN_MODELS:
        raise ConfigError(f"model.type = {model['type']!r}: a model that learns classes in steps is a Segmentor")
    first, *later = plan.sizes(step)
    return {**model, "type": "GrowingSegmentor", "num_classes": first, "grown": tuple(later)}


def load_before(model: dict, plan: ClassPlan, step: int, path: Path) -> tuple[nn.Module, dict]:
    """model: the config's section; path: a checkpoint of the step before `step` -> that model, in evaluation mode, and
    the checkpoint's content. A first model without a background, where the data set has none, gets one."""
    if not path.exists():
        raise ConfigError(
            f"{path}: step {step} begins with the checkpoint of step {step - 1}, which is missing; train from an "
            "earlier step (--from-step), or name a checkpoint in runner.start"
        )
    content = checkpoint.read(path)
    weights = content.get("ema", content["model"])
    _compare_classes(content.get("classes"), plan, step - 1, path)
    before = model_section(model, plan, step - 1)
    lacks_background = step == 1 and plan.background is None and sum(sizes_in(weights)) == plan.sizes(0)[0] - 1
    if lacks_background:
        before["num_classes"] -= 1
    found, wanted = sizes_in(weights), (before["num_classes"], *before["grown"])
    if found != wanted:
        raise ConfigError(
            f"{path}: its classifiers have {list(found)} outputs, those of step {step - 1} have {list(wanted)}; "
            "it is of another task or another step"
        )
    built = build_model(without_start_weights(before))
    checkpoint.load_weights(built, weights, path)
    if lacks_background:
        add_background(built)
    return built.eval(), content


def _compare_classes(names: list | None, plan: ClassPlan, step: int, path: Path) -> None:
    wanted = plan.classes(step)
    if not names or tuple(names) == wanted or (plan.background is None and tuple(names) == wanted[1:]):
        return
    unlike = next((f"the first that differs is '{a}' beside '{b}'" for a, b in zip(names, wanted) if a != b), None)
    longer, owner = (names, "the checkpoint") if len(names) > len(wanted) else (wanted, "the task")
    unlike = unlike or f"{owner} alone has '{longer[min(len(names), len(wanted))]}'"
    raise ConfigError(
        f"{path}: was trained on {len(names)} classes, the task has {len(wanted)} in step {step}, and {unlike}; the "
        "task has changed, or the checkpoint is of another one"
    )


def grown_name(name: str) -> str:
    """The name that a classifier's weight has once the classifier has grown; other names stay."""
    return re.sub(r"(^|\.)(\w*classifier)\.(weight|bias)$", r"\1\2.steps.0.\3", name)


def grown_names(state: Any) -> Any:
    """A regulariser's state of a model that had not grown, with the names of one that has."""
    if not isinstance(state, dict):
        return state
    return {grown_name(key) if isinstance(key, str) else key: grown_names(value) for key, value in state.items()}


def parameters_before(model: nn.Module) -> dict[str, Tensor]:
    """-> copies of all parameters but those of the newest classifiers, by name."""
    newest = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, StepClassifier)
        for parameter in module.steps[-1].parameters()
    }
    return {n: p.detach().clone() for n, p in model.named_parameters() if id(p) not in newest}

"""Parameter groups by pattern, the optimizer, and the moving average of the weights."""

import copy
import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segkit import dist
from segkit.engine.freezing import freeze
from segkit.engine.layer_decay import lr_factors
from segkit.engine.lora import add_updates
from segkit.models.bases import Network
from segkit.registry import OPTIMIZERS, ConfigError, build
from segkit.settings import LayerDecaySettings, LoopSettings, LoraSettings

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
"""Normalization layers, whose parameters are of the kind "norm"."""

UNFIT = {
    "LBFGS": "it evaluates the loss several times a step",
    "SparseAdam": "it takes sparse gradients alone",
}
"""Optimizers of torch that the loop cannot step, and why."""

KINDS = ("norm", "bias", "vector")
"""Kinds of parameters that a row of optimizer.groups can choose: of normalization layers, biases, and those of one
dimension (norms, biases, layer scales)."""


def adapt(cfg: dict, model: nn.Module) -> set[str]:
    """Freezes parts of a model and adds low-rank updates, as section `optimizer` says: its `freeze` and `lora`.

    Returns:
        The names of the frozen parameters, those that the runner froze among them.
    """
    frozen = set(freeze(model, cfg["freeze"])) if cfg.get("freeze") else set()
    frozen |= model.untrained if isinstance(model, Network) else frozenset()
    if cfg.get("lora"):
        add_updates(model, LoraSettings(**cfg["lora"]))
    return frozen


def build_optimizer(
    cfg: dict, model: nn.Module, extra: nn.Module | None = None, frozen: set[str] | None = None
) -> Optimizer:
    """Builds the optimizer of a model.

    Args:
        cfg: section `optimizer`: a type of torch.optim, its arguments, `layer_decay`, see layer_decay.lr_factors,
            `groups`, rows of dict(match=regex of names, kind=one of KINDS, lr=factor, decay=factor, wait=steps,
            warmup=steps), `freeze`, parts of the model that are not trained, see engine.freezing, and `lora`, layers
            whose updates train in place of their weights, see engine.lora. The factors of all rows that match a
            parameter are multiplied with each other and with the base value; the longest wait and the last warm-up
            count.
        model: its trainable parameters.
        extra: a module, such as losses with parameters, whose parameters train with the base values.
        frozen: of `adapt`, where the model has been through it.

    Raises:
        ConfigError: the loop cannot step this optimizer, a row or `freeze` matches no parameter, a kind is unknown, or
            the optimizer cannot be built.
    """
    if cfg.get("type") in UNFIT:
        why = UNFIT[cfg["type"]]
        raise ConfigError(f"optimizer.type = '{cfg['type']}': {why}; choose another, such as AdamW or SGD")
    kwargs = {key: value for key, value in cfg.items() if key not in ("groups", "layer_decay", "freeze", "lora")}
    if frozen is None:
        frozen = adapt(cfg, model)
    rows = list(cfg.get("groups") or ())
    base_lr, base_decay = kwargs.get("lr"), kwargs.get("weight_decay")
    kinds = _kinds(model)
    by_layer: dict[str, float] = {}
    if cfg.get("layer_decay"):
        names = [name for name, _ in model.named_parameters()]
        by_layer = lr_factors(names, LayerDecaySettings(**cfg["layer_decay"]))
    hits = [0] * len(rows)
    groups: dict[tuple[float, float, int, int | None], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and name not in frozen:
            continue
        lr, decay, wait, warmup = by_layer.get(name, 1.0), 1.0, 0, None
        for i, row in enumerate(rows):
            if _matches(row, name, kinds.get(name, ()), f"optimizer.groups.{i}"):
                hits[i] += 1
                lr, decay = lr * row.get("lr", 1.0), decay * row.get("decay", 1.0)
                wait, warmup = max(wait, row.get("wait", 0)), row.get("warmup", warmup)
        if name not in frozen:  # a row that matches frozen parameters alone is no mistake
            groups.setdefault((lr, decay, wait, warmup), []).append(parameter)
    for i, row in enumerate(rows):
        if not hits[i]:
            raise ConfigError(
                f"optimizer.groups.{i} = {row}: no trainable parameter matches; compare it with the names of "
                "model.named_parameters()"
            )
    if extra is not None and any(p.requires_grad for p in extra.parameters()):
        groups.setdefault((1.0, 1.0, 0, None), []).extend(p for p in extra.parameters() if p.requires_grad)
    if base_lr is None and any(lr != 1 for lr, *_ in groups):
        raise ConfigError("optimizer.lr: is missing; groups with lr factors and layer_decay need it")
    params: list[dict[str, Any]] = []
    for (lr, decay, wait, warmup), parameters in groups.items():
        group: dict[str, Any] = {"params": parameters}
        if wait:
            group["wait"] = wait
        if warmup is not None:
            group["warmup"] = warmup
        if base_lr is not None:
            group["lr"] = base_lr * lr
        if base_decay is not None:
            group["weight_decay"] = base_decay * decay
        params.append(group)
    return build(_with_fused(kwargs, params), OPTIMIZERS, "optimizer", params=params)


def _with_fused(kwargs: dict, params: list[dict[str, Any]]) -> dict:
    """The arguments with fused=True where torch has such a kernel for the optimizer and all parameters lie on a GPU.

    One kernel then makes the whole update of many parameters, where torch's own choice (foreach) takes one for each
    operation. On the CPU nothing is changed: the fused kernels round in another order. What the config says stands.
    """
    kind = getattr(torch.optim, str(kwargs.get("type")), None)
    if kind is None or "fused" not in inspect.signature(kind).parameters:
        return kwargs
    if kwargs.keys() & {"fused", "foreach", "differentiable"}:
        return kwargs
    parameters = [parameter for group in params for parameter in group["params"]]
    fits = bool(parameters) and all(p.device.type == "cuda" and p.is_floating_point() for p in parameters)
    return {**kwargs, "fused": True} if fits else kwargs


def _kinds(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The kinds of each parameter by its name."""
    kinds = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full_name = f"{prefix}.{name}" if prefix else name
            norm = ("norm",) if isinstance(module, NORMS) else ()
            bias = ("bias",) if name.endswith("bias") else ()
            vector = ("vector",) if parameter.dim() < 2 else ()
            kinds[full_name] = (*norm, *bias, *vector)
    return kinds


def _matches(row: dict, name: str, kinds: tuple[str, ...], at: str) -> bool:
    if "kind" in row and row["kind"] not in KINDS:
        raise ConfigError(f"{at}.kind = {row['kind']!r}: must be one of {', '.join(map(repr, KINDS))}")
    if "kind" not in row and "match" not in row:
        raise ConfigError(f"{at}: give match=regex or kind={' or '.join(map(repr, KINDS))}")
    return ("kind" not in row or row["kind"] in kinds) and ("match" not in row or bool(re.search(row["match"], name)))


class Ema:
    """Exponential moving average of a module's weights and buffers, kept as a second module for evaluation.

    In step s, counted from 0, the decay is min(decay, (1 + s) / (rise + s)), so that the initial weights fade.

    Args:
        model: the raw module, which is copied.
        decay: of the average, 0..1.
        rise: how slowly the decay rises in the first steps: 10, 2 in BoxTeacher, whose average is the mean of all
            weights so far until it reaches `decay`; 1 is `decay` from the first step.
        buffers: whether buffers are averaged too, and integer ones copied. Otherwise the average keeps its own, which
            change where it runs in training mode (BoxTeacher).

    Attributes:
        module: the average, in evaluation mode and without gradients.
    """

    def __init__(self, model: nn.Module, decay: float, *, rise: int = 10, buffers: bool = True):
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.rise, self.buffers = decay, rise, buffers

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model's weights.

        Args:
            model: the raw module after an optimizer step.
            step: number of that step.
        """
        decay = min(self.decay, (1 + step) / (self.rise + step))
        average, new = self._averaged(self.module), self._averaged(model)
        average = {key: dist.own_part(value) for key, value in average.items()}
        new = {key: dist.own_part(value) for key, value in new.items()}
        floats = [key for key, value in average.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[key] for key in floats], [new[key] for key in floats], 1 - decay)
        for key in average.keys() - set(floats):
            average[key].copy_(new[key])

    def _averaged(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of a module that are averaged, by name."""
        if self.buffers:
            return model.state_dict()
        return {name: parameter.detach() for name, parameter in model.named_parameters()}


def all_finite(tensors: list[Tensor]) -> bool:
    """Returns whether no tensor holds NaN or infinity; all of them take one transfer from the device.

    Of tensors that processes share out among them all processes call it, and are told the same.
    """
    parts = [dist.own_part(t).detach() for t in tensors if t.is_floating_point()]
    floats = [part for part in parts if part.numel()]
    is_finite = not floats or bool(torch.stack([torch.isfinite(t).all() for t in floats]).all())
    if any(map(dist.is_sharded, tensors)):
        return not int(dist.all_reduce_sum(torch.tensor(int(not is_finite))))
    return is_finite


def moving_average(model: nn.Module, settings: LoopSettings) -> Ema | None:
    """Returns the average that section loop asks for, or None."""
    if not settings.ema:
        return None
    return Ema(model, settings.ema, rise=settings.ema_rise, buffers=settings.ema_buffers)

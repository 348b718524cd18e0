"""Parameter groups by pattern, the optimizer, and the moving average of the weights."""

import copy
import re

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segkit.registry import OPTIMIZERS, ConfigError, build

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
KINDS = ("norm", "bias")


def build_optimizer(cfg: dict, model: nn.Module, extra: nn.Module | None = None) -> Optimizer:
    """Section `optimizer`: type of torch.optim, its arguments, and groups=[dict(match=regex | kind="norm" | "bias",
    lr=factor, decay=factor)]; all rows that match a parameter multiply. extra: a module (losses with parameters) whose
    parameters train with the base values. A row that matches nothing is a ConfigError."""
    own = {key: value for key, value in cfg.items() if key != "groups"}
    rows = list(cfg.get("groups", ()))
    base_lr, base_decay = own.get("lr"), own.get("weight_decay")
    kinds = _kinds(model)
    hits = [0] * len(rows)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        lr, decay = 1.0, 1.0
        for i, row in enumerate(rows):
            if _matches(row, name, kinds.get(name, ()), f"optimizer.groups.{i}"):
                hits[i] += 1
                lr, decay = lr * row.get("lr", 1.0), decay * row.get("decay", 1.0)
        groups.setdefault((lr, decay), []).append(parameter)
    for i, row in enumerate(rows):
        if not hits[i]:
            raise ConfigError(f"optimizer.groups.{i} = {row}: no trainable parameter matches; see names in the model")
    if extra is not None and any(p.requires_grad for p in extra.parameters()):
        groups.setdefault((1.0, 1.0), []).extend(p for p in extra.parameters() if p.requires_grad)
    if base_lr is None and any(lr != 1 for lr, _ in groups):
        raise ConfigError("optimizer.lr is missing: groups with lr factors need it")
    params = [_group(parameters, factors, base_lr, base_decay) for factors, parameters in groups.items()]
    return build(own, OPTIMIZERS, "optimizer", params=params)


def _group(parameters: list, factors: tuple[float, float], lr: float | None, decay: float | None) -> dict:
    group: dict = {"params": parameters}
    if lr is not None:
        group["lr"] = lr * factors[0]
    if decay is not None:
        group["weight_decay"] = decay * factors[1]
    return group


def _kinds(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Parameter name -> the kinds it is of."""
    kinds = {}
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            kinds[full] = tuple(
                kind for kind, is_it in (("norm", isinstance(module, NORMS)), ("bias", name.endswith("bias"))) if is_it
            )
    return kinds


def _matches(row: dict, name: str, kinds: tuple[str, ...], at: str) -> bool:
    if "kind" in row and row["kind"] not in KINDS:
        raise ConfigError(f"{at}.kind = {row['kind']!r}: it is one of {KINDS}")
    if "kind" not in row and "match" not in row:
        raise ConfigError(f"{at}: give match=regex or kind={KINDS}")
    return ("kind" not in row or row["kind"] in kinds) and ("match" not in row or bool(re.search(row["match"], name)))


class Ema:
    """Exponential moving average of a module's weights and buffers, kept as a module of its own for evaluation.

    decay: of the average; in the first steps the smaller (1 + step) / (10 + step) holds, so that the fresh start fades.
    Integer buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """model: the raw module after optimizer step number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = self.module.state_dict(), model.state_dict()
        floats = [key for key, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[key] for key in floats], [new[key] for key in floats], 1 - decay)
        for key in own.keys() - set(floats):
            own[key].copy_(new[key])


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity; one host read for all of them."""
    floats = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
    if not floats:
        return True
    return bool(torch.stack([torch.isfinite(t).all() for t in floats]).all())

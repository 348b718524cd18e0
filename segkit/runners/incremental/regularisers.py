"""Penalties on weights that move away from those of the step before: EWC, Path Integral, Riemannian Walk.

In the forms that MiB's code compares with. All three observe the gradient of the losses at each iteration of a step.
From the next step on they penalize (p - p_old)^2, weighted by the importance found so, which is scaled per tensor to
0..1.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8


class Regulariser:
    """Base of the regularisers: the penalty, and which weights are observed.

    Parameters that are new in this step have no penalty. Every process holds the same state, as all see the same
    averaged gradient.

    Args:
        model: the bare module as its step begins.
        old: state dict of the model of the step before, None in step 0.
        saved: state_dict() of that step's regulariser at its end. Without `old` or `saved` gradients are observed, and
            there is no penalty.
        importance: factor of the penalty.
        normalize: whether the importance of each tensor is scaled to 0..1.

    Attributes:
        anchors: weights of the step before by the parameter's name, from which the distance is measured.
        weights: importance of each weight in the penalty, by the parameter's name.

    Raises:
        ValueError: `saved` is another regulariser's, or a parameter changed its shape.
    """

    def __init__(
        self,
        model: nn.Module,
        old: dict[str, Tensor] | None = None,
        *,
        saved: dict[str, Any] | None = None,
        importance: float = 100.0,
        normalize: bool = True,
    ):
        if saved is not None and saved["name"] != self.name:
            raise ValueError(f"the step before saved the state of {saved['name']}, this step has {self.name}")
        self.importance, self.normalize = importance, normalize
        self.anchors = {} if old is None else _anchors(model, old)
        self.weights: dict[str, Tensor] = {}

    @property
    def name(self) -> str:
        """Name of the penalty in the log."""
        return type(self).__name__

    def after_backward(self, model: nn.Module) -> dict[str, Tensor]:
        """Observes the gradients of the losses, then adds that of the penalty to them.

        Gradients that are not finite (a step that the scaler of float16 skips) are not observed.

        Args:
            model: the bare module, its gradients unscaled.

        Returns:
            The penalty by its name, float32 []; {} where there is none.
        """
        gradients = {name: p.grad for name, p in _trainable(model) if p.grad is not None}
        if gradients:
            is_finite = torch.stack([grad.isfinite().all() for grad in gradients.values()]).all()
            gradients = {name: torch.where(is_finite, grad, 0) for name, grad in gradients.items()}
            self._observe(dict(_trainable(model)), gradients, is_finite)
        return self._penalise(model)

    def state_dict(self) -> dict[str, Any]:
        """Returns what the next step and a resumed run need, plain types and tensors by the parameter's name."""
        raise NotImplementedError(f"{type(self).__name__} gives no state_dict()")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of the same step."""
        raise NotImplementedError(f"{type(self).__name__} gives no load_state_dict()")

    def _observe(self, parameters: dict[str, nn.Parameter], gradients: dict[str, Tensor], is_finite: Tensor) -> None:
        """gradients: of those parameters that have one; is_finite: bool []; where False all gradients are 0."""
        raise NotImplementedError(f"{type(self).__name__} gives no _observe()")

    @torch.no_grad()
    def _penalise(self, model: nn.Module) -> dict[str, Tensor]:
        total: Tensor | None = None
        for name, parameter in _trainable(model):
            if name not in self.anchors or name not in self.weights:
                continue
            moved = parameter - self.anchors[name]
            slope = self.weights[name] * moved
            term = (slope * moved).sum()
            total = term if total is None else total + term
            slope.mul_(2 * self.importance)
            parameter.grad = slope if parameter.grad is None else parameter.grad.add_(slope)
        return {} if total is None else {self.name: self.importance * total}

    def _scaled(self, importance: dict[str, Tensor]) -> dict[str, Tensor]:
        return {n: min_max(value) for n, value in importance.items()} if self.normalize else dict(importance)


class EWC(Regulariser):
    """Elastic weight consolidation: the importance is a running mean of squared gradients (the Fisher information).

    The mean F starts at 1 and becomes alpha g^2 + (1 - alpha) F at every iteration; the next step continues from it.

    Kirkpatrick et al., PNAS 2017, https://arxiv.org/abs/1612.00796; the running mean as in Chaudhry et al., ECCV 2018,
    https://arxiv.org/abs/1801.10112, section 4.1.

    Args:
        model, old, saved: as in Regulariser.
        importance: factor of the penalty; 500 in MiB's table.
        alpha: weight of the newest squared gradient in the mean, 0..1.
        normalize: whether the importance of each tensor is scaled to 0..1.
    """

    def __init__(
        self,
        model: nn.Module,
        old: dict[str, Tensor] | None = None,
        *,
        saved: dict[str, Any] | None = None,
        importance: float = 500.0,
        alpha: float = 0.9,
        normalize: bool = True,
    ):
        super().__init__(model, old, saved=saved, importance=importance, normalize=normalize)
        self.alpha = alpha
        self.fisher = _continued(model, None if saved is None else saved["fisher"], start=1.0)
        self.weights = {} if saved is None else self._scaled(_on_device(saved["fisher"], model))

    def _observe(self, parameters: dict[str, nn.Parameter], gradients: dict[str, Tensor], is_finite: Tensor) -> None:
        _update_fisher(self.fisher, gradients, self.alpha * is_finite)

    def state_dict(self) -> dict[str, Any]:
        """Returns "name", and "fisher" by parameter."""
        return {"name": self.name, "fisher": self.fisher}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of the same step."""
        _load(self.fisher, state["fisher"])


class PI(Regulariser):
    """Path integral: the importance is the fall of the loss along a weight's path over its squared displacement.

    Each iteration adds g (p_before - p), where p_before is the weight one iteration earlier. The importance at the end
    is max(0, sum / ((p - p_start)^2 + 1e-20)) plus that of the steps before.

    Zenke et al., Continual Learning Through Synaptic Intelligence, ICML 2017, https://arxiv.org/abs/1703.04200.

    Args:
        model, old, saved: as in Regulariser.
        importance: factor of the penalty; 500 in MiB's table.
        normalize: whether the importance of each tensor is scaled to 0..1.
    """

    def __init__(
        self,
        model: nn.Module,
        old: dict[str, Tensor] | None = None,
        *,
        saved: dict[str, Any] | None = None,
        importance: float = 500.0,
        normalize: bool = True,
    ):
        super().__init__(model, old, saved=saved, importance=importance, normalize=normalize)
        parameters = dict(model.named_parameters())
        self.parameters = parameters
        self.start = {n: self.anchors[n] if n in self.anchors else p.detach().clone() for n, p in parameters.items()}
        self.delta = {n: torch.zeros_like(p, requires_grad=False) for n, p in parameters.items()}
        self.before: dict[str, Tensor] = {}
        self.old_score = {} if saved is None else _on_device(saved["score"], model)
        self.weights = self._scaled(self.old_score)

    @torch.no_grad()
    def _observe(self, parameters: dict[str, nn.Parameter], gradients: dict[str, Tensor], is_finite: Tensor) -> None:
        for name, gradient in gradients.items():
            if name in self.before:
                self.delta[name].addcmul_(gradient, self.before[name] - parameters[name])
        _remember(self.before, parameters, gradients)

    @torch.no_grad()
    def score(self) -> dict[str, Tensor]:
        """Returns the importance so far, by parameter."""
        score = {}
        for name, parameter in self.parameters.items():
            value = self.delta[name] / ((parameter - self.start[name]).square() + 1e-20)
            score[name] = torch.where(value > 0, value, 0.0)
            if name in self.old_score:
                score[name] += self.old_score[name]
        return score

    def state_dict(self) -> dict[str, Any]:
        """Returns "name" and "score" for the next step; "delta", "before" and "start" for a resumed run.

        "start" holds the parameters that are new in this step; the others start at the weights of the step before.
        """
        start = {name: value for name, value in self.start.items() if name not in self.anchors}
        return {"name": self.name, "score": self.score(), "delta": self.delta, "before": self.before, "start": start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of the same step."""
        _load(self.delta, state["delta"])
        _load(self.start, state["start"])
        self.before = {name: value.to(self.start[name].device, copy=True) for name, value in state["before"].items()}


class RW(Regulariser):
    """Riemannian walk: EWC's importance plus a score of the fall of the loss over the distance that a weight moved.

    F is EWC's. Every `interval` iterations, before F is updated, the score grows by
    g (p_before - p) / (F (p - p_before)^2 / 2 + 1e-8), where p_before is the weight `interval` iterations earlier. At
    the end it is max(0, score), averaged with that of the step before. The importance is the sum of both, each scaled.

    Chaudhry et al., ECCV 2018, https://arxiv.org/abs/1801.10112, section 4.

    Args:
        model, old, saved: as in Regulariser.
        importance: factor of the penalty; 100 in MiB's table.
        alpha: weight of the newest squared gradient in F, 0..1.
        interval: iterations between two updates of the score.
        normalize: whether F and score of each tensor are scaled to 0..1.
    """

    def __init__(
        self,
        model: nn.Module,
        old: dict[str, Tensor] | None = None,
        *,
        saved: dict[str, Any] | None = None,
        importance: float = 100.0,
        alpha: float = 0.9,
        interval: int = 10,
        normalize: bool = True,
    ):
        super().__init__(model, old, saved=saved, importance=importance, normalize=normalize)
        self.alpha, self.interval, self.count = alpha, interval, 0
        self.fisher = _continued(model, None if saved is None else saved["fisher"], start=1.0)
        self.walked = _continued(model, None, start=0.0)
        self.before: dict[str, Tensor] = {}
        self.old_score = {} if saved is None else _on_device(saved["score"], model)
        if saved is not None:
            scores = self._scaled(self.old_score)
            fisher = self._scaled(_on_device(saved["fisher"], model))
            self.weights = {n: value + scores[n] if n in scores else value for n, value in fisher.items()}

    @torch.no_grad()
    def _observe(self, parameters: dict[str, nn.Parameter], gradients: dict[str, Tensor], is_finite: Tensor) -> None:
        if self.count % self.interval == 0:
            for name, gradient in gradients.items():
                if name in self.before:
                    step = parameters[name] - self.before[name]
                    distance = 0.5 * self.fisher[name] * step.square() + EPSILON
                    self.walked[name] -= gradient * step / distance
            _remember(self.before, parameters, gradients)
        self.count += 1
        _update_fisher(self.fisher, gradients, self.alpha * is_finite)

    def score(self) -> dict[str, Tensor]:
        """Returns the score so far, by parameter."""
        score = {name: value.clamp_min(0) for name, value in self.walked.items()}
        for name in score.keys() & self.old_score.keys():
            score[name] = 0.5 * (score[name] + self.old_score[name])
        return score

    def state_dict(self) -> dict[str, Any]:
        """Returns "name", "fisher", "score" for the next step; "walked", "before", "count" for a resumed run."""
        return {
            "name": self.name,
            "fisher": self.fisher,
            "score": self.score(),
            "walked": self.walked,
            "before": self.before,
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of the same step."""
        _load(self.fisher, state["fisher"])
        _load(self.walked, state["walked"])
        self.before = {name: value.to(self.walked[name].device, copy=True) for name, value in state["before"].items()}
        self.count = state["count"]


REGULARISERS: dict[str, type[Regulariser]] = {"EWC": EWC, "PI": PI, "RW": RW}
"""The regularisers by the `type` of runner.regulariser."""


def min_max(values: Tensor) -> Tensor:
    """Scales values to 0..1: (v - smallest) / (largest - smallest + 1e-8)."""
    smallest, largest = values.aminmax()
    return (values - smallest) / (largest - smallest + EPSILON)


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _anchors(model: nn.Module, old: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the weights of the step before, on the device of the parameters of the same names."""
    anchors = {}
    for name, parameter in model.named_parameters():
        if name not in old:
            continue
        if old[name].shape != parameter.shape:
            raise ValueError(
                f"{name} is {tuple(parameter.shape)}, in the step before it was {tuple(old[name].shape)}: "
                "use a head that grows by one classifier per step, which keeps the shapes"
            )
        anchors[name] = old[name].detach().to(parameter.device, parameter.dtype, copy=True)
    return anchors


def _on_device(values: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Copies on the device of the parameters of the same names; others are left out."""
    parameters = dict(model.named_parameters())
    return {n: value.to(parameters[n].device, copy=True) for n, value in values.items() if n in parameters}


def _continued(model: nn.Module, values: dict[str, Tensor] | None, *, start: float) -> dict[str, Tensor]:
    """One tensor per trainable parameter: a copy of the value of its name, or filled with `start`."""
    known = {} if values is None else _on_device(values, model)
    return {n: known[n] if n in known else torch.full_like(p, start, requires_grad=False) for n, p in _trainable(model)}


def _update_fisher(fisher: dict[str, Tensor], gradients: dict[str, Tensor], alpha: Tensor) -> None:
    for name, gradient in gradients.items():
        fisher[name].mul_(1 - alpha).addcmul_(gradient, gradient * alpha)


def _remember(before: dict[str, Tensor], parameters: dict[str, nn.Parameter], gradients: dict[str, Tensor]) -> None:
    for name in gradients:
        value = parameters[name].detach()
        before[name] = before[name].copy_(value) if name in before else value.clone()


def _load(target: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        target[name].copy_(value)

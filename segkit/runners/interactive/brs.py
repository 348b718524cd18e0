"""f-BRS: Rethinking Backpropagating Refinement, Sofiiuk et al., CVPR 2020, https://arxiv.org/abs/2001.10331.

After each click a few variables are fitted until the network answers every click: added to its inputs (BRS, Jang and
Kim, CVPR 2019, the paper's reference [12]) or scaling and shifting channels of features (f-BRS). h w network input.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segkit.models.layers import resize
from segkit.registry import ConfigError
from segkit.runners.interactive.clicker import Click
from segkit.settings import ClickInference

WEIGHT = 1e-3
SHIFT_WEIGHT = 10.0
"""Of the squared variables in the loss; shifts of channels weigh ten times as much as their scales."""


class Memory(NamedTuple):
    """What the next click starts from. optimum: float64 [n], the fitted variables; features: of f-BRS, else None."""

    optimum: np.ndarray
    features: list[Tensor] | None = None


class Inputs(NamedTuple):
    """One image as the network sees it. seen: float [1,3,h,w], normalized, or [2,3,h,w] with its mirrored copy;
    guidance: float [1 or 2,G,h,w]; clicks: for each copy all that were made, in pixels of h w; is_new: whether the
    zoom has moved since the last click."""

    seen: Tensor
    guidance: Tensor
    clicks: Sequence[Sequence[Click]]
    is_new: bool


Predict = Callable[[Tensor], tuple[Tensor, Tensor]]
"""float32 [n] variables -> logits float [1 or 2,1,h',w'] at any size, and the variables' own loss []."""


class Objective:
    """What L-BFGS minimises: squared errors around the clicks and the variables' own loss.

    It reports a zero gradient, which ends the search, when no click is answered wrongly or the mask stays as it was.
    squares: float [1 or 2,2,h,w], 1 around positive and around negative clicks. best: float [1 or 2,1,h,w], the logits
    of the smallest loss so far, None before the first call.
    """

    def __init__(self, predict: Predict, squares: Tensor, *, threshold: float, min_change: float):
        self.predict, self.squares = predict, squares
        self.threshold, self.min_change = threshold, min_change
        self.best: Tensor | None = None
        self.smallest = float("inf")
        self.mask: Tensor | None = None

    def __call__(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """float64 [n] -> loss and its gradient, float64 [n]."""
        positive, negative = self.squares[:, :1], self.squares[:, 1:]
        variables = torch.from_numpy(values).to(positive.device, torch.float32).requires_grad_()
        with torch.enable_grad():
            logits, own = self.predict(variables)
            found = logits.sigmoid()
            missed, extra = (1 - found) * positive, found * negative
            loss = missed.square().sum() / (positive.sum() + 1e-5) + extra.square().sum() / (negative.sum() + 1e-5)
            loss = loss + own
        value = loss.item()
        if value < self.smallest:
            self.smallest, self.best = value, logits.detach()
        is_answered = missed.max().item() < 1 - self.threshold and extra.max().item() < self.threshold
        if is_answered or self._is_still(found.detach() > self.threshold):
            return value, np.zeros_like(values)
        (gradient,) = torch.autograd.grad(loss, variables)
        return value, gradient.cpu().numpy().astype(np.float64)

    def _is_still(self, mask: Tensor) -> bool:
        """mask: bool [1 or 2,1,h,w]; kept for the next call where it has changed."""
        if self.mask is not None and self.min_change > 0:
            shared, union = ((m.flatten(1).sum(1)) for m in (mask & self.mask, mask | self.mask))
            ious = shared[union > 0] / union[union > 0]
            if len(ious) and ious.mean().item() > 1 - self.min_change:
                return True
        self.mask = mask
        return False


class InputFit:
    """Variables added to the normalized image, or to the click maps of the guidance (from channel `first` on); they
    start afresh when the zoom moves."""

    def __init__(self, model: nn.Module, limit: int, is_image: bool):
        self.model, self.is_image = model, is_image
        self.first = 0 if is_image else int(model.has_previous)

    def start(self, inputs: Inputs, memory: Memory | None) -> tuple[Memory, Predict]:
        """-> the variables to start from and what they do."""
        changed, kept = (inputs.seen, inputs.guidance) if self.is_image else (inputs.guidance, inputs.seen)
        shape = (1, changed.shape[1] - self.first, *changed.shape[2:])
        if memory is None or inputs.is_new:
            memory = Memory(np.zeros(int(np.prod(shape))))

        def predict(variables: Tensor) -> tuple[Tensor, Tensor]:
            bias = variables.view(shape)
            bias = torch.cat([bias, bias.flip(-1)]) if len(changed) == 2 else bias
            moved = torch.cat([changed[:, : self.first], changed[:, self.first :] + bias], dim=1)
            pair = (moved, kept) if self.is_image else (kept, moved)
            return self.model.run(*pair)["logits"], WEIGHT * bias.square().sum()

        return memory, predict


class FeatureFit:
    """A scale and a shift for each channel of features, the same for the image and its mirrored copy.

    letter: "A", "B" or "C"; the head's `scale_points` name the submodules whose outputs are meant. A head without them
    has A alone: the backbone's deepest map. The backbone runs again while the network still sees new clicks, and when
    the zoom moves.
    """

    def __init__(self, model: nn.Module, limit: int, letter: str):
        points = getattr(model.head, "scale_points", {})
        if letter not in points and (points or letter != "A"):
            raise ConfigError(
                f"inference.clicks.brs = 'f-BRS-{letter}': {type(model.head).__name__} names no such place in its "
                f"scale_points; there is {', '.join(f'f-BRS-{name}' for name in points or 'A')}"
            )
        self.model, self.limit = model, limit
        self.modules = [model.head.get_submodule(path) for path in points.get(letter, ())]

    def start(self, inputs: Inputs, memory: Memory | None) -> tuple[Memory, Predict]:
        """As InputFit.start."""
        features = None if memory is None else memory.features
        if features is None or inputs.is_new or len(inputs.clicks[0]) <= self.limit:
            features = self.model.features(inputs.seen, inputs.guidance)
        optimum = np.zeros(2 * sum(self._channels(features, inputs.seen))) if memory is None else memory.optimum

        def predict(variables: Tensor) -> tuple[Tensor, Tensor]:
            scale, shift = variables.chunk(2)
            own = WEIGHT * (scale.square().sum() + SHIFT_WEIGHT * shift.square().sum())
            return self._logits(features, inputs.seen, (1 + scale, shift)), own

        # with fewer clicks the next one has the backbone run again
        return Memory(optimum, features if len(inputs.clicks[0]) >= self.limit else None), predict

    def _channels(self, features: list[Tensor], seen: Tensor) -> list[int]:
        """Widths of the places, read off one pass of the head."""
        if not self.modules:
            return [features[-1].shape[1]]
        widths: list[int] = []
        with ExitStack() as hooks:
            for module in self.modules:
                hook = module.register_forward_hook(lambda m, x, y: widths.append(y.shape[1]))
                hooks.callback(hook.remove)
            self.model.outputs_of(features, seen)
        return widths

    def _logits(self, features: list[Tensor], seen: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        scale, shift = (v.view(1, -1, 1, 1) for v in pair)
        if not self.modules:
            return self.model.outputs_of([*features[:-1], features[-1] * scale + shift], seen)["logits"]
        is_fitted, start = torch.is_grad_enabled(), 0

        def change(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
            nonlocal start
            part = slice(start, start + output.shape[1])
            start = part.stop
            # what comes before the first place does not depend on the variables: only from here on there is a graph
            torch.set_grad_enabled(is_fitted)
            return output * scale[:, part] + shift[:, part]

        with ExitStack() as hooks, torch.no_grad():
            for module in self.modules:
                hooks.callback(module.register_forward_hook(change).remove)
            return self.model.outputs_of(features, seen)["logits"]


FITS: dict[str, tuple[Callable, bool | str, int]] = {
    "RGB-BRS": (InputFit, True, 5),
    "DistMap-BRS": (InputFit, False, 5),
    "f-BRS-A": (FeatureFit, "A", 8),
    "f-BRS-B": (FeatureFit, "B", 8),
    "f-BRS-C": (FeatureFit, "C", 8),
}
"""What is fitted, where, and how many clicks the network sees unless the settings say so."""


class Refinement:
    """settings.brs on a ClickSegmentor; raises ConfigError for an unknown name. limit: clicks the network sees."""

    def __init__(self, model: nn.Module, settings: ClickInference):
        if settings.brs not in FITS:
            raise ConfigError(f"inference.clicks.brs = {settings.brs!r}: choose None or one of {', '.join(FITS)}")
        fit, where, limit = FITS[settings.brs]
        self.limit = limit if settings.clicks_limit is None else settings.clicks_limit
        self.fit = fit(model, self.limit, where)
        self.align_corners, self.settings = model.align_corners, settings

    def __call__(self, inputs: Inputs, memory: Memory | None) -> tuple[Tensor, Memory]:
        """-> logits float32 [1 or 2,1,h,w] of the smallest loss, and what the next click starts from."""
        size = tuple(inputs.seen.shape[-2:])
        memory, predict_small = self.fit.start(inputs, memory)

        def predict(variables: Tensor) -> tuple[Tensor, Tensor]:
            logits, own = predict_small(variables)
            return resize(logits.float(), size=size, align_corners=self.align_corners), own

        if len(inputs.clicks[0]) <= self.settings.brs_after:
            start = torch.from_numpy(memory.optimum).to(inputs.seen.device, torch.float32)
            return predict(start)[0], memory
        objective = Objective(
            predict,
            click_squares(inputs.clicks, size, inputs.seen.device),
            threshold=self.settings.threshold,
            min_change=self.settings.brs_min_change,
        )
        optimum = _minimise(objective, memory.optimum, self.settings.brs_evaluations)
        return objective.best, memory._replace(optimum=optimum)


def _minimise(objective: Objective, start: np.ndarray, evaluations: int) -> np.ndarray:
    from scipy.optimize import fmin_l_bfgs_b

    return fmin_l_bfgs_b(objective, start, m=20, factr=0, pgtol=1e-8, maxfun=evaluations, maxiter=2 * evaluations)[0]


def click_squares(clicks: Sequence[Sequence[Click]], size: tuple[int, int], device: torch.device) -> Tensor:
    """-> float32 [B,2,h,w], 1 in the 3x3 pixels around each positive, around each negative click. The published code
    leaves out clicks in the first row or column; here their squares are cut at the border."""
    squares = np.zeros((len(clicks), 2, *size), np.float32)
    for plane, row in zip(squares, clicks):
        for click in row:
            y, x = round(click.y), round(click.x)
            plane[0 if click.is_positive else 1, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
    return torch.from_numpy(squares).to(device)

"""Backpropagating refinement of clicks: f-BRS, Sofiiuk et al., CVPR 2020, https://arxiv.org/abs/2001.10331.

After each click a few variables are fitted until the network's prediction agrees with every click: added to its inputs
(BRS, Jang and Kim, CVPR 2019, the paper's reference [12]) or scaling and shifting channels of features (f-BRS). h w
input of the network.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from segkit.models.click_segmentor import ClickSegmentor
from segkit.models.layers import resize
from segkit.registry import ConfigError
from segkit.runners.interactive.clicker import Click
from segkit.settings import ClickInference

WEIGHT = 1e-3
"""Weight of the squared variables in the loss."""

SHIFT_WEIGHT = 10.0
"""Shifts of channels weigh this many times as much in the loss as their scales."""


class Memory(NamedTuple):
    """State that the refinement of the next click starts from.

    Attributes:
        optimum: float64 [n], the fitted variables.
        features: of the backbone, kept by f-BRS; None where they are computed again.
    """

    optimum: np.ndarray
    features: list[Tensor] | None = None


class Inputs(NamedTuple):
    """One image as the network sees it.

    Attributes:
        seen: float [1,3,h,w], normalized, or [2,3,h,w] together with its mirrored copy.
        guidance: float [1 or 2,G,h,w].
        clicks: for each copy all clicks so far, in pixels of h w.
        is_new: whether the zoom has moved since the last click.
    """

    seen: Tensor
    guidance: Tensor
    clicks: Sequence[Sequence[Click]]
    is_new: bool


Predict: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps variables, float32 [n], to logits float [1 or 2,1,h',w'] of any size and the variables' own loss, float []."""


class Objective:
    """The function that L-BFGS minimizes: squared errors around the clicks plus the variables' own loss.

    It reports a zero gradient, which ends the search, when the prediction agrees with every click or the mask no longer
    changes.

    Args:
        predict: maps variables to logits at the size of the network's input.
        squares: float [1 or 2,2,h,w], 1 around positive and around negative clicks.
        threshold: probability above which a pixel belongs to the object.
        min_change: 1 - IoU with the mask before, below which the mask counts as unchanged; 0 turns this off.

    Attributes:
        best: float [1 or 2,1,h,w], the logits of the smallest loss so far; None before the first call.
    """

    def __init__(self, predict: Predict, squares: Tensor, *, threshold: float, min_change: float):
        self.predict, self.squares = predict, squares
        self.threshold, self.min_change = threshold, min_change
        self.best: Tensor | None = None
        self.smallest = float("inf")
        self.mask: Tensor | None = None

    def __call__(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """Computes the loss and its gradient.

        Args:
            values: float64 [n], the variables.

        Returns:
            The loss, and its gradient float64 [n].
        """
        positive, negative = self.squares[:, :1], self.squares[:, 1:]
        variables = torch.from_numpy(values).to(positive.device, torch.float32).requires_grad_()
        with torch.enable_grad():
            logits, variables_loss = self.predict(variables)
            probabilities = logits.sigmoid()
            missed, extra = (1 - probabilities) * positive, probabilities * negative
            loss = missed.square().sum() / (positive.sum() + 1e-5) + extra.square().sum() / (negative.sum() + 1e-5)
            loss = loss + variables_loss
        value = loss.item()
        if value < self.smallest:
            self.smallest, self.best = value, logits.detach()
        agrees = missed.max().item() < 1 - self.threshold and extra.max().item() < self.threshold
        if agrees or self._is_unchanged(probabilities.detach() > self.threshold):
            return value, np.zeros_like(values)
        (gradient,) = torch.autograd.grad(loss, variables)
        return value, gradient.cpu().numpy().astype(np.float64)

    def _is_unchanged(self, mask: Tensor) -> bool:
        """Compares a mask, bool [1 or 2,1,h,w], with the one before, and keeps it for the next call if it changed."""
        if self.mask is not None and self.min_change > 0:
            shared = (mask & self.mask).flatten(1).sum(1)
            union = (mask | self.mask).flatten(1).sum(1)
            ious = shared[union > 0] / union[union > 0]
            if len(ious) and ious.mean().item() > 1 - self.min_change:
                return True
        self.mask = mask
        return False


class InputFit:
    """Fits variables that are added to the network's input; they start from 0 again when the zoom moves.

    Args:
        model: the click model.
        is_image: whether they are added to the normalized image; otherwise to the click maps of the guidance, all its
            channels but the previous mask.
    """

    def __init__(self, model: ClickSegmentor, *, is_image: bool):
        self.model, self.is_image = model, is_image
        self.first = 0 if is_image else int(model.has_previous)

    def start(self, inputs: Inputs, memory: Memory | None) -> tuple[Memory, Predict]:
        """Begins the refinement of a click.

        Args:
            inputs: of the network.
            memory: state after the click before; None at the first click.

        Returns:
            State with the variables to start from, and the function that predicts with variables.
        """
        changed = inputs.seen if self.is_image else inputs.guidance
        shape = (1, changed.shape[1] - self.first, *changed.shape[2:])
        if memory is None or inputs.is_new:
            memory = Memory(np.zeros(int(np.prod(shape))))

        def predict(variables: Tensor) -> tuple[Tensor, Tensor]:
            bias = variables.view(shape)
            bias = torch.cat([bias, bias.flip(-1)]) if len(changed) == 2 else bias
            moved = torch.cat([changed[:, : self.first], changed[:, self.first :] + bias], dim=1)
            if self.is_image:
                outputs = self.model.run(moved, inputs.guidance)
            else:
                outputs = self.model.run(inputs.seen, moved)
            return outputs["logits"], WEIGHT * bias.square().sum()

        return memory, predict


class FeatureFit:
    """Fits a scale and a shift for each channel of feature maps, shared by the image and its mirrored copy.

    The backbone runs again while the network still sees new clicks, and when the zoom moves.

    Args:
        model: the click model.
        limit: clicks that the network sees.
        letter: "A", "B" or "C", a key of the head's `scale_points`, which name the submodules whose outputs are scaled.
            A head without scale_points has A alone: the backbone's deepest feature map.

    Raises:
        ConfigError: the head has no such scale point.
    """

    def __init__(self, model: ClickSegmentor, limit: int, *, letter: str):
        points = model.head.scale_points
        if letter not in points and (points or letter != "A"):
            available = ", ".join(f"f-BRS-{name}" for name in points or "A")
            raise ConfigError(
                f"inference.clicks.brs = 'f-BRS-{letter}': {type(model.head).__name__} names no such point in its "
                f"scale_points; available: {available}"
            )
        self.model, self.limit = model, limit
        self.modules = [model.head.get_submodule(path) for path in points.get(letter, ())]

    def start(self, inputs: Inputs, memory: Memory | None) -> tuple[Memory, Predict]:
        """Begins the refinement of a click; see InputFit.start."""
        kept = None if memory is None else memory.features
        if kept is None or inputs.is_new or len(inputs.clicks[0]) <= self.limit:
            kept = self.model.features(inputs.seen, inputs.guidance)
        features = kept
        optimum = np.zeros(2 * sum(self._channels(features, inputs.seen))) if memory is None else memory.optimum

        def predict(variables: Tensor) -> tuple[Tensor, Tensor]:
            scale, shift = variables.chunk(2)
            variables_loss = WEIGHT * (scale.square().sum() + SHIFT_WEIGHT * shift.square().sum())
            return self._logits(features, inputs.seen, scale=1 + scale, shift=shift), variables_loss

        # with fewer clicks the backbone runs again at the next one
        return Memory(optimum, features if len(inputs.clicks[0]) >= self.limit else None), predict

    def _channels(self, features: list[Tensor], seen: Tensor) -> list[int]:
        """Channels of the scaled feature maps, read off one pass of the head."""
        if not self.modules:
            return [features[-1].shape[1]]
        widths: list[int] = []
        with ExitStack() as hooks:
            for module in self.modules:
                hook = module.register_forward_hook(lambda m, x, y: widths.append(y.shape[1]))
                hooks.callback(hook.remove)
            self.model.outputs_of(features, seen)
        return widths

    def _logits(self, features: list[Tensor], seen: Tensor, *, scale: Tensor, shift: Tensor) -> Tensor:
        """The head's logits with feature maps scaled and shifted, float [n] each, over all scaled maps in order."""
        scale, shift = scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
        if not self.modules:
            return self.model.outputs_of([*features[:-1], features[-1] * scale + shift], seen)["logits"]
        has_gradient, start = torch.is_grad_enabled(), 0

        def change(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
            nonlocal start
            channels = slice(start, start + output.shape[1])
            start = channels.stop
            # nothing before the first scaled map depends on the variables: only from here on there is a graph
            torch.set_grad_enabled(has_gradient)
            return output * scale[:, channels] + shift[:, channels]

        with ExitStack() as hooks, torch.no_grad():
            for module in self.modules:
                hooks.callback(module.register_forward_hook(change).remove)
            return self.model.outputs_of(features, seen)["logits"]


CLICKS_LIMITS = {"RGB-BRS": 5, "DistMap-BRS": 5, "f-BRS-A": 8, "f-BRS-B": 8, "f-BRS-C": 8}
"""Clicks that the network sees with each method, unless the settings say otherwise."""


def _build_fit(name: str, model: ClickSegmentor, limit: int) -> InputFit | FeatureFit:
    if name.startswith("f-BRS-"):
        return FeatureFit(model, limit, letter=name.removeprefix("f-BRS-"))
    return InputFit(model, is_image=name == "RGB-BRS")


class Refinement:
    """Refines the predictions of a click model by backpropagation.

    Args:
        model: the click model.
        settings: section inference.clicks, with `brs` set.

    Attributes:
        limit: clicks that the network sees.

    Raises:
        ConfigError: there is no method of this name, or the model cannot use it.
    """

    def __init__(self, model: ClickSegmentor, settings: ClickInference):
        if settings.brs not in CLICKS_LIMITS:
            raise ConfigError(
                f"inference.clicks.brs = {settings.brs!r}: must be None or one of {', '.join(CLICKS_LIMITS)}"
            )
        self.limit = CLICKS_LIMITS[settings.brs] if settings.clicks_limit is None else settings.clicks_limit
        self.fit = _build_fit(settings.brs, model, self.limit)
        self.align_corners, self.settings = model.align_corners, settings

    def __call__(self, inputs: Inputs, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Predicts after a click.

        Args:
            inputs: of the network.
            memory: state after the click before; None at the first click.

        Returns:
            The logits of the smallest loss, float32 [1 or 2,1,h,w], and the state for the next click.
        """
        height, width = inputs.seen.shape[-2:]
        memory, predict_small = self.fit.start(inputs, memory)

        def predict(variables: Tensor) -> tuple[Tensor, Tensor]:
            logits, variables_loss = predict_small(variables)
            return resize(logits.float(), size=(height, width), align_corners=self.align_corners), variables_loss

        if len(inputs.clicks[0]) <= self.settings.brs_after:
            start = torch.from_numpy(memory.optimum).to(inputs.seen.device, torch.float32)
            return predict(start)[0], memory
        objective = Objective(
            predict,
            click_squares(inputs.clicks, (height, width), inputs.seen.device),
            threshold=self.settings.threshold,
            min_change=self.settings.brs_min_change,
        )
        optimum = _minimize(objective, memory.optimum, self.settings.brs_evaluations)
        assert objective.best is not None, "the loss at the start is finite"
        return objective.best, memory._replace(optimum=optimum)


def _minimize(objective: Objective, start: np.ndarray, evaluations: int) -> np.ndarray:
    from scipy.optimize import fmin_l_bfgs_b

    return fmin_l_bfgs_b(objective, start, m=20, factr=0, pgtol=1e-8, maxfun=evaluations, maxiter=2 * evaluations)[0]


def click_squares(clicks: Sequence[Sequence[Click]], size: tuple[int, int], device: torch.device) -> Tensor:
    """Draws the 3x3 pixels around each click.

    The published code leaves out clicks in the first row or column; here their squares are cut at the border.

    Args:
        clicks: of each of B images, in pixels.
        size: (h, w).
        device: of the result.

    Returns:
        float32 [B,2,h,w], 1 around each positive and around each negative click, 0 elsewhere.
    """
    squares = np.zeros((len(clicks), 2, *size), np.float32)
    for plane, image_clicks in zip(squares, clicks):
        for click in image_clicks:
            y, x = round(click.y), round(click.x)
            plane[0 if click.is_positive else 1, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
    return torch.from_numpy(squares).to(device)

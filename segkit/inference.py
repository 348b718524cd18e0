"""Ways to run a model over an image, as functions that compose: slide(whole(model), crop, stride=...)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.ops.fold_norms import folded
from segkit.registry import ConfigError
from segkit.settings import InferenceSettings, TTASettings

Predict = Callable[..., Tensor]
"""(image [B,C,H,W], window=None) -> logits float32 [B,K,H,W]"""
Score = Callable[[Tensor, tuple[int, int]], Tensor]
"""(image [B,C,H,W], size) -> scores float32 [B,K,*size]: logits, or mean probabilities under test-time augmentation"""


def whole(model: nn.Module, *, fold_norms: bool = False) -> Predict:
    """The model on the image at once, its logits resized to the image; fold_norms: by a copy without normalizations."""

    def predict(image: Tensor, window: list | None = None) -> Tensor:
        def run(network: nn.Module) -> Tensor:
            return network(image, window=window)["logits"].float()

        logits = run(folded(model, run) if fold_norms else model)
        return _resize(logits, tuple(image.shape[-2:]), model.align_corners)

    return predict


def slide(predict: Predict, crop: tuple[int, int], *, stride: tuple[int, int]) -> Predict:
    """Mean of the logits of overlapping windows; windows at the right and bottom are shifted back inside.

    crop, stride: (height, width) in pixels. A crop larger than the image is the whole image.
    """
    if stride[0] > crop[0] or stride[1] > crop[1] or min(stride) < 1:
        raise ConfigError(f"inference.stride = {stride}: it must lie between 1 and inference.crop = {crop}")

    def predict_windows(image: Tensor, window: list | None = None) -> Tensor:
        height, width = image.shape[-2:]
        total: Tensor | None = None
        count = torch.zeros(1, 1, height, width, device=image.device)
        for y in _starts(height, crop[0], stride[0]):
            for x in _starts(width, crop[1], stride[1]):
                y1, x1 = min(y + crop[0], height), min(x + crop[1], width)
                part = predict(image[..., y:y1, x:x1], window=[(y, x, y1, x1, height, width)] * len(image))
                if total is None:
                    total = part.new_zeros(len(image), part.shape[1], height, width)
                total[..., y:y1, x:x1] += part
                count[..., y:y1, x:x1] += 1
        assert total is not None
        return total / count

    return predict_windows


def _starts(length: int, crop: int, stride: int) -> list[int]:
    last = max(length - crop, 0)
    count = -(-last // stride) + 1
    return [min(i * stride, last) for i in range(count)]


def padded(predict: Predict, divisor: int, fill: Tensor) -> Predict:
    """Pads the image at the right and bottom to a multiple of divisor with fill [1,C,1,1], crops the logits back."""

    def predict_padded(image: Tensor, window: list | None = None) -> Tensor:
        height, width = image.shape[-2:]
        below, beside = -height % divisor, -width % divisor
        if not below and not beside:
            return predict(image, window=window)
        canvas = fill.to(image.device, torch.float32).expand(len(image), -1, height + below, width + beside).clone()
        canvas[..., :height, :width] = image
        return predict(canvas, window=window)[..., :height, :width]

    return predict_padded


def at_size(predict: Predict, align_corners: bool = False) -> Score:
    """Logits resized to the wanted size, usually the image's original one; probabilities where there is one channel."""

    def score(image: Tensor, size: tuple[int, int]) -> Tensor:
        logits = _resize(predict(image), size, align_corners)
        return logits.sigmoid() if logits.shape[1] == 1 else logits

    return score


def tta(predict: Predict, scales: tuple[float, ...], *, flip: bool, align_corners: bool = False) -> Score:
    """Mean probabilities over scales, each also mirrored with flip; scaled sizes are rounded to the nearest pixel."""

    def score(image: Tensor, size: tuple[int, int]) -> Tensor:
        views = []
        for scale in scales:
            scaled = tuple(int(length * scale + 0.5) for length in image.shape[-2:])
            view = _resize(image.float(), scaled, False)
            views.append(to_probabilities(_resize(predict(view), size, align_corners)))
            if flip:
                mirrored = predict(view.flip(-1)).flip(-1)
                views.append(to_probabilities(_resize(mirrored, size, align_corners)))
        return torch.stack(views).mean(0)

    return score


def to_probabilities(logits: Tensor) -> Tensor:
    """[B,K,H,W] -> softmax over K, or the sigmoid where there is one channel."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def to_labels(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Scores [B,K,H,W] -> uint8 (int16 from 257 classes on) [B,H,W]: the best class; with one channel, probabilities
    above the threshold are 1."""
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > threshold).to(torch.uint8)
    return probabilities.argmax(1).to(torch.uint8 if probabilities.shape[1] <= 256 else torch.int16)


def _resize(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    return (
        x
        if tuple(x.shape[-2:]) == tuple(size)
        else F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    )


def build_score(model: nn.Module, settings: InferenceSettings) -> Score:
    """Section `inference` -> (image, size) -> scores. Scores are probabilities under test-time augmentation and for
    models of one channel, logits otherwise."""
    predict = whole(model, fold_norms=settings.fold_norms)
    if settings.mode == "slide":
        if settings.crop is None or settings.stride is None:
            raise ConfigError("inference.mode = 'slide' needs inference.crop and inference.stride, as (height, width)")
        predict = slide(predict, settings.crop, stride=settings.stride)
    elif settings.mode != "whole":
        raise ConfigError(f"inference.mode = {settings.mode!r}: it is 'whole' or 'slide'")
    if settings.pad_divisor > 1:
        predict = padded(predict, settings.pad_divisor, model.mean)
    if settings.tta is not None:
        options = TTASettings(**settings.tta)
        return tta(predict, tuple(options.scales), flip=options.flip, align_corners=model.align_corners)
    return at_size(predict, model.align_corners)

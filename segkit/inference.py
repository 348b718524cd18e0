"""Ways to run a model over an image, as functions that compose: slide(whole(model), crop, stride=...).

B batch, C channels of the image, K classes, H W image.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segkit.data.transforms.sizes import as_size
from segkit.models.bases import Network, gives_scores, maps_of
from segkit.ops.class_balance import class_areas, match_areas
from segkit.ops.fold_norms import folded
from segkit.ops.resizing import resize, to_original
from segkit.refiners.base import Refiner
from segkit.registry import ConfigError
from segkit.settings import InferenceSettings, TTASettings
from segkit.types import Meta
from segkit.windows.sliding import Predict, slide, slide_labels

Score = Callable[..., Tensor]
"""score(image, size, matrix=None): takes an image [B,C,H,W], the size of the stored image and the matrix of Meta that
took it to this one; returns scores float32 [B,K,*size]: logits, or mean probabilities under test-time augmentation."""


class PresenceRecord:
    """Keeps which classes a network says an image holds, its output "presence", while the image is predicted.

    Of several windows a class counts with its largest probability, since it may lie in one of them alone; of several
    views of test-time augmentation with the mean over the views.
    """

    def __init__(self) -> None:
        self._view: Tensor | None = None
        self._total: Tensor | None = None
        self._views = 0

    def add(self, logits: Tensor) -> None:
        """Takes the logits of a run of the network, float [B,K]."""
        probabilities = logits.detach().float().sigmoid()
        self._view = probabilities if self._view is None else torch.maximum(self._view, probabilities)

    def end_view(self) -> None:
        """Ends a view of the image, to which all windows since the last one belong."""
        if self._view is not None:
            self._total = self._view if self._total is None else self._total + self._view
            self._view, self._views = None, self._views + 1

    def take(self) -> Tensor | None:
        """Returns the probabilities, float32 [B,K], and forgets them; None of a network without "presence"."""
        presence = None if self._total is None else self._total / self._views
        self._view, self._total, self._views = None, None, 0
        return presence


def whole(model: Network, *, fold_norms: bool = False, record: PresenceRecord | None = None) -> Predict:
    """Predicts the whole image at once: the network's logits at the image's size, or its scores.

    Args:
        model: see Network.maps.
        fold_norms: runs a copy whose normalizations are folded into its convolutions, see ops.fold_norms.
        record: takes the presence of classes, where the model predicts it.
    """

    def predict(image: Tensor, window: list | None = None) -> Tensor:
        size = (image.shape[-2], image.shape[-1])

        def run(network: nn.Module) -> Tensor:
            return maps_of(model, network(image, window=window), size, model.align_corners)

        network = folded(model, run) if fold_norms else model
        outputs = network(image, window=window)
        if record is not None and "presence" in outputs:
            record.add(outputs["presence"])
        return maps_of(model, outputs, size, model.align_corners)

    return predict


def as_view(predict: Predict, record: PresenceRecord) -> Predict:
    """Predicts, and ends a view of the record afterwards."""

    def predict_view(image: Tensor, window: list | None = None) -> Tensor:
        logits = predict(image, window=window)
        record.end_view()
        return logits

    return predict_view


def padded(predict: Predict, divisor: int, fill: Tensor) -> Predict:
    """Pads the image at the right and bottom, and crops the logits back to the image.

    Args:
        predict: is given the padded image.
        divisor: height and width are padded to a multiple of it.
        fill: [1,C,1,1], the color of the padding in 0..255.
    """

    def predict_padded(image: Tensor, window: list | None = None) -> Tensor:
        height, width = image.shape[-2:]
        below, beside = -height % divisor, -width % divisor
        if not below and not beside:
            return predict(image, window=window)
        canvas = fill.to(image.device, torch.float32).expand(len(image), -1, height + below, width + beside).clone()
        canvas[..., :height, :width] = image
        return predict(canvas, window=window)[..., :height, :width]

    return predict_padded


def at_size(
    predict: Predict, align_corners: bool = False, *, activation: Callable[[Tensor], Tensor] = torch.sigmoid
) -> Score:
    """Brings the logits back to the stored image, see ops.resizing.to_original.

    Args:
        predict: gives the logits.
        align_corners: of the resizing.
        activation: turns the logits of a single channel into probabilities.

    Returns:
        A function that gives logits, or probabilities where there is one channel.
    """

    def score(image: Tensor, size: tuple[int, int], matrix: np.ndarray | None = None) -> Tensor:
        seen = (image.shape[-2], image.shape[-1])
        logits = to_original(predict(image), size, matrix, seen=seen, align_corners=align_corners)
        return activation(logits) if logits.shape[1] == 1 else logits

    return score


def to_probabilities(logits: Tensor) -> Tensor:
    """Returns the softmax of logits [B,K,H,W] over the classes, or the sigmoid where there is one channel."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def as_they_are(scores: Tensor) -> Tensor:
    """The activation of scores, which take none; the only channel of one class is cut at 1, as a probability is."""
    return scores.clamp(max=1) if scores.shape[1] == 1 else scores


def as_shares(scores: Tensor) -> Tensor:
    """Divides scores [B,K,H,W] by their sum at pixels where it is more than 1; the order of the classes stays."""
    return scores / scores.sum(1, keepdim=True).clamp_min(1)


class MeanProbabilities:
    """The mean of the probabilities that several models give an image; their sum alone is kept."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count = 0

    def add(self, probabilities: Tensor) -> None:
        """Adds those of a model, float [K,H,W]; the single map of a model of two classes is that of class 1."""
        part, total = probabilities.float(), self._total
        if total is None:
            total = torch.zeros_like(part)
        elif len(part) == 1 < len(total):
            part = torch.cat([1 - part, part])
        elif len(total) == 1 < len(part):
            total = torch.cat([self._count - total, total])
        self._total, self._count = total.add_(part), self._count + 1

    def mean(self) -> Tensor:
        """Returns the mean, float32 [K,H,W], and forgets the sum."""
        assert self._total is not None, "there is nothing to take the mean of"
        mean = self._total.div_(self._count)
        self._total, self._count = None, 0
        return mean


def tta(
    predict: Predict,
    scales: tuple[float, ...],
    *,
    flip: bool,
    align_corners: bool = False,
    activation: Callable[[Tensor], Tensor] = to_probabilities,
) -> Score:
    """Test-time augmentation: averages the probabilities over several scales of the image.

    Args:
        predict: gives the logits of each view.
        scales: factors of the image's sides; the scaled sides are rounded to the nearest pixel, and to 1 at least.
        flip: whether each scale is also predicted mirrored.
        align_corners: of the resizing of the logits.
        activation: turns logits into probabilities.
    """

    def score(image: Tensor, size: tuple[int, int], matrix: np.ndarray | None = None) -> Tensor:
        seen = (image.shape[-2], image.shape[-1])
        views = [
            activation(to_original(logits, size, matrix, seen=seen, align_corners=align_corners))
            for logits in _views(predict, image, scales, flip)
        ]
        return torch.stack(views).mean(0)

    return score


def _views(predict: Predict, image: Tensor, scales: tuple[float, ...], flip: bool) -> Iterator[Tensor]:
    """The logits of each view, turned back where it was mirrored."""
    for scale in scales:
        scaled = tuple(max(int(length * scale + 0.5), 1) for length in image.shape[-2:])
        view = resize(image.float(), size=scaled)
        yield predict(view)
        if flip:
            yield predict(view.flip(-1)).flip(-1)


def tta_with_areas(
    predict: Predict,
    scales: tuple[float, ...],
    *,
    flip: bool,
    align_corners: bool = False,
    threshold: float = 0.5,
    activation: Callable[[Tensor], Tensor] = to_probabilities,
) -> Score:
    """Test-time augmentation after which every class has as many pixels as in the plain prediction; see match_areas.

    The plain prediction is that of the image at its own scale, not mirrored; where `scales` has no 1 it is made in
    addition, and is not in the mean. Views are added up one by one: memory does not grow with their number.

    Args:
        predict, scales, flip, align_corners, activation: as of `tta`.
        threshold: of a model of one class.
    """

    def score(image: Tensor, size: tuple[int, int], matrix: np.ndarray | None = None) -> Tensor:
        def at_stored(logits: Tensor) -> Tensor:
            seen = (image.shape[-2], image.shape[-1])
            return to_original(logits, size, matrix, seen=seen, align_corners=align_corners)

        def areas_of(logits: Tensor) -> Tensor:
            is_single = logits.shape[1] == 1
            labels = to_labels(activation(logits) if is_single else logits, threshold)
            return class_areas(labels, [1] if is_single else range(logits.shape[1]))

        order = sorted(scales, key=lambda scale: scale != 1)  # the plain view first
        total: Tensor | None = None
        areas: Tensor | None = None
        count = 0
        if order[0] != 1:
            areas = areas_of(at_stored(predict(image)))
        for logits in _views(predict, image, tuple(order), flip):
            logits = at_stored(logits)
            if areas is None:
                areas = areas_of(logits)
            probabilities = activation(logits)
            total = probabilities if total is None else total.add_(probabilities)
            count += 1
        assert total is not None and areas is not None
        return match_areas(total / count, areas, threshold)

    return score


def to_labels(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Returns the class of each pixel.

    Args:
        probabilities: float [B,K,H,W]; scores of any kind for K > 1.
        threshold: with one channel, probabilities above it are 1.

    Returns:
        uint8 [B,H,W], int16 from 257 classes on.
    """
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > threshold).to(torch.uint8)
    return probabilities.argmax(1).to(torch.uint8 if probabilities.shape[1] <= 256 else torch.int16)


def refined(
    refiners: Sequence[Refiner],
    image: Tensor,
    probabilities: Tensor,
    presence: Tensor | None = None,
    metas: Sequence[Meta] = (),
) -> Tensor:
    """Applies refiners in turn, in float32.

    Args:
        refiners: each takes what the one before gave; they are moved to the device of the probabilities.
        image: uint8 or float [B,C,H,W] as stored, in 0..255.
        probabilities: float [B,K,H,W] at that size.
        presence: float [B,K], the probability that an image holds each class, for refiners that need it; None of a
            model that does not predict it.
        metas: of each image, where it is known which these are.

    Returns:
        float32 [B,K,H,W].
    """
    device = probabilities.device
    with torch.autocast(device.type, enabled=False):
        image, probabilities = image.to(device, torch.float32), probabilities.float()
        for refiner in refiners:
            refiner.begin(metas)
            probabilities = refiner.to(device).refine(image, probabilities, presence=presence)
    return probabilities


def build_score(
    model: Network,
    settings: InferenceSettings,
    activation: Callable[[Tensor], Tensor] = to_probabilities,
    record: PresenceRecord | None = None,
) -> Score:
    """Builds the inference that section `inference` of a config describes.

    Args:
        model: in evaluation mode.
        settings: the section.
        activation: turns logits into the probabilities that test-time augmentation averages.
        record: takes the presence of classes, where the model predicts it.

    Returns:
        A function of an image and a size. It gives probabilities under test-time augmentation and for models of one
        channel, logits otherwise; of a network that gives scores always their mean.

    Raises:
        ConfigError: for an unknown mode, or sliding windows without crop or stride.
    """
    predict = whole(model, fold_norms=settings.fold_norms, record=record)
    if settings.mode == "slide":
        crop, stride = _windows(settings)
        predict = slide(predict, crop, stride=stride)
    elif settings.mode != "whole":
        raise ConfigError(f"inference.mode = {settings.mode!r}: must be 'whole' or 'slide'")
    predict = _around(predict, model, settings, record)
    corners = model.align_corners
    if settings.tta is None:
        return at_size(predict, corners, activation=as_they_are if gives_scores(model) else torch.sigmoid)
    options = TTASettings(**settings.tta)
    scales = tuple(options.scales)
    if options.keep_areas and activation is not to_probabilities:
        raise ConfigError("inference.tta.keep_areas: classes that overlap share no pixels out; leave it out")
    activation = as_they_are if gives_scores(model) else activation
    if options.keep_areas:
        threshold = settings.threshold
        return tta_with_areas(
            predict, scales, flip=options.flip, align_corners=corners, threshold=threshold, activation=activation
        )
    return tta(predict, scales, flip=options.flip, align_corners=corners, activation=activation)


def build_labels(model: Network, settings: InferenceSettings, record: PresenceRecord | None = None) -> Predict:
    """Builds the sliding window of section `inference` for those who want labels alone, see windows.sliding.

    Scores of the whole image never exist. There is no test-time augmentation, and no way back to another size.

    Args:
        model, settings, record: as of build_score.

    Returns:
        A function of an image [B,C,H,W] that gives what to_labels makes of build_score, [B,H,W] at the image's size.

    Raises:
        ConfigError: crop or stride are missing or do not fit.
    """
    activation = as_they_are if gives_scores(model) else torch.sigmoid

    def decide(logits: Tensor) -> Tensor:
        return to_labels(activation(logits) if logits.shape[1] == 1 else logits, settings.threshold)

    crop, stride = _windows(settings)
    predict = slide_labels(
        whole(model, fold_norms=settings.fold_norms, record=record), crop, stride=stride, decide=decide
    )
    return _around(predict, model, settings, record)


def _windows(settings: InferenceSettings) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Crop and stride of the sliding window."""
    if settings.crop is None or settings.stride is None:
        raise ConfigError("inference.mode = 'slide' needs inference.crop and inference.stride, as (height, width)")
    stride = None if settings.stride == "even" else as_size(settings.stride, "inference.stride")
    return as_size(settings.crop, "inference.crop"), stride


def _around(predict: Predict, model: Network, settings: InferenceSettings, record: PresenceRecord | None) -> Predict:
    """Pads the image as the settings say, and ends a view of the record."""
    if settings.pad_divisor > 1:
        predict = padded(predict, settings.pad_divisor, model.mean)
    return predict if record is None else as_view(predict, record)

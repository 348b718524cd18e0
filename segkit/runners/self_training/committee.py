"""Semantic models of equal classes that judge images together. K classes, H W image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from segkit.inference import MeanProbabilities
from segkit.models.bases import Network
from segkit.ops.self_training.confidence import MOST_CLASSES, agree, labels_of, with_background
from segkit.registry import ConfigError
from segkit.runners.ensemble import check_classes, semantic_runner
from segkit.runners.predicting import predict_array
from segkit.types import IGNORE


class Committee:
    """Semantic models of equal classes that judge images together, each as its own config says.

    Attributes:
        classes, palette: K names, and their colors, [] where they are not known.
        threshold: inference.threshold of the first model where it has one channel for two classes, else None.

    Args:
        models: in evaluation mode.
        files: their checkpoints, for messages.

    Raises:
        ConfigError: classes differ or are too many or have no names, or a model gives no probabilities of classes of
            which each pixel has one.
    """

    def __init__(self, models: Sequence[Network], files: Sequence[str]):
        self.models, self.files = list(models), list(files)
        self.runners = [semantic_runner(model, file) for model, file in zip(models, files)]
        for runner, file in zip(self.runners, files):
            if not runner.predicts_maps:
                raise ConfigError(
                    f"{file}: the classes of the runner {type(runner).__name__} overlap, and label maps hold one class "
                    "for each pixel; predict them with segkit predict"
                )
        self.classes, self.palette = _classes_of(models, files)
        has_one_channel = getattr(models[0], "num_classes", None) == 1
        self.threshold = self.runners[0].inference.threshold if has_one_channel else None

    def probabilities(self, image: np.ndarray, numbers: Sequence[int] | None = None) -> list[np.ndarray]:
        """Returns what each model predicts, float32 [K,H,W], K 2 or more.

        Args:
            image: uint8 or float32 [H,W,C].
            numbers: of the models that are asked; None for all.
        """
        found = []
        for number in range(len(self.models)) if numbers is None else numbers:
            prediction: Any = predict_array(self.models[number], image, self.runners[number])
            found.append(with_background(prediction["probabilities"].astype(np.float32)))
        return found

    def decision(
        self, each: Sequence[np.ndarray], *, needs_agreement: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decides what the models say of an image together.

        Args:
            each: of `probabilities`.
            needs_agreement: whether pixels are left out on whose class not all models agree.

        Returns:
            Labels, uint8 [H,W], 255 where left out; the probability of each, float32 [H,W]; and the mean probabilities,
            float32 [K,H,W].
        """
        mean = mean_of(each)
        labels, confidence = labels_of(mean, self.threshold)
        if needs_agreement:
            labels = np.where(agree(each, self.threshold), labels, np.uint8(IGNORE))
        return labels, confidence, mean


def mean_of(each: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of what several models predict, float32 [K,H,W]."""
    mean = MeanProbabilities()
    for probabilities in each:
        mean.add(torch.from_numpy(probabilities))
    return mean.mean().numpy()


def _classes_of(models: Sequence[Network], files: Sequence[str]) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Names and colors of the classes, which all models must share."""
    first = list(models[0].classes or ())
    if not first:
        raise ConfigError(f"{files[0]}: holds no names of classes; train it with segkit, or convert it with --config")
    if len(first) >= MOST_CLASSES:
        raise ConfigError(f"{files[0]}: {len(first)} classes; label maps of 8 bits have room for 254")
    check_classes(models, list(files))
    return first, [(int(r), int(g), int(b)) for r, g, b in models[0].palette or ()]

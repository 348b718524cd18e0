"""Whether probabilities are as often right as they say: calibration errors and the best temperature.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, https://arxiv.org/abs/1706.04599 (ECE, temperature);
Kull et al., NeurIPS 2019, https://arxiv.org/abs/1910.12656 (errors by class). K classes, M bins, H W image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit import dist
from segkit.metrics._pixel_pairs import labelled_images
from segkit.metrics.base import LabelledSet
from segkit.registry import ConfigError
from segkit.types import Batch

BINS = 15
"""Equal parts of 0..1."""

SAMPLED = 4096
"""Pixels of each image, spread evenly, by which the temperature is chosen."""

TEMPERATURES = 2.0 ** (np.arange(-24, 25) / 12)
"""1/4 to 4 in steps of 6 percent."""

LEAST = 1e-12
"""Below which a probability is not told from 0."""


FAR = 0.01
"""From 1, beyond which the sum over classes says that values are no probabilities."""


class Histogram(NamedTuple):
    """Sums over pixels by the probability that was given, in M equal parts of 0..1; arrays [...,M].

    Attributes:
        pixels: number of pixels, float64.
        confidence: sum of the probabilities.
        right: number of pixels for which what has this probability is true.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    right: np.ndarray

    def error(self) -> np.ndarray:
        """Returns the expected calibration error in percent, float64 [...]; NaN without a pixel.

        The mean over pixels of |share that is right - mean probability| of the pixel's part.
        """
        with np.errstate(invalid="ignore"):
            return 100 * np.abs(self.right - self.confidence).sum(-1) / self.pixels.sum(-1)

    def largest_error(self) -> np.ndarray:
        """Returns the largest of these differences over the parts that hold pixels, in percent, float64 [...]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            gaps = np.abs(self.right - self.confidence) / self.pixels
        return 100 * np.where(self.pixels > 0, gaps, -np.inf).max(-1)


class Calibration(NamedTuple):
    """How well probabilities are calibrated.

    Attributes:
        classes: K names.
        top: of the highest probability of each pixel, Histogram [M].
        of_class: of the probability of each class, Histogram [K,M].
        losses: mean negative log-likelihood of the sampled pixels at each of TEMPERATURES, float64.
        tempered: of the highest probability of the sampled pixels at each of TEMPERATURES, Histogram [temperatures,M].
    """

    classes: tuple[str, ...]
    top: Histogram
    of_class: Histogram
    losses: np.ndarray
    tempered: Histogram

    @property
    def temperature(self) -> float:
        """The temperature with the least loss; logits divided by it are calibrated best."""
        return float(TEMPERATURES[int(np.argmin(self.losses))])

    def scores(self) -> dict[str, Any]:
        """Returns the errors and the temperature, ready for JSON; errors in percent, None where there is no pixel."""
        at, plain = int(np.argmin(self.losses)), int(np.argmin(np.abs(TEMPERATURES - 1)))
        by_class = self.of_class.error()
        return {
            "ECE": _number(self.top.error()),
            "MCE": _number(self.top.largest_error()),
            "classwise_ECE": _number(np.nanmean(by_class)) if np.isfinite(by_class).any() else None,
            "NLL": _number(self.losses[plain]),
            "temperature": self.temperature,
            "NLL_at_temperature": _number(self.losses[at]),
            "ECE_at_temperature": _number(self.tempered.error()[at]),
            "per_class": {name: {"ECE": _number(value)} for name, value in zip(self.classes, by_class)},
        }


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def binned(probabilities: np.ndarray, is_true: np.ndarray, bins: int = BINS) -> Histogram:
    """Sums pixels by their probability; the part m of M holds probabilities above m / M, up to (m + 1) / M.

    Args:
        probabilities: float [n] in 0..1.
        is_true: bool [n].
        bins: M.
    """
    values = probabilities.astype(np.float64)
    part = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)
    sums = (np.bincount(part, weight, bins) for weight in (np.ones_like(values), values, is_true.astype(np.float64)))
    return Histogram(*sums)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns the probabilities [K,n] that the same logits give when they are divided by a temperature."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST)) / temperature
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


class CalibrationRecorder:
    """Takes the probabilities of an evaluation in.

    Args:
        dataset: gives classes and the ignore value.
    """

    def __init__(self, dataset: LabelledSet):
        self.classes, self.ignore = tuple(map(str, dataset.classes)), dataset.ignore
        count, times = len(self.classes), len(TEMPERATURES)
        self._top, self._of_class = np.zeros((3, BINS)), np.zeros((3, count, BINS))
        self._tempered, self._losses, self._sampled = np.zeros((3, times, BINS)), np.zeros(times), 0

    def add(self, predictions: Sequence[Any], batch: Batch) -> None:
        """Takes the predictions of a batch, with "probabilities" float [K,H,W], or [1,H,W] of class 1 of two."""
        for prediction, truth, _ in labelled_images(predictions, batch):
            values = torch.as_tensor(prediction["probabilities"]).float().cpu().numpy()
            self._add(values.reshape(len(values), -1), torch.as_tensor(truth).cpu().numpy().reshape(-1))

    def _add(self, values: np.ndarray, truth: np.ndarray) -> None:
        if len(values) == 1 and len(self.classes) == 2:
            values = np.concatenate([1 - values, values])
        if values.shape != (len(self.classes), len(truth)) or np.abs(values.sum(0) - 1).max(initial=0) > FAR:
            raise ConfigError(
                "--calibration: the model's values of the classes at a pixel do not sum to 1, so they are no "
                "probabilities that could be calibrated; leave it out"
            )
        known = np.flatnonzero(truth != self.ignore)
        if not len(known):
            return
        values, truth = values[:, known], truth[known]
        best = values.argmax(0)
        self._top += np.stack(binned(values.max(0), best == truth))
        for k in range(len(self.classes)):
            self._of_class[:, k] += np.stack(binned(values[k], truth == k))
        chosen = np.unique(np.linspace(0, len(known) - 1, min(SAMPLED, len(known))).astype(np.int64))
        values, truth, best = values[:, chosen], truth[chosen], best[chosen]
        for t, temperature in enumerate(TEMPERATURES):
            changed = tempered(values, temperature)
            self._losses[t] -= np.log(np.maximum(changed[truth, np.arange(len(truth))], LEAST)).sum()
            self._tempered[:, t] += np.stack(binned(changed.max(0), best == truth))
        self._sampled += len(chosen)

    def result(self) -> Calibration:
        """Returns the calibration over all processes; called on every process."""
        sums = (self._top, self._of_class, self._tempered, self._losses, np.array(float(self._sampled)))
        top, of_class, warmed, losses, count = (dist.all_reduce_sum(torch.from_numpy(a)).numpy() for a in sums)
        return Calibration(
            self.classes, Histogram(*top), Histogram(*of_class), losses / max(float(count), 1.0), Histogram(*warmed)
        )

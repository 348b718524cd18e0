"""From probabilities of overlapping classes to masks: thresholds and least areas. K classes, H W image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.registry import ConfigError


@dataclass(frozen=True)
class MaskDecision:
    """How the mask of each class is decided, in three steps.

    1. Pixels whose probability is above `top_threshold` are sure; with fewer than `min_area` of them (or none at all)
       the mask is empty.
    2. Otherwise it has all pixels above `threshold`.
    3. Connected parts (8 neighbors) of fewer than `min_component` pixels are removed.

    Steps 1 and 2 are the three thresholds of the winning solution of SIIM-ACR 2019
    (https://github.com/sneddy/pneumothorax-segmentation): top score, area, bottom score.

    Args:
        threshold: K numbers, or one for all classes; so are the others.
        top_threshold: None for `threshold`; where it is lower, `threshold` counts.
        min_area: in pixels of the size that predictions are made at.
        min_component: likewise.
    """

    threshold: float | Sequence[float] = 0.5
    top_threshold: float | Sequence[float] | None = None
    min_area: int | Sequence[int] = 0
    min_component: int | Sequence[int] = 0

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Decides.

        Args:
            probabilities: float [K,H,W].

        Returns:
            bool [K,H,W].

        Raises:
            ConfigError: there is not one number for each class.
        """
        count = len(probabilities)
        low = _column(self.threshold, "threshold", probabilities)
        top = low
        if self.top_threshold is not None:
            top = np.maximum(low, _column(self.top_threshold, "top_threshold", probabilities))
        areas = np.count_nonzero(probabilities > top, axis=(1, 2))
        least = np.array(_each(self.min_area, "min_area", count))
        masks = (probabilities > low) & (areas >= least.clip(min=1))[:, None, None]
        for k, smallest in enumerate(_each(self.min_component, "min_component", count)):
            if smallest > 1:
                masks[k] = without_small(masks[k], int(smallest))
        return masks


def _each(value: float | Sequence[float], name: str, count: int) -> list[float]:
    """One number for each class."""
    values = [value] * count if isinstance(value, int | float) else list(value)
    if len(values) != count:
        raise ConfigError(f"runner.{name}: {len(values)} numbers for {count} classes; give one for each, or one number")
    return values


def _column(value: float | Sequence[float], name: str, like: np.ndarray) -> np.ndarray:
    """The same as an array [K,1,1] of the probabilities' type."""
    return np.array(_each(value, name, len(like)), like.dtype)[:, None, None]


def without_small(mask: np.ndarray, smallest: int) -> np.ndarray:
    """Removes connected parts (8 neighbors) of fewer than `smallest` pixels.

    Args:
        mask: bool [H,W].
        smallest: least number of pixels that stay.

    Returns:
        bool [H,W].
    """
    import cv2  # a runner of exported graphs may have none

    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    is_kept = stats[:, cv2.CC_STAT_AREA] >= smallest
    is_kept[0] = False  # the background
    return is_kept[parts]

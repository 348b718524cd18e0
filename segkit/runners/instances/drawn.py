"""The instances of a prediction that are drawn; torch is not needed."""

from typing import NamedTuple, cast

import numpy as np

from segkit.types import InstancePrediction, Prediction


class DrawnInstances(NamedTuple):
    """Instances of an image as they are drawn.

    Attributes:
        masks: n run-length codes or arrays; None for boxes alone.
        labels: n indices of classes.
        boxes: float [n,4] x0, y0, x1, y1 in pixels of the image.
        scores: n in 0..1; None for true instances.
    """

    masks: list | None
    labels: list[int]
    boxes: np.ndarray
    scores: list[float] | None = None


def found_in(prediction: Prediction, score: float) -> DrawnInstances:
    """Returns the instances of a prediction that have at least this score."""
    instances = cast(InstancePrediction, prediction)
    scores = np.asarray(instances["scores"])
    labels = np.asarray(instances["labels"])
    boxes = np.asarray(instances["boxes"])
    kept = np.flatnonzero(scores >= score)
    masks = [instances["masks"][k] for k in kept]
    return DrawnInstances(masks, labels[kept].tolist(), boxes[kept], scores[kept].tolist())

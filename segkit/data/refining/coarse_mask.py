"""Training samples for refinement: one object of an image, and a coarse mask of it."""

import cv2
import numpy as np

from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt
from segkit.data.interactive.objects import marked, object_areas, pixels_of, roots
from segkit.data.transforms.base import Transform
from segkit.ops.refining.perturbation import coarse_mask
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample


@TRANSFORMS.register
class CoarseMask(Transform):
    """Chooses an object of the sample, and makes a coarse mask of it by perturbation.

    Of data sets for clicks (layers, objects, ignored) it takes one object that is part of no other, of label maps
    (mask) one class, or with `components` one connected part of a class; each is equally likely. It sets mask, 1 for
    the object, 0 for the rest and the data set's ignore value, and coarse, uint8 [H,W] of 0 and 1, and removes layers,
    objects and ignored. Without an object both are 0.

    CascadePSP, Cheng et al., CVPR 2020, section 3.4: see `segkit.ops.refining.perturbation.coarse_mask`.

    Args:
        least, most: between these the intersection over union is drawn at which the perturbation stops.
        min_area: smaller objects are not chosen.
        components: takes connected parts of label maps instead of whole classes.
        background: classes of label maps that are never objects.

    Raises:
        ConfigError: `least` is above `most`.
    """

    def __init__(
        self,
        least: Fraction = 0.8,
        most: Fraction = 1.0,
        *,
        min_area: PositiveInt = 100,
        components: bool = False,
        background: tuple[NonNegativeInt, ...] = (0,),
    ):
        if least > most:
            raise ConfigError(f"CoarseMask: least = {least} is above most = {most}; swap them")
        self.least, self.most, self.min_area = least, most, min_area
        self.components, self.background = components, tuple(background)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Sets mask and coarse; see the class.

        Raises:
            ConfigError: the sample has neither layers nor a mask.
        """
        changed = sample.copy()
        if "layers" in sample:
            areas = object_areas(sample)
            large = [number for number in roots(sample["objects"]) if areas[number] >= self.min_area]
            empty = np.zeros(sample["layers"].shape[:2], bool)
            chosen = pixels_of(sample, large[int(rng.integers(len(large)))]) if large else empty
            changed["mask"] = marked(sample, chosen).astype(np.float32)
            del changed["layers"], changed["objects"]
            changed.pop("ignored", None)
        elif "mask" in sample:
            chosen = self._of_labels(sample["mask"], rng)
            changed["mask"] = np.where(sample["mask"] == IGNORE, np.uint8(IGNORE), chosen.astype(np.uint8))
        else:
            raise ConfigError("CoarseMask: the sample has no objects and no label map; use a labelled data set")
        iou = rng.uniform(self.least, self.most)
        is_empty = not chosen.any()
        changed["coarse"] = (chosen if is_empty else coarse_mask(chosen, iou, rng)).astype(np.uint8)
        return changed

    def _of_labels(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random object of a label map, bool [H,W]; without a pixel where there is none."""
        left_out = (*self.background, IGNORE)
        values, counts = np.unique(labels, return_counts=True)
        large = [v for v, n in zip(values.tolist(), counts.tolist()) if v not in left_out and n >= self.min_area]
        if not self.components:
            return labels == large[int(rng.integers(len(large)))] if large else np.zeros(labels.shape, bool)
        parts = [part for value in large for part in self._parts(labels == value)]
        return parts[int(rng.integers(len(parts)))] if parts else np.zeros(labels.shape, bool)

    def _parts(self, mask: np.ndarray) -> list[np.ndarray]:
        number, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        return [parts == i for i in range(1, number) if boxes[i, cv2.CC_STAT_AREA] >= self.min_area]

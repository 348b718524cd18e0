"""Transforms that mix two images of the training set."""

import numpy as np

from segkit.constraints.named import Fraction, PositiveFloat
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import valid_size
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

LABEL_MAPS = ("image", "mask", "meta", "window")
"""Keys that a mixed sample may have; objects, clicks and weights of two images have no meaning in one."""


class MixingTransform(Transform):
    """A transform of two samples. It stands in train.transforms itself, or in HardThenSoft.

    The partner is another image of the training set, changed by the transforms that come before this one. A subclass
    gives `mix`.

    Args:
        p: probability that a sample is mixed.
    """

    moves = "parts"

    def __init__(self, p: Fraction = 0.5):
        self.p = p

    def mix(self, sample: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Returns a sample made of two, which stay as they are."""
        raise NotImplementedError(f"{type(self).__name__} gives no mix()")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ConfigError, since a sample alone has no partner."""
        raise ConfigError(f"{type(self).__name__}: must stand in train.transforms itself, not inside another transform")


@TRANSFORMS.register
class CutMix(MixingTransform):
    """Pastes a rectangle of another image, with its labels, at the same place, with probability p.

    CutMix, Yun et al., ICCV 2019, section 3.1; the labels of a map go with their pixels. The rectangle has the image's
    shape and covers a share 1 - lambda of it, lambda ~ Beta(alpha, alpha), around a uniform centre; what lies beyond
    the image, or beyond the smaller one of two images of other sizes, is cut off. Reads and changes image and mask;
    both images must have a mask or neither. For label maps alone.

    Args:
        alpha: of the Beta distribution; 1 draws all shares alike.
        p: probability.
    """

    def __init__(self, alpha: PositiveFloat = 1.0, p: Fraction = 0.5):
        super().__init__(p)
        self.alpha = alpha

    def mix(self, sample: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Pastes a rectangle of the partner.

        Args:
            sample: with image and mask.
            partner: the same of another image.
            rng: draws the rectangle.

        Raises:
            ConfigError: the samples hold objects, clicks or weights, or other channels, or one of them no mask.
        """
        others = sorted({*sample, *partner} - {*LABEL_MAPS})
        if others:
            raise ConfigError(f"CutMix mixes label maps alone, and the sample holds {', '.join(others)}; remove it")
        if ("mask" in sample) != ("mask" in partner):
            raise ConfigError("CutMix: only one of two images has a mask; use it where all or none have one")
        if sample["image"].shape[2] != partner["image"].shape[2]:
            raise ConfigError("CutMix: two images of the training set have other numbers of channels")
        own, other = valid_size(sample), valid_size(partner)
        y0, x0, y1, x1 = self._rectangle(own, rng)
        y1, x1 = min(y1, other[0]), min(x1, other[1])
        if y0 >= y1 or x0 >= x1:
            return sample
        mixed = Sample(**sample)
        mixed["image"] = sample["image"].copy()
        mixed["image"][y0:y1, x0:x1] = partner["image"][y0:y1, x0:x1]
        if "mask" in sample:
            mixed["mask"] = sample["mask"].copy()
            mixed["mask"][y0:y1, x0:x1] = partner["mask"][y0:y1, x0:x1]
        return mixed

    def _rectangle(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """y0, x0, y1, x1 inside an image (height, width)."""
        share = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        ends = []
        for side in size:
            half, centre = int(side * share) // 2, int(rng.integers(side))
            ends.append((max(centre - half, 0), min(centre + half, side)))
        (y0, y1), (x0, x1) = ends
        return y0, x0, y1, x1

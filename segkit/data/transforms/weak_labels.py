"""Transforms of labels that cover little of an image: which pixels have none, and some of an object's points.

H W image, n objects, P points of an object.
"""

import numpy as np

from segkit.constraints.named import PositiveInt
from segkit.data.transforms.base import Transform
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample


@TRANSFORMS.register
class MarkUnlabelled(Transform):
    """Marks the pixels of the image that have no label, for losses that teach them without one (TreeEnergy).

    Reads mask; sets unlabelled, uint8 [H,W], 1 where the mask is `ignore`. It stands first: later transforms move the
    map with the mask, and what they add around the image is padding, 0, although its label is `ignore` as well.

    Args:
        ignore: label of pixels without a class.
    """

    def __init__(self, ignore: int = IGNORE):
        self.ignore = ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with `unlabelled`; without a mask the given one. rng is not used."""
        if sample.get("mask") is None:
            return sample
        if sample["mask"].ndim == 3:
            raise ConfigError("MarkUnlabelled: needs one class per pixel, and these overlap; remove it")
        return Sample(**{**sample, "unlabelled": (sample["mask"] == self.ignore).astype(np.uint8)})


@TRANSFORMS.register
class RandomPoints(Transform):
    """Keeps a few labelled points of each object, drawn anew for every image (PointSup's point augmentation).

    Cheng, Parkhi and Kirillov, PointSup, CVPR 2022, section 3.2. Reads and changes points and point_labels. Points that
    are not used (label -1) are drawn like others; of objects with fewer points some are drawn several times.

    Args:
        count: points of each object, 5 of 10 in the paper.
    """

    def __init__(self, count: PositiveInt = 5):
        self.count = count

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with points float32 [n,count,2] and point_labels int8 [n,count]."""
        if sample.get("points") is None:
            return sample
        points, labels = sample["points"], sample["point_labels"]
        present = points.shape[1]
        if not points.size:
            return sample
        drawn = [rng.choice(present, self.count, replace=present < self.count) for _ in points]
        index = np.array(drawn, np.int64)
        chosen = np.take_along_axis(points, index[:, :, None], 1)
        return Sample(**{**sample, "points": chosen, "point_labels": np.take_along_axis(labels, index, 1)})

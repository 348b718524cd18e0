"""The part of a training image that FocalClick's refiner sees.

Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574, section 3.4, and their published code. H W image, S side of
the part.
"""

import cv2
import numpy as np

from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt
from segkit.data.transforms.base import Transform
from segkit.ops.interactive.focus import HALF, box_of, lost_at_low_resolution
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

Part = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last."""

SHIFT = 0.3
"""Largest offset of a part around an object, as a share of its sides."""


@TRANSFORMS.register
class FocusOnObject(Transform):
    """Chooses the part of a clicked image that is refined in training.

    Reads image and mask of SampleClicks, and stands behind it, last of all. Sets focus, float32 [4], the part as y0,
    x0, y1, x1 with ends outside; focus_image, the part enlarged, [C,S,S] of the image's type; focus_mask, its mask,
    float32 [S,S]; and boundary, float32 [S,S], 1 where a mask of an eighth of the image's resolution would be wrong.
    Small regions of the mask become background, in mask as well.

    The part holds the largest region of the object, 1.1 to 1.6 times as large and shifted by up to .3 of its sides; or,
    of larger objects with the probability `boundary`, it lies around a pixel of the object's boundary, with 1/3.9 to
    1/1.5 of the image's height and width.

    Args:
        size: S.
        boundary: probability of a part around the boundary.
        small: pixels below which a part always holds the object.
        specks: regions of the mask with fewer pixels are removed.
        min_side: least height and width of a part that holds the object.

    Raises:
        ConfigError: the sample has no mask of one object.
    """

    def __init__(
        self,
        size: PositiveInt = 256,
        *,
        boundary: Fraction = 0.4,
        small: NonNegativeInt = 3600,
        specks: NonNegativeInt = 900,
        min_side: PositiveInt = 32,
    ):
        self.size, self.boundary, self.small = size, boundary, small
        self.specks, self.min_side = specks, min_side

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with its part.

        Args:
            sample: it stays as it is.
            rng: source of randomness.
        """
        mask = sample.get("mask")
        if mask is None or mask.ndim != 2 or "clicks" not in sample:
            raise ConfigError(
                "FocusOnObject: the sample has no mask of one object; put it behind dict(type='SampleClicks')"
            )
        is_object = without_specks(mask > 0.5, self.specks)
        changed = Sample(**sample)
        changed["mask"] = np.where(is_object, np.float32(1), np.minimum(mask, np.float32(0)))
        part = self._part(is_object, rng)
        top, bottom, left, right = part
        changed["focus"] = np.array([top, left, bottom, right], np.float32)
        image = np.ascontiguousarray(sample["image"][top:bottom, left:right])
        enlarged = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        planes = enlarged.reshape(self.size, self.size, image.shape[2]).transpose(2, 0, 1)
        changed["focus_image"] = np.ascontiguousarray(planes)
        inside = self._enlarged(is_object, part).astype(np.float32)
        # what the coarse mask is not told it is wrong about, the refined one is not told either
        is_ignored = self._enlarged(changed["mask"] < 0, part)
        changed["focus_mask"] = np.where(is_ignored, np.float32(-1), inside)
        changed["boundary"] = self._enlarged(lost_at_low_resolution(is_object), part).astype(np.float32)
        return changed

    def _part(self, is_object: np.ndarray, rng: np.random.Generator) -> Part:
        if np.count_nonzero(is_object) >= self.small and rng.random() < self.boundary:
            return part_on_boundary(is_object, rng)
        return part_around_object(is_object, self.min_side, rng)

    def _enlarged(self, mask: np.ndarray, part: Part) -> np.ndarray:
        top, bottom, left, right = part
        inside = mask[top:bottom, left:right].astype(np.uint8) * 255
        return cv2.resize(inside, (self.size, self.size), interpolation=cv2.INTER_LINEAR) > HALF


def without_specks(mask: np.ndarray, least: int) -> np.ndarray:
    """Removes the regions (4 neighbours) of a mask, bool [H,W], that have fewer than `least` pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keeps = np.zeros(count, bool)
    keeps[1:] = stats[1:, cv2.CC_STAT_AREA] >= least
    return keeps[labels]


def largest_region(mask: np.ndarray) -> np.ndarray:
    """The largest region (8 neighbours) of a mask, bool [H,W]; an empty mask stays as it is."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return mask if count < 2 else labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())


def part_around_object(is_object: np.ndarray, min_side: int, rng: np.random.Generator) -> Part:
    """Draws a part that holds the largest region of the object, see FocusOnObject."""
    box = box_of(largest_region(is_object))
    ratio = int(rng.integers(11, 17)) / 10
    ends: list[int] = []
    for low, high, length in ((box.top, box.bottom, is_object.shape[0]), (box.left, box.right, is_object.shape[1])):
        side, centre = max(ratio * (high - low + 1), min_side), 0.5 * (low + high)
        most = int(side * SHIFT)
        shift = int(rng.integers(-most, most + 1))
        start, end = int(centre - side / 2) + shift, int(centre + side / 2) + shift
        start = min(max(start, 0), length - 1)
        ends += [start, max(min(end, length), start + 1)]
    return ends[0], ends[1], ends[2], ends[3]


def part_on_boundary(is_object: np.ndarray, rng: np.random.Generator) -> Part:
    """Draws a part around a pixel just outside of the object, see FocusOnObject."""
    size = [max(1, int(length / (int(rng.integers(15, 40)) / 10))) for length in is_object.shape]
    widened = cv2.dilate(is_object.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    around = widened & ~is_object
    inner = np.zeros_like(around)
    inner[tuple(slice(part // 2, length - part // 2) for part, length in zip(size, around.shape))] = True
    for candidates in (around & inner, around, np.ones_like(around)):
        pixels = np.flatnonzero(candidates)
        if len(pixels):
            break
    centre = divmod(int(pixels[rng.integers(len(pixels))]), around.shape[1])
    ends: list[int] = []
    for middle, part, length in zip(centre, size, around.shape):
        start = min(max(middle - part // 2, 0), length - part)
        ends += [start, start + part]
    return ends[0], ends[1], ends[2], ends[3]

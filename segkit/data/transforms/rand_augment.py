"""RandAugment for label maps: geometric operations move the labels along, photometric ones leave them."""

from collections.abc import Callable
from typing import Annotated, TypeAlias

import cv2
import numpy as np

from segkit.constraints.named import Fraction, Range, Rounds
from segkit.data.transforms.base import ImageFacts, Transform
from segkit.data.transforms.color_operations import check_range, map_values, recolor
from segkit.data.transforms.geometry import valid_size
from segkit.data.transforms.operations import Fill
from segkit.data.transforms.warps import affine, rotation
from segkit.registry import TRANSFORMS
from segkit.types import IGNORE, Sample

Recolor: TypeAlias = Callable[[np.ndarray, float], np.ndarray]
"""Takes an image [h,w,C] of 0..255 and a strength in -1..1, and returns the same shape and dtype."""


def brightness(image: np.ndarray, strength: float) -> np.ndarray:
    """Multiplies all values by 1 + 0.9 strength."""
    return map_values(image, lambda values: values * (1 + 0.9 * strength))


def contrast(image: np.ndarray, strength: float) -> np.ndarray:
    """Moves all values away from the image's mean, by a factor 1 + 0.9 strength."""
    mean = float(image.mean())
    return map_values(image, lambda values: mean + (values - mean) * (1 + 0.9 * strength))


def color(image: np.ndarray, strength: float) -> np.ndarray:
    """Moves the channels of each pixel away from their mean, by a factor 1 + 0.9 strength."""
    return _away_from(image, image.mean(axis=2, keepdims=True), strength)


def sharpness(image: np.ndarray, strength: float) -> np.ndarray:
    """Moves each pixel away from the mean of its 3 x 3 neighbors, by a factor 1 + 0.9 strength."""
    blurred = cv2.blur(image.astype(np.float32), (3, 3), borderType=cv2.BORDER_REFLECT_101)
    return _away_from(image, blurred.reshape(image.shape), strength)


def solarize(image: np.ndarray, strength: float) -> np.ndarray:
    """Inverts the values from 256 (1 - |strength|) on."""
    threshold = 256 * (1 - abs(strength))
    return map_values(image, lambda values: np.where(values >= threshold, 255 - values, values))


def posterize(image: np.ndarray, strength: float) -> np.ndarray:
    """Keeps the upper bits of the values: 8 at strength 0, 4 at 1."""
    step = 2 ** round(4 * abs(strength))
    return map_values(image, lambda values: np.floor(values / step) * step)


def auto_contrast(image: np.ndarray, strength: float) -> np.ndarray:
    """Stretches the values of the image to 0..255; the strength is not used."""
    low, high = float(image.min()), float(image.max())
    return image if low == high else map_values(image, lambda values: (values - low) * 255 / (high - low))


def equalize(image: np.ndarray, strength: float) -> np.ndarray:
    """Makes all levels of the image equally frequent; the strength is not used."""
    levels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    lowest, total = int(counts[levels.min()]), int(counts[-1])
    if lowest == total:
        return image
    table = np.clip((counts - lowest) / (total - lowest), 0, 1) * 255
    return map_values(image, lambda values: table[np.clip(np.rint(values), 0, 255).astype(int)])


def _away_from(image: np.ndarray, middle: np.ndarray, strength: float) -> np.ndarray:
    values = middle + (image - middle) * (1 + 0.9 * strength)
    values = np.clip(np.rint(values) if image.dtype == np.uint8 else values, 0, 255)
    return values.astype(image.dtype)


COLORS: dict[str, Recolor] = {
    "brightness": brightness,
    "contrast": contrast,
    "color": color,
    "sharpness": sharpness,
    "solarize": solarize,
    "posterize": posterize,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
}
MOVES = ("rotate", "shear_x", "shear_y", "shift_x", "shift_y")
OPERATIONS = ("nothing", *COLORS, *MOVES)
"""The 14 operations of the paper."""


def motion(name: str, size: tuple[int, int], strength: float) -> np.ndarray:
    """Returns the matrix of a geometric operation, float64 [2,3]: takes points to their new positions.

    Args:
        name: one of MOVES.
        size: (height, width).
        strength: in -1..1: of 30 degrees, of a shear by 0.3, or of a shift by 0.45 of the side.
    """
    height, width = size
    if name == "rotate":
        return rotation(size, 30 * strength)
    matrix = np.eye(2, 3)
    if name == "shear_x":
        matrix[0, 1:] = 0.3 * strength, -0.3 * strength * height / 2
    elif name == "shear_y":
        matrix[1, ::2] = 0.3 * strength, -0.3 * strength * width / 2
    elif name == "shift_x":
        matrix[0, 2] = 0.45 * strength * width
    else:
        matrix[1, 2] = 0.45 * strength * height
    return matrix


@TRANSFORMS.register
class RandAugment(Transform):
    """Applies some operations, drawn alike from 14, all of one strength, with probability p.

    Cubuk et al., RandAugment, NeurIPS 2020, https://arxiv.org/abs/1909.13719, section 3: nothing, eight of colors,
    which change the image alone, and rotation, shears and shifts, which change all spatial keys; window stays. Signs
    are random. An operation may be drawn twice. Images may have any number of channels.

    Args:
        count: operations per image, N in the paper.
        magnitude: strength, M in the paper; 10 is a rotation by 30 degrees, a shear by 0.3, a shift by 0.45 of the
            side, a factor of 1.9 or 0.1 of colors, 4 bits, or all values inverted.
        p: probability.
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).
    """

    moves = "parts"

    def __init__(
        self,
        count: Rounds = 2,
        magnitude: Annotated[float, Range(0, 10)] = 9.0,
        p: Fraction = 1.0,
        *,
        fill: Fill = 0,
        ignore: int = IGNORE,
    ):
        self.count, self.magnitude, self.p, self.fill, self.ignore = count, magnitude, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the changed sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        for _ in range(self.count):
            name = OPERATIONS[rng.integers(len(OPERATIONS))]
            strength = self.magnitude / 10 * rng.choice((-1, 1))
            sample = self.apply(name, sample, float(strength))
        return sample

    def check(self, images: ImageFacts) -> None:
        check_range(images, type(self).__name__)

    def apply(self, name: str, sample: Sample, strength: float) -> Sample:
        """Applies one operation.

        Args:
            name: one of OPERATIONS.
            sample: it stays as it is.
            strength: in -1..1.
        """
        if name in COLORS:
            return recolor(self, sample, lambda image: COLORS[name](image, strength))
        if name in MOVES:
            matrix = motion(name, valid_size(sample), strength)
            return affine(sample, matrix, fill=self.fill, ignore=self.ignore)
        return sample

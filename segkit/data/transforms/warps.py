"""Rotation, affine and elastic deformation: transforms that move pixels off the grid and keep the image's size.

Images are sampled bilinearly, labels at the nearest pixel centre; what comes from outside is `fill` in the image,
`ignore` in the mask (-1 instead of 255 in float masks) and 0 in layers and masks. Boxes are recomputed from the masks
where there are any, else they enclose the moved outline. Only the valid part of a padded image moves.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import cv2
import numpy as np

from segkit.constraints.named import AnySize, Fraction, NonNegativeFloat, PositiveFloat
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import Change, Size, by_channels, fill_values, image_size, move, valid_size, within
from segkit.data.transforms.operations import Fill
from segkit.data.transforms.sizes import as_range, as_size
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample

PixelMover: TypeAlias = Callable[[np.ndarray, int, tuple[float, ...]], np.ndarray]
"""Takes an array [H,W] or [H,W,c], an OpenCV interpolation and the value outside per channel, and returns an array of
the same size."""

PointMover: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Takes points, float64 [n,2] x, y, and returns where they go."""


def _warp(
    sample: Sample,
    move_pixels: PixelMover,
    move_points: PointMover,
    *,
    fill: Fill,
    ignore: int,
    is_affine: bool = True,
) -> Sample:
    """Applies one deformation to all spatial keys; is_affine: whether move_points is an affine map."""
    valid = valid_size(sample)

    def warp_image(image: np.ndarray) -> np.ndarray:
        values = fill_values(fill, image.shape[2])
        return by_channels(lambda group, of: move_pixels(group, cv2.INTER_LINEAR, tuple(values[of])), image)

    def warp_labels(labels: np.ndarray, outside: float) -> np.ndarray:
        return within(valid, lambda inner: move_pixels(inner, cv2.INTER_NEAREST, (outside,)), labels)

    change = Change(
        image=lambda image: within(valid, warp_image, image),
        labels=warp_labels,
        points=move_points,
        size=image_size(sample),
        valid=valid,
        keeps_axes=False,
        is_affine=is_affine,
    )
    return move(sample, change, ignore=ignore)


def affine(sample: Sample, matrix: np.ndarray, *, fill: Fill = 0, ignore: int = IGNORE) -> Sample:
    """Moves the image by an affine map.

    Args:
        sample: all spatial keys are moved.
        matrix: float [2,3], takes a point (x, y, 1) of the image, in continuous pixels, to its new position.
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).

    Returns:
        A new sample.
    """
    # OpenCV counts pixel centres as whole numbers, half a pixel less than continuous coordinates.
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    inverse = cv2.invertAffineTransform(centred)

    def move_pixels(array: np.ndarray, interpolation: int, outside: tuple[float, ...]) -> np.ndarray:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(array, inverse, array.shape[1::-1], flags=flags, borderValue=outside)

    def move_points(points: np.ndarray) -> np.ndarray:
        return points @ matrix[:, :2].T + matrix[:, 2]

    return _warp(sample, move_pixels, move_points, fill=fill, ignore=ignore)


def rotation(
    size: Size, degrees: float, *, scale: float = 1.0, shift: Sequence[float] | np.ndarray = (0, 0)
) -> np.ndarray:
    """Returns the matrix of a rotation about the centre, then a scaling, then a shift, float64 [2,3].

    Args:
        size: (height, width) of the image.
        degrees: counter-clockwise.
        scale: factor of both sides.
        shift: (x, y) in pixels.
    """
    height, width = size
    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    # y points down, so a turn that looks counter-clockwise has the sine's sign swapped.
    linear = np.array([[cos, sin], [-sin, cos]])
    centre = np.array([width / 2, height / 2])
    return np.concatenate([linear, (centre - linear @ centre + shift)[:, None]], axis=1)


def displace(sample: Sample, field: np.ndarray, *, fill: Fill = 0, ignore: int = IGNORE) -> Sample:
    """Displaces each pixel.

    Args:
        sample: all spatial keys are moved.
        field: float32 [h,w,2] (x, y) for the valid part: output pixel q shows the image at q + field[q].
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).

    Returns:
        A new sample.
    """
    height, width = field.shape[:2]
    map_x = np.arange(width, dtype=np.float32) + field[:, :, 0]
    map_y = np.arange(height, dtype=np.float32)[:, None] + field[:, :, 1]

    def move_pixels(array: np.ndarray, interpolation: int, outside: tuple[float, ...]) -> np.ndarray:
        return cv2.remap(array, map_x, map_y, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)

    return _warp(
        sample, move_pixels, lambda points: _displaced(points, field), fill=fill, ignore=ignore, is_affine=False
    )


def _displaced(points: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Where points, float64 [n,2] x, y, go: solves q + field(q) = p by repeated q = p - field(q)."""
    if not len(points):
        return points
    moved = points
    for _ in range(20):
        x, y = (moved - 0.5).astype(np.float32).T
        shift = cv2.remap(field, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved = points - shift.reshape(-1, 2)
    return moved


@TRANSFORMS.register
class RandomRotate(Transform):
    """Rotates about the image's centre by a random angle, with probability p.

    Reads and changes all spatial keys; window stays. The size stays: corners leave, the rest is `fill` and `ignore`.

    Args:
        degrees: the angle is uniform in [-degrees, degrees], or in [low, high] of a pair; above 0 is counter-clockwise.
        p: probability.
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).

    Raises:
        ConfigError: for a negative number, or a pair that is not in order.
    """

    moves = "parts"

    def __init__(
        self, degrees: float | Sequence[float] = 10.0, p: Fraction = 0.5, *, fill: Fill = 0, ignore: int = IGNORE
    ):
        self.low, self.high = degrees if isinstance(degrees, Iterable) else (-degrees, degrees)
        if self.low > self.high:
            raise ConfigError(f"RandomRotate.degrees = {degrees}: must be a number >= 0, or (low, high)")
        self.degrees, self.p, self.fill, self.ignore = degrees, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the rotated sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        matrix = rotation(valid_size(sample), rng.uniform(self.low, self.high))
        return affine(sample, matrix, fill=self.fill, ignore=self.ignore)


@TRANSFORMS.register
class RandomAffine(Transform):
    """Rotates, scales and shifts about the image's centre in one interpolation, with probability p.

    Reads and changes all spatial keys; window stays. degrees=3, shift=.03, p=.75 is RITM's for SBD.

    Args:
        degrees: the angle is uniform in [-degrees, degrees], counter-clockwise.
        scale: range of the factor, uniform.
        shift: in x and y uniform in [-shift, shift] of the width and the height.
        p: probability.
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).
    """

    moves = "parts"

    def __init__(
        self,
        degrees: NonNegativeFloat = 0.0,
        scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0),
        shift: Fraction = 0.0,
        p: Fraction = 0.5,
        *,
        fill: Fill = 0,
        ignore: int = IGNORE,
    ):
        self.scale = as_range(*scale, "RandomAffine.scale")
        self.degrees, self.shift, self.p, self.fill, self.ignore = degrees, shift, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the moved sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        height, width = size = valid_size(sample)
        degrees, scale = rng.uniform(-self.degrees, self.degrees), rng.uniform(*self.scale)
        shift = rng.uniform(-self.shift, self.shift, 2) * (width, height)
        matrix = rotation(size, degrees, scale=scale, shift=shift)
        return affine(sample, matrix, fill=self.fill, ignore=self.ignore)


@TRANSFORMS.register
class Elastic(Transform):
    """U-Net's elastic deformation: displaces pixels smoothly by random vectors on a coarse grid, with probability p.

    Reads and changes all spatial keys; window stays. Displacements between the vectors are bicubic. U-Net, Ronneberger
    et al., MICCAI 2015, section 3.1.

    Args:
        sigma: standard deviation of the vectors' Gaussian in pixels.
        grid: (rows, columns) of cells, 3 x 3 in the paper; each vector stands at its cell's centre.
        alpha: factor of all vectors.
        p: probability.
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).
    """

    moves = "parts"

    def __init__(
        self,
        sigma: PositiveFloat = 10.0,
        grid: AnySize = 3,
        alpha: NonNegativeFloat = 1.0,
        p: Fraction = 0.5,
        *,
        fill: Fill = 0,
        ignore: int = IGNORE,
    ):
        self.grid = as_size(grid, "Elastic.grid")
        self.sigma, self.alpha, self.p, self.fill, self.ignore = sigma, alpha, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the deformed sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        vectors = rng.normal(0, self.alpha * self.sigma, (*self.grid, 2)).astype(np.float32)
        field = cv2.resize(vectors, valid_size(sample)[::-1], interpolation=cv2.INTER_CUBIC)
        return displace(sample, field, fill=self.fill, ignore=self.ignore)


@TRANSFORMS.register
class ElasticNoise(Transform):
    """Elastic deformation by blurred noise: displaces each pixel by a smooth random field, with probability p.

    Reads and changes all spatial keys; window stays. Simard et al., ICDAR 2003, section 2 (without its normalization of
    the field); the blur is Gaussian.

    Args:
        alpha: the noise is uniform in [-alpha, alpha] pixels, before the blur.
        sigma: of the blur in pixels.
        p: probability.
        fill: image value of what comes from outside, one or one per channel.
        ignore: label of what comes from outside (-1 instead of 255 in float masks).
    """

    moves = "parts"

    def __init__(
        self,
        alpha: NonNegativeFloat = 200.0,
        sigma: PositiveFloat = 10.0,
        p: Fraction = 0.5,
        *,
        fill: Fill = 0,
        ignore: int = IGNORE,
    ):
        self.alpha, self.sigma, self.p, self.fill, self.ignore = alpha, sigma, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the deformed sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        noise = rng.uniform(-self.alpha, self.alpha, (*valid_size(sample), 2)).astype(np.float32)
        field = cv2.GaussianBlur(noise, (0, 0), self.sigma, borderType=cv2.BORDER_REFLECT)
        return displace(sample, field, fill=self.fill, ignore=self.ignore)

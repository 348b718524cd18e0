"""Dense CRF, Kraehenbuehl and Koltun, NIPS 2011, https://arxiv.org/abs/1210.5644, as DeepLab v1 and v2 refine with it.

Mean field with Potts compatibility: q <- softmax(log p + w_1 G_1 q + w_2 G_2 q), begun with q = p. G_1 is a Gaussian of
positions, G_2 one of positions and colors; both count the pixel itself, and each is normalized alone, as in pydensecrf.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range
from segkit.refiners._filters import (
    Filter,
    Normalization,
    WindowFilter,
    full_filter,
    normalized,
    position_filter,
    positions,
    shares,
)
from segkit.refiners._lattice import lattice_filter
from segkit.refiners.base import Refiner, as_given, with_background
from segkit.registry import REFINERS

Smallest: TypeAlias = Annotated[float, Range(0, 0.5, above=True)]
"""A probability near 0."""


def mean_field(log_probabilities: Tensor, terms: Sequence[tuple[float, Filter]], steps: int) -> Tensor:
    """Mean-field inference with Potts compatibility.

    Args:
        log_probabilities: float [B,K,H,W], minus the unary energies.
        terms: weight and filter of each pairwise kernel.
        steps: updates of all pixels at once.

    Returns:
        float [B,K,H,W], probabilities.
    """
    scores = log_probabilities
    for _ in range(steps):
        q, scores = shares(scores), log_probabilities
        for weight, kernel in terms:
            scores = torch.add(scores, kernel(q), alpha=weight)
    return scores.softmax(1)


class _MeanField(Refiner):
    """What dense CRFs share; a subclass gives `_bilateral`."""

    def __init__(
        self,
        steps: int,
        weights: tuple[float, float],
        sigmas: tuple[float, float, float],
        normalization: str,
        smallest: float,
    ):
        super().__init__()
        self.steps, self.normalization, self.smallest = steps, normalization, smallest
        self.position_weight, self.bilateral_weight = weights
        self.position_sigma, self.bilateral_sigma, self.color_sigma = sigmas

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refines maps; see Refiner.refine. Without a kernel of weight above 0 they stay as they are."""
        probabilities = with_background(coarse)
        chosen = ((self.position_weight, self._spatial), (self.bilateral_weight, self._bilateral))
        terms = [
            (weight, normalized(make(image), self.normalization, probabilities)) for weight, make in chosen if weight
        ]
        if not terms:
            return coarse
        return as_given(mean_field(probabilities.clamp_min(self.smallest).log(), terms, self.steps), coarse)

    def _spatial(self, image: Tensor) -> Filter:
        return position_filter(image, self.position_sigma)

    def _bilateral(self, image: Tensor) -> Filter:
        raise NotImplementedError(f"{type(self).__name__} gives no _bilateral()")

    def _features(self, image: Tensor) -> Tensor:
        """Of the bilateral kernel: float [B,2+C,H,W]."""
        return torch.cat([positions(image) / self.bilateral_sigma, image / self.color_sigma], 1)


@REFINERS.register
class DenseCRF(_MeanField):
    """Dense CRF over all pairs of pixels: exact for small images, by a permutohedral lattice for larger ones.

    The kernel of positions is exact at every size. The lattice approximates the bilateral kernel as pydensecrf's does.
    The defaults are the released ones for VOC and COCO-Stuff; pydensecrf's own example is steps=5, position_sigma=3,
    bilateral_weight=10, bilateral_sigma=80, color_sigma=13.

    Args:
        steps: mean-field updates.
        position_weight: weight of the kernel of positions.
        position_sigma: its standard deviation in pixels.
        bilateral_weight: weight of the kernel of positions and colors.
        bilateral_sigma: its standard deviation in pixels.
        color_sigma: its standard deviation in color values of 0..255.
        normalization: of each kernel by the sums of its rows: "symmetric", "before", "after" or "none". With "none"
            messages grow with the image, and the lattice is far from exact.
        smallest: probabilities below it are raised to it, so that no pixel is beyond change.
        exact_pixels: images of up to so many pixels are computed exactly, with a table of its square.
    """

    def __init__(
        self,
        steps: NonNegativeInt = 10,
        position_weight: NonNegativeFloat = 3.0,
        *,
        position_sigma: PositiveFloat = 1.0,
        bilateral_weight: NonNegativeFloat = 4.0,
        bilateral_sigma: PositiveFloat = 67.0,
        color_sigma: PositiveFloat = 3.0,
        normalization: Normalization = "symmetric",
        smallest: Smallest = 1e-5,
        exact_pixels: NonNegativeInt = 4096,
    ):
        weights, sigmas = (position_weight, bilateral_weight), (position_sigma, bilateral_sigma, color_sigma)
        super().__init__(steps, weights, sigmas, normalization, smallest)
        self.exact_pixels = exact_pixels

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refines maps; see Refiner.refine."""
        if not self._is_exact(image):
            return super().forward(image, coarse)
        return super().forward(image.double(), coarse.double()).to(coarse.dtype)  # the steps enlarge rounding

    def _is_exact(self, image: Tensor) -> bool:
        return image.shape[-2] * image.shape[-1] <= self.exact_pixels

    def _bilateral(self, image: Tensor) -> Filter:
        features = self._features(image)
        return full_filter(features) if self._is_exact(image) else lattice_filter(features)


@REFINERS.register
class LatticeDenseCRF(_MeanField):
    """Dense CRF with both kernels by permutohedral lattices at every size: the numbers of pydensecrf.

    For results that were published with that package; DenseCRF lies nearer to the sums over all pairs of pixels.

    Args:
        steps, position_weight, position_sigma, bilateral_weight, bilateral_sigma, color_sigma, normalization, smallest:
            as in DenseCRF.
    """

    def __init__(
        self,
        steps: NonNegativeInt = 10,
        position_weight: NonNegativeFloat = 3.0,
        *,
        position_sigma: PositiveFloat = 1.0,
        bilateral_weight: NonNegativeFloat = 4.0,
        bilateral_sigma: PositiveFloat = 67.0,
        color_sigma: PositiveFloat = 3.0,
        normalization: Normalization = "symmetric",
        smallest: Smallest = 1e-5,
    ):
        weights, sigmas = (position_weight, bilateral_weight), (position_sigma, bilateral_sigma, color_sigma)
        super().__init__(steps, weights, sigmas, normalization, smallest)

    def _spatial(self, image: Tensor) -> Filter:
        return lattice_filter(positions(image) / self.position_sigma)

    def _bilateral(self, image: Tensor) -> Filter:
        return lattice_filter(self._features(image))


@REFINERS.register
class WindowDenseCRF(_MeanField):
    """Dense CRF whose bilateral kernel is cut off at a square window around each pixel; exact in it.

    With a window of twice the image's sides less one it equals the dense CRF over all pairs. It holds one number for
    each pixel and each place of the window.

    Args:
        window: side of the window in pixels, odd; time grows with its square.
        steps, position_weight, position_sigma, bilateral_weight, bilateral_sigma, color_sigma, normalization, smallest:
            as in DenseCRF.

    Raises:
        ValueError: an even window.
    """

    def __init__(
        self,
        window: PositiveInt = 21,
        steps: NonNegativeInt = 10,
        *,
        position_weight: NonNegativeFloat = 3.0,
        position_sigma: PositiveFloat = 1.0,
        bilateral_weight: NonNegativeFloat = 4.0,
        bilateral_sigma: PositiveFloat = 67.0,
        color_sigma: PositiveFloat = 3.0,
        normalization: Normalization = "symmetric",
        smallest: Smallest = 1e-5,
    ):
        if window % 2 == 0:
            raise ValueError(f"window = {window}: must be odd")
        weights, sigmas = (position_weight, bilateral_weight), (position_sigma, bilateral_sigma, color_sigma)
        super().__init__(steps, weights, sigmas, normalization, smallest)
        self.window = window

    def _bilateral(self, image: Tensor) -> Filter:
        return WindowFilter.of(self._features(image), self.window)

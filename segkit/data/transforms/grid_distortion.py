"""Grid distortion: stretches and squeezes rows and columns of cells."""

import numpy as np

from segkit.constraints.named import AnySize, Decay, Fraction
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import valid_size
from segkit.data.transforms.sizes import as_size
from segkit.data.transforms.warps import displace
from segkit.registry import TRANSFORMS
from segkit.types import Sample


@TRANSFORMS.register
class GridDistortion(Transform):
    """Stretches and squeezes the rows and columns of a grid by random factors, with probability p.

    Reads and changes all spatial keys; window stays. The image's borders stay in place, and so does its size: what one
    cell gains, others lose.

    Args:
        grid: (rows, columns) of cells.
        limit: each row and column is 1 + U(-limit, limit) times as wide, before all are scaled to the image's size.
        p: probability.
    """

    moves = "parts"

    def __init__(self, grid: AnySize = 5, limit: Decay = 0.3, p: Fraction = 0.5):
        self.grid = as_size(grid, "GridDistortion.grid")
        self.limit, self.p = limit, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the distorted sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        size = valid_size(sample)
        shifts = [
            _shifts(side, 1 + rng.uniform(-self.limit, self.limit, cells)) for side, cells in zip(size, self.grid)
        ]
        field = np.empty((*size, 2), np.float32)
        field[..., 0], field[..., 1] = shifts[1], shifts[0][:, None]
        return displace(sample, field)


def _shifts(side: int, widths: np.ndarray) -> np.ndarray:
    """How far from each pixel the one lies that it shows, float64 [side]; widths: of the cells after the distortion."""
    ends = np.concatenate([[0], np.cumsum(widths)]) * side / widths.sum()
    centres = np.arange(side) + 0.5
    shown = np.interp(centres, ends, np.linspace(0, side, len(widths) + 1))
    return shown.clip(0.5, side - 0.5) - centres  # not beyond the centre of the last pixel, where the image ends

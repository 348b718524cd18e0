"""A refiner that keeps what it was given."""

import torch

from segkit.refiners.base import Refiner

SEEN: list[tuple[torch.Tensor, torch.Tensor]] = []


class Swap(Refiner):
    """Exchanges the first class with the last, and keeps what it was given."""

    def forward(self, image: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        SEEN.append((image, coarse))
        return coarse.flip(1)


class Other:
    """No refiner."""

"""Images with one object each, and a stand-in for a trained click model whose answers follow from a formula."""

import numpy as np
import torch
from torch import Tensor, nn

SHAPES = (
    (240, 320, (90, 120, 40, 70)),
    (300, 420, (150, 300, 25, 30)),
    (180, 200, (90, 100, 70, 80)),
    (420, 300, (100, 80, 60, 40)),
    (200, 640, (100, 500, 50, 90)),
    (64, 80, (30, 40, 15, 20)),
)
"""Height, width, and centre and half axes of the object's ellipse."""


def drawn(index: int) -> tuple[Tensor, np.ndarray]:
    """-> uint8 [3,H,W] and the object's mask int8 [H,W], ignored -1: an ellipse with a bite, in two colors, and a
    distractor; every second image has an ignored ring."""
    height, width, (cy, cx, a, b) = SHAPES[index]
    y, x = np.mgrid[:height, :width].astype(np.float64)

    def ellipse(centre: tuple, axes: tuple) -> np.ndarray:
        return ((y - centre[0]) / axes[0]) ** 2 + ((x - centre[1]) / axes[1]) ** 2 < 1

    full = ellipse((cy, cx), (a, b))
    is_object = full & ~ellipse((cy, cx + b), (a * 0.5, b * 0.5))
    is_other = ellipse((height - cy, width - cx), (a * 0.6, b * 0.6)) & ~is_object
    image = np.stack([60 + 60 * y / height, 90 + 50 * x / width, 80 + 0 * y], 2)
    image[is_object] = np.where((x[is_object] > cx)[:, None], [160, 80, 100], [200, 80, 140])
    image[is_other] = (190, 90, 120)
    mask = is_object.astype(np.int8)
    if index % 2:
        mask[ellipse((cy, cx), (a + 3, b + 3)) & ~full] = -1
    return torch.from_numpy(np.clip(np.round(image), 0, 255).astype(np.uint8)).permute(2, 0, 1), mask


class Echo(nn.Module):
    """Around each click, pixels of its color: logits 6 (positive - negative) - 2 + previous, where a click's map is
    exp(-d2 / (2 (reach max(h, w))^2) - c2 / .03) with the squared distances in place and in color.

    Guidance carries the clicks themselves: channel 0 the previous mask, channel 1 the rows, one value per pixel.
    """

    align_corners = True

    def __init__(self, has_previous: bool = True, reach: float = 0.10):
        super().__init__()
        self.has_previous, self.reach = has_previous, reach
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.forwards: list[tuple[int, ...]] = []

    def normalize(self, image: Tensor) -> Tensor:
        return image.float() / 255

    def guidance(self, clicks: Tensor, size: tuple[int, int], previous: Tensor | None = None) -> Tensor:
        planes = torch.zeros(len(clicks), 2, *size)
        if self.has_previous:
            planes[:, :1] = previous
        assert previous is not None or not self.has_previous
        planes[:, 1].flatten(1)[:, 0] = clicks.shape[1]
        for b, rows in enumerate(clicks):
            planes[b, 1].flatten()[1 : 1 + rows.numel()] = rows.flatten()
        return planes

    def run(self, normalized: Tensor, guidance: Tensor) -> dict[str, Tensor]:
        self.forwards.append(tuple(normalized.shape))
        assert normalized.shape[-2:] == guidance.shape[-2:]
        rows = int(guidance[0, 1, 0, 0])
        clicks = guidance[:, 1].flatten(1)[:, 1 : 1 + 3 * rows].view(-1, rows, 3)
        logits = [self._one(*one) for one in zip(normalized.double(), clicks.tolist(), guidance[:, :1].double())]
        return {"logits": torch.stack(logits).float()}

    def _one(self, image: Tensor, clicks: list, previous: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = torch.arange(height).double()[:, None], torch.arange(width).double()
        maps = torch.zeros(2, height, width, dtype=torch.float64)
        for j, (y, x, _) in enumerate(clicks):
            if max(y, x) < 0:
                continue
            iy, ix = min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)
            color = (image - image[:, iy, ix, None, None]).square_().sum(0).div_(-0.03).exp_()
            spread = 2 * (self.reach * max(height, width)) ** 2
            near = color.mul_((-((rows - y) ** 2) / spread).exp()).mul_((-((columns - x) ** 2) / spread).exp())
            sign = int(j >= len(clicks) // 2)
            maps[sign] = torch.maximum(maps[sign], near)
        return (6 * (maps[0] - maps[1]) - 2.0 + previous[0])[None]

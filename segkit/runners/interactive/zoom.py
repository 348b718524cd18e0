"""Zoom-in: the network sees a box around the last mask, enlarged (f-BRS, Sofiiuk et al., CVPR 2020,
https://arxiv.org/abs/2001.10331, section 4). H W image; a box holds its last row and column."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.models.layers import resize
from segkit.runners.interactive.clicker import Click
from segkit.settings import ZoomSettings


class Box(NamedTuple):
    """First and last row, first and last column."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top + 1, self.right - self.left + 1


def whole(size: tuple[int, int]) -> Box:
    """The box of a whole image."""
    return Box(0, size[0] - 1, 0, size[1] - 1)


def boxes_above(maps: Sequence[Tensor], threshold: float) -> list[Box | None]:
    """maps: float [...,H,W] of any sizes on one device -> the box around what is above the threshold, None where
    nothing is. One transfer from the device for all."""
    if not maps:
        return []
    above = [(one > threshold).flatten(0, -3).any(0) for one in maps]
    lines = torch.cat([line for one in above for line in (one.any(1), one.any(0))]).cpu()
    found: list[Box | None] = []
    start = 0
    for one in above:
        height, width = one.shape
        rows = lines[start : start + height].nonzero()
        columns = lines[start + height : start + height + width].nonzero()
        start += height + width
        found.append(Box(*(int(v) for i in (rows, columns) for v in (i[0], i[-1]))) if len(rows) else None)
    return found


def expand(box: Box, ratio: float, min_side: float) -> Box:
    """The box about the same centre, `ratio` times as high and wide, but at least min_side; not yet clamped."""
    edges: list[int] = []
    for low, high in (box[:2], box[2:]):
        centre, half = 0.5 * (low + high), 0.5 * max(ratio * (high - low + 1), min_side)
        edges += [round(centre - half), round(centre + half)]
    return Box(*edges)


def overlap(a: Box, b: Box) -> float:
    """Product of the interval IoUs of rows and of columns: the published measure, not the IoU of areas."""
    value = 1.0
    for i in (0, 2):
        shared = max(0, min(a[i + 1], b[i + 1]) - max(a[i], b[i]) + 1)
        value *= shared / (max(a[i + 1], b[i + 1]) - min(a[i], b[i]) + 1)
    return value


def box_around(mask: Box, clicks: Sequence[Click], size: tuple[int, int], zoom: ZoomSettings) -> Box:
    """mask: the box of the predicted mask -> the box to zoom on: mask and positive clicks, expanded, in the image."""
    rows = [mask.top, mask.bottom, *(int(c.y) for c in clicks if c.is_positive)]
    columns = [mask.left, mask.right, *(int(c.x) for c in clicks if c.is_positive)]
    box = expand(Box(min(rows), max(rows), min(columns), max(columns)), zoom.expansion, zoom.min_crop)
    return Box(max(0, box.top), min(size[0] - 1, box.bottom), max(0, box.left), min(size[1] - 1, box.right))


def choose_box(
    stored: Box | None, mask: Box | None, clicks: Sequence[Click], size: tuple[int, int], zoom: ZoomSettings
) -> Box | None:
    """stored: the box in use; mask: that of the last predicted mask -> the box of the next pass, None for the whole
    image as it is. The stored one stays while it holds every positive click and is close to the one of the mask."""
    if len(clicks) <= zoom.skip:
        return None
    if mask is not None:
        box = box_around(mask, clicks, size, zoom)
    elif zoom.skip < 0:
        box = whole(size)
    else:
        return None
    is_kept = stored is not None and overlap(box, stored) >= zoom.recompute_iou and _holds(stored, clicks)
    return stored if is_kept else box


def _holds(box: Box, clicks: Sequence[Click]) -> bool:
    """A click on the last row or column counts as outside, as in the published code."""
    return all(box.top <= c.y < box.bottom and box.left <= c.x < box.right for c in clicks if c.is_positive)


def wants_second_pass(mask: Box | None, size: tuple[int, int], zoom: ZoomSettings) -> bool:
    """Whether a first pass without any box found an object so small that it is predicted again, zoomed in (skip 0)."""
    return zoom.skip == 0 and mask is not None and overlap(box_around(mask, (), size, zoom), whole(size)) < 0.5


class View(NamedTuple):
    """What the network sees of an image. box: the part of it; sizes: of that part, then of each resize, the last one
    being the network's input."""

    box: Box
    sizes: tuple[tuple[int, int], ...]

    @property
    def input_size(self) -> tuple[int, int]:
        return self.sizes[-1]

    def apply(self, x: Tensor) -> Tensor:
        """float [1,C,H,W] of the image -> [1,C,h,w] of the network's input."""
        box = self.box
        x = x[..., box.top : box.bottom + 1, box.left : box.right + 1]
        for size in self.sizes:
            x = resize(x, size=size, align_corners=True)
        return x

    def move(self, clicks: Sequence[Click]) -> list[Click]:
        """Clicks of the image -> of the network's input, fractional."""
        moved = []
        for y, x, is_positive in clicks:
            y, x = y - self.box.top, x - self.box.left
            for (height, width), (new_height, new_width) in zip(self.sizes, self.sizes[1:]):
                y, x = new_height * y / height, new_width * x / width
            moved.append(Click(y, x, is_positive))
        return moved

    def restore(self, x: Tensor, size: tuple[int, int], place: Box) -> Tensor:
        """float [1,1,h,w] of the network's input -> [1,1,H,W] of the image, 0 outside `place`."""
        for inner in reversed(self.sizes[1:-1]):
            x = resize(x, size=inner, align_corners=True)
        x = resize(x, size=place.size, align_corners=True)
        if place.size == size:
            return x
        full = x.new_zeros((*x.shape[:2], *size))
        full[..., place.top : place.bottom + 1, place.left : place.right + 1] = x
        return full


def view_of(box: Box | None, size: tuple[int, int], zoom: ZoomSettings | None, limit: int | None) -> View:
    """box: None for the whole image without the zoom's resize; limit: longest side of the network's input."""
    part = box or whole(size)
    sizes = [part.size]
    if box is not None and zoom is not None:
        sizes.append(tuple(zoom.target) if not isinstance(zoom.target, int) else scaled(part.size, zoom.target))
    if limit is not None and max(sizes[-1]) > limit:
        sizes.append(scaled(sizes[-1], limit))
    return View(part, tuple(sizes))


def scaled(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """The size whose longer side is `longer`."""
    scale = longer / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

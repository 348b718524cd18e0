"""Zoom-in: the network sees an enlarged box around the last mask.

f-BRS, Sofiiuk et al., CVPR 2020, https://arxiv.org/abs/2001.10331, section 4. H W image, h w input of the network; a
box contains its last row and column.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.models.layers import resize
from segkit.runners.interactive.clicker import Click
from segkit.settings import ZoomSettings


class Box(NamedTuple):
    """First and last row, first and last column, all of them inside."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top + 1, self.right - self.left + 1


def whole(size: tuple[int, int]) -> Box:
    """Returns the box of a whole image of size (H, W)."""
    return Box(0, size[0] - 1, 0, size[1] - 1)


def boxes_above(maps: Sequence[Tensor], threshold: float) -> list[Box | None]:
    """Returns the box around the values above a threshold in each map, None where there are none.

    All maps take one transfer from the device.

    Args:
        maps: float [...,H,W] of any sizes, on one device.
        threshold: see above.
    """
    if not maps:
        return []
    masks = [(values > threshold).flatten(0, -3).any(0) for values in maps]
    lines = torch.cat([line for mask in masks for line in (mask.any(1), mask.any(0))]).cpu()
    boxes: list[Box | None] = []
    start = 0
    for mask in masks:
        height, width = mask.shape
        rows = lines[start : start + height].nonzero().flatten().tolist()
        columns = lines[start + height : start + height + width].nonzero().flatten().tolist()
        start += height + width
        boxes.append(Box(rows[0], rows[-1], columns[0], columns[-1]) if rows else None)
    return boxes


def expand(box: Box, ratio: float, min_side: float) -> Box:
    """Returns the box with the same center and sides `ratio` times as long, at least min_side; it is not clamped."""
    edges: list[int] = []
    for low, high in ((box.top, box.bottom), (box.left, box.right)):
        center, half = 0.5 * (low + high), 0.5 * max(ratio * (high - low + 1), min_side)
        edges += [round(center - half), round(center + half)]
    return Box(*edges)


def overlap(a: Box, b: Box) -> float:
    """Returns the product of the interval IoUs of rows and of columns: the published measure, not the IoU of areas."""
    value = 1.0
    for i in (0, 2):
        shared = max(0, min(a[i + 1], b[i + 1]) - max(a[i], b[i]) + 1)
        value *= shared / (max(a[i + 1], b[i + 1]) - min(a[i], b[i]) + 1)
    return value


def box_around(mask: Box, clicks: Sequence[Click], size: tuple[int, int], zoom: ZoomSettings) -> Box:
    """Returns the box to zoom on: around mask and positive clicks, expanded, and clamped to the image.

    Args:
        mask: box of the predicted mask.
        clicks: of both signs.
        size: (H, W) of the image.
        zoom: gives expansion and smallest side.
    """
    rows = [mask.top, mask.bottom, *(int(c.y) for c in clicks if c.is_positive)]
    columns = [mask.left, mask.right, *(int(c.x) for c in clicks if c.is_positive)]
    box = expand(Box(min(rows), max(rows), min(columns), max(columns)), zoom.expansion, zoom.min_crop)
    return Box(max(0, box.top), min(size[0] - 1, box.bottom), max(0, box.left), min(size[1] - 1, box.right))


def choose_box(
    stored: Box | None, mask: Box | None, clicks: Sequence[Click], size: tuple[int, int], zoom: ZoomSettings
) -> Box | None:
    """Chooses the box of the next pass.

    The stored box stays while it contains every positive click and is close to the one around the mask.

    Args:
        stored: the box in use, None for the whole image.
        mask: box of the last predicted mask, None for an empty mask.
        clicks: all so far, the newest included.
        size: (H, W) of the image.
        zoom: the settings.

    Returns:
        The box, None for the whole image without any resize but that of `squash`.
    """
    if zoom.squash or len(clicks) <= zoom.skip:
        return None
    if mask is not None:
        box = box_around(mask, clicks, size, zoom)
    elif zoom.skip < 0:
        box = whole(size)
    else:
        return None
    is_kept = stored is not None and overlap(box, stored) >= zoom.recompute_iou and _contains(stored, clicks)
    return stored if is_kept else box


def _contains(box: Box, clicks: Sequence[Click]) -> bool:
    """Whether all positive clicks lie in the box; one on its last row or column does not, as in the published code."""
    return all(box.top <= c.y < box.bottom and box.left <= c.x < box.right for c in clicks if c.is_positive)


def wants_second_pass(mask: Box | None, size: tuple[int, int], zoom: ZoomSettings) -> bool:
    """Returns whether a pass over the whole image found an object so small that it is predicted again, zoomed in.

    Args:
        mask: box of the mask that was found, None for an empty mask.
        size: (H, W) of the image.
        zoom: only a skip of 0 asks for second passes.
    """
    if zoom.squash:
        return False
    return zoom.skip == 0 and mask is not None and overlap(box_around(mask, (), size, zoom), whole(size)) < 0.5


class View(NamedTuple):
    """The part of an image that the network sees, and how it is resized.

    Attributes:
        box: the part.
        sizes: (height, width) of the part, then after each resize; the last is the network's input.
        is_squashed: whether resizes align the borders of maps and not the centers of their corner pixels, clicks are
            rounded to pixels of the network's input, and logits are resized, not probabilities: the rules of SegNext
            (Liu et al., CVPR 2024, https://arxiv.org/abs/2404.00741), as its code has them.
    """

    box: Box
    sizes: tuple[tuple[int, int], ...]
    is_squashed: bool = False

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of the network's input."""
        return self.sizes[-1]

    def apply(self, x: Tensor) -> Tensor:
        """Crops and resizes a map of the image, float [1,C,H,W], to the network's input, [1,C,h,w]."""
        box = self.box
        x = x[..., box.top : box.bottom + 1, box.left : box.right + 1]
        for size in self.sizes:
            x = resize(x, size=size, align_corners=not self.is_squashed)
        return x

    def move(self, clicks: Sequence[Click]) -> list[Click]:
        """Converts clicks on the image to the network's input, where they are fractional unless it is squashed."""
        if self.is_squashed:
            return [self._rounded(click) for click in clicks]
        moved = []
        for y, x, is_positive in clicks:
            y, x = y - self.box.top, x - self.box.left
            for (height, width), (new_height, new_width) in zip(self.sizes, self.sizes[1:]):
                y, x = new_height * y / height, new_width * x / width
            moved.append(Click(y, x, is_positive))
        return moved

    def _rounded(self, click: Click) -> Click:
        (height, width), (new_height, new_width) = self.sizes[0], self.input_size
        y, x = click.y - self.box.top, click.x - self.box.left
        return Click(int(y * (new_height / height) + 0.5), int(x * (new_width / width) + 0.5), click.is_positive)

    def probabilities(self, logits: Tensor, size: tuple[int, int], area: Box) -> Tensor:
        """Puts logits of the network's input back into the image, as probabilities; see `restore`."""
        if self.is_squashed:
            return resize(logits, size=self.sizes[0], align_corners=False).sigmoid()
        return self.restore(logits.sigmoid(), size, area)

    def restore(self, x: Tensor, size: tuple[int, int], area: Box) -> Tensor:
        """Puts a map of the network's input back into the image.

        Args:
            x: float [1,1,h,w].
            size: (H, W) of the image.
            area: the box that the map covers.

        Returns:
            float [1,1,H,W], 0 outside the area.
        """
        for inner in reversed(self.sizes[1:-1]):
            x = resize(x, size=inner, align_corners=True)
        x = resize(x, size=area.size, align_corners=True)
        if area.size == size:
            return x
        full = x.new_zeros((*x.shape[:2], *size))
        full[..., area.top : area.bottom + 1, area.left : area.right + 1] = x
        return full


def view_of(
    box: Box | None,
    size: tuple[int, int],
    zoom: ZoomSettings | None,
    limit: int | None,
    input_size: tuple[int, int] | None = None,
) -> View:
    """Returns the view of a box.

    Args:
        box: None for the whole image, without the zoom's resize unless it squashes.
        size: (H, W) of the image.
        zoom: gives the size that the box is resized to; None for no resize.
        limit: longest side of the network's input in pixels, None for any.
        input_size: (h, w) of the one input that the network takes, in place of the zoom's; None for any.
    """
    part = box or whole(size)
    sizes = [part.size]
    if zoom is not None and zoom.squash:
        height, width = (zoom.target, zoom.target) if isinstance(zoom.target, int) else zoom.target
        return View(part, (part.size, (height, width)), is_squashed=True)
    if input_size is not None:
        return View(part, (part.size, input_size))
    if box is not None and zoom is not None:
        if isinstance(zoom.target, int):
            sizes.append(scaled(part.size, zoom.target))
        else:
            height, width = zoom.target
            sizes.append((height, width))
    if limit is not None and max(sizes[-1]) > limit:
        sizes.append(scaled(sizes[-1], limit))
    return View(part, tuple(sizes))


def scaled(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """Returns the size scaled so that its longer side is `longer`; no side is below 1."""
    scale = longer / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

"""Edges of label maps, directions away from them, and smoothing and gradients of probability maps.

B batch, K classes, H W image, C channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.types import IGNORE


def label_edges(mask: Tensor, radius: int = 1, ignore: int = IGNORE) -> Tensor:
    """Marks the pixels that have another class nearby.

    Args:
        mask: int64 [B,H,W] of class indices.
        radius: a pixel is an edge where another class lies in the square of 2 radius + 1 pixels a side around it.
        ignore: label of pixels without a class; they make no edge.

    Returns:
        int64 [B,H,W]: 1 on edges, 0 elsewhere, `ignore` where the mask is `ignore`.
    """
    valid = mask != ignore
    labels = mask.to(torch.float32).unsqueeze(1)
    high = torch.where(valid.unsqueeze(1), labels, -1.0)
    low = torch.where(valid.unsqueeze(1), -labels, -torch.inf)
    side = 2 * radius + 1
    highest = F.max_pool2d(high, side, 1, radius).squeeze(1)
    lowest = -F.max_pool2d(low, side, 1, radius).squeeze(1)
    return torch.where(valid, (highest != lowest).long(), ignore)


def meeting_pixels(inside: Tensor, valid: Tensor) -> Tensor:
    """Marks the pixels on both sides of a mask's outline: one of their four neighbours is of the other kind.

    Args:
        inside: bool [...,H,W].
        valid: bool [...,H,W], the pixels that take part; others make no outline, and neither does the image's border.

    Returns:
        bool [...,H,W].
    """
    down = F.pad((inside[..., 1:, :] != inside[..., :-1, :]) & valid[..., 1:, :] & valid[..., :-1, :], (0, 0, 1, 1))
    right = F.pad((inside[..., 1:] != inside[..., :-1]) & valid[..., 1:] & valid[..., :-1], (1, 1))
    return down[..., 1:, :] | down[..., :-1, :] | right[..., 1:] | right[..., :-1]


def label_outlines(mask: Tensor, width: int = 3, ignore: int = IGNORE) -> Tensor:
    """Draws the lines between classes, as PIDNet's targets: mmsegmentation's GenerateEdge.

    A line runs where a pixel differs from the one above it, right of it or on one of the two diagonals below it; it is
    then widened to `width` pixels, of an even width more to the bottom and right.

    Args:
        mask: int64 [B,H,W] of class indices.
        width: side of the square that each pixel of a line becomes.
        ignore: label of pixels without a class; no line runs beside them alone, but those near by reach into them.

    Returns:
        int64 [B,H,W]: 1 on lines, 0 elsewhere, also on pixels that the mask ignores.
    """
    line = torch.zeros(mask.shape, dtype=torch.bool, device=mask.device)
    valid = mask != ignore
    whole, later, earlier = slice(None), slice(1, None), slice(None, -1)
    for own, other in (
        ((later, whole), (earlier, whole)),
        ((whole, earlier), (whole, later)),
        ((earlier, earlier), (later, later)),
        ((earlier, later), (later, earlier)),
    ):
        here, there = (whole, *own), (whole, *other)
        line[here] |= (mask[here] != mask[there]) & valid[here] & valid[there]
    before, after = width // 2, width - 1 - width // 2
    padded = F.pad(line.to(torch.float32).unsqueeze(1), (before, after, before, after))
    return F.max_pool2d(padded, width, 1).squeeze(1).long()


def label_details(mask: Tensor, threshold: float = 0.1, scales: tuple[float, ...] = (0.6, 0.3, 0.1)) -> Tensor:
    """Marks where labels change at several scales: the target of STDC's detail head, as in its public code.

    At each scale a pixel whose label, a number, exceeds the mean of the 3 x 3 pixels around it is a change; outside the
    image labels are 0. The i-th scale looks at every 2 ** i-th pixel.

    Args:
        mask: int64 [B,H,W].
        threshold: of 9 times the label minus the sum of the 3 x 3 labels, and of the weighted sum over the scales.
        scales: weight of each scale, the full size first.

    Returns:
        int64 [B,H,W], 1 where the weights of the scales at which a change lies there sum to more than threshold.
    """
    labels = mask.to(torch.float32).unsqueeze(1)
    total = torch.zeros_like(labels)
    for i, weight in enumerate(scales):
        step = 2**i
        around = F.avg_pool2d(labels, 3, step, 1, divisor_override=1)
        change = (9 * labels[:, :, ::step, ::step] - around > threshold).to(torch.float32)
        total = total + weight * F.interpolate(change, mask.shape[-2:])
    return (total > threshold).long().squeeze(1)


def label_edges_in_disc(mask: Tensor, radius: int = 2, ignore: int = IGNORE) -> Tensor:
    """Marks the pixels of each class that lie near its outline, and those that lie near it from outside.

    An outline also runs where a class ends at ignored pixels or at the image's border. Gated-SCNN's edges, in whose
    published code the first class has none.

    Args:
        mask: int64 [B,H,W] of class indices.
        radius: a pixel is an edge where the center of a pixel of another class, of an ignored one or of one outside the
            image lies at most this far from its own center. Ignored pixels are edges near any class.
        ignore: label of pixels without a class.

    Returns:
        int64 [B,H,W]: 1 on edges, 0 elsewhere, also on pixels that the mask ignores.
    """
    labels = torch.where(mask == ignore, -1, mask).to(torch.float32).unsqueeze(1)
    padded = F.pad(labels, (radius, radius, radius, radius), value=-1.0)
    height, width = mask.shape[-2:]
    highest, lowest = labels, labels
    for dy in range(-radius, radius + 1):
        reach = math.isqrt(radius * radius - dy * dy)
        first = radius - reach
        rows = padded[:, :, radius + dy : radius + dy + height, first : first + width + 2 * reach]
        highest = torch.maximum(highest, F.max_pool2d(rows, (1, 2 * reach + 1), 1))
        lowest = torch.minimum(lowest, -F.max_pool2d(-rows, (1, 2 * reach + 1), 1))
    return (highest != lowest).long().squeeze(1)


def _ring(reach: int) -> tuple[tuple[int, int], ...]:
    """The 8 reach cells of a square ring as (y, x), from (0, -reach) on by way of (-reach, -reach)."""
    sides = range(-reach, reach + 1)
    left_up = [(y, -reach) for y in range(0, -reach, -1)]
    left_down = [(y, -reach) for y in range(reach, 0, -1)]
    top, bottom = [(-reach, x) for x in sides[:-1]], [(reach, x) for x in sides[:0:-1]]
    return (*left_up, *top, *((y, reach) for y in sides[:-1]), *bottom, *left_down)


DIRECTIONS: dict[int, tuple[tuple[int, int], ...]] = {
    4: ((-1, -1), (-1, 1), (1, 1), (1, -1)),
    8: _ring(1),
    16: _ring(2),
    32: _ring(4),
}
"""Offsets (y, x) in pixels of each class of directions, by the number of classes, as in SegFix's published code.

They are whole and not normalized: a diagonal moves both axes.
"""


def direction_classes(angle: Tensor, num_directions: int) -> Tensor:
    """Turns angles into classes of directions.

    Args:
        angle: of any shape, in degrees from -180 to 180: atan2(y, x), 0 to the right, 90 down.
        num_directions: one of DIRECTIONS. Of 8, 16 or 32, each covers the angles around its own, the upper end
            included; of 4, each covers a quadrant, the lower end included.

    Returns:
        int64 of that shape, indices of DIRECTIONS[num_directions].
    """
    share = (angle.to(torch.float32) + 180) * (num_directions / 360)
    if num_directions == 4:
        return share.floor().clamp_(0, 3).long()
    return (share - 0.5).ceil().long() % num_directions


def direction_offsets(directions: Tensor, is_moved: Tensor, num_directions: int) -> Tensor:
    """Returns the offset of each pixel.

    Args:
        directions: int64 [B,H,W] of classes.
        is_moved: bool [B,H,W]; other pixels have the offset 0.
        num_directions: one of DIRECTIONS.

    Returns:
        int64 [B,2,H,W], y and x in pixels.
    """
    vectors = torch.tensor(DIRECTIONS[num_directions], device=directions.device)
    return vectors[directions].permute(0, 3, 1, 2) * is_moved.unsqueeze(1)


def shifted(maps: Tensor, offsets: Tensor) -> Tensor:
    """Gives each pixel the values of the pixel that its offset leads to.

    Args:
        maps: [B,C,H,W].
        offsets: int64 [B,2,H,W], y and x in pixels; what leads out of the image ends at its border.

    Returns:
        [B,C,H,W].
    """
    height, width = maps.shape[-2:]
    rows = torch.arange(height, device=maps.device).view(-1, 1) + offsets[:, 0]
    columns = torch.arange(width, device=maps.device) + offsets[:, 1]
    places = rows.clamp_(0, height - 1) * width + columns.clamp_(0, width - 1)
    return maps.flatten(2).gather(2, places.flatten(1).unsqueeze(1).expand(-1, maps.shape[1], -1)).view(maps.shape)


def _padded(maps: Tensor, radius: int) -> Tensor:
    return F.pad(maps, (radius, radius, radius, radius), mode="replicate")


def triangle_smooth(maps: Tensor, radius: int) -> Tensor:
    """Smooths maps by the triangle filter 1, ..., radius + 1, ..., 1 along both axes.

    The filter is computed as two box filters of width radius + 1, after replicating the border.

    Args:
        maps: float [B,K,H,W].
        radius: in pixels; 0 returns the maps unchanged.

    Returns:
        float [B,K,H,W].
    """
    if radius == 0:
        return maps
    maps = F.avg_pool2d(_padded(maps, radius), radius + 1, 1)
    return F.avg_pool2d(maps, radius + 1, 1)


def slope(maps: Tensor) -> Tensor:
    """Computes the length of the spatial gradient by central differences, with replicated borders.

    Args:
        maps: float [B,K,H,W].

    Returns:
        float [B,K,H,W]. Where a map is flat, the derivative of its slope is 0.
    """
    padded = _padded(maps, 1)
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return _length(dy, dx)


def sobel(maps: Tensor, eps: float = 1e-4) -> Tensor:
    """Computes sqrt(dx^2 + dy^2 + eps) of the Sobel derivatives, with weights 1, 2, 1 over 4 and zeros outside.

    A step of height 1 has the derivative 1 on the two pixels beside it. Its form is that of CascadePSP's published
    code, https://github.com/hkchengrex/CascadePSP.

    Args:
        maps: float [B,K,H,W].
        eps: keeps the derivative of the root finite where a map is flat.

    Returns:
        float [B,K,H,W].
    """
    padded = F.pad(maps, (1, 1, 1, 1))
    dy = padded[:, :, 2:] - padded[:, :, :-2]
    dx = padded[:, :, :, 2:] - padded[:, :, :, :-2]
    dy = (dy[..., :-2] + 2 * dy[..., 1:-1] + dy[..., 2:]) / 4
    dx = (dx[:, :, :-2] + 2 * dx[:, :, 1:-1] + dx[:, :, 2:]) / 4
    return (dx.square() + dy.square() + eps).sqrt()


def _length(dy: Tensor, dx: Tensor) -> Tensor:
    squared = dy.square() + dx.square()
    # the derivative of the root is infinite at 0: the root is not taken there
    is_flat = squared == 0
    return torch.where(is_flat, 0.0, torch.where(is_flat, 1.0, squared).sqrt())

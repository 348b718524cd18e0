"""What strokes, polygons and boxes cover, and what becomes of a region that is filled, smoothed or taken apart.

A pixel belongs to a shape where its centre, at +.5 of its column and row, lies in it. H W image.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from segkit.annotate.region import EMPTY, Box, Region, region_of, region_of_bits, union

CELLS = 1 << 22
"""Pixels that are drawn at once."""

SPANS = 1 << 18
"""Rows of a stroke that are drawn at once, about."""


def stroke(points: Sequence[tuple[float, float]], radius: float, size: tuple[int, int]) -> Region:
    """Returns what a round brush covers.

    Args:
        points: (x, y) of the brush's centre, joined by straight lines; one point is a dot.
        radius: in pixels; a pixel is covered where its centre is at most so far from the line.
        size: (H, W).
    """
    thinned = [points[0]]
    for point in points[1:]:
        if point != thinned[-1]:
            thinned.append(point)
    pairs = list(pairwise(thinned)) or [(thinned[0], thinned[0])]
    parts: list[Region] = []
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for i, (a, b) in enumerate(pairs, 1):
        waiting.append(_capsule(a, b, radius, size[0]))
        if i == len(pairs) or sum(len(rows) for rows, _, _ in waiting) > SPANS:
            parts = [union([*parts, _spanned(waiting, size[1])])]
            waiting = []
    return parts[0]


def _spanned(spans: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], width: int) -> Region:
    """The pixels whose centres lie between the ends of spans: rows, and where a span begins and ends on each."""
    row, left, right = (np.concatenate(values) for values in zip(*spans, strict=True))
    first = np.clip(np.ceil(left - 0.5), 0, width).astype(np.int64)
    end = np.clip(np.floor(right - 0.5) + 1, 0, width).astype(np.int64)
    is_full = first < end
    row, first, end = row[is_full], first[is_full], end[is_full]
    return _drawn(np.concatenate([row, row]), np.concatenate([first, end]), np.repeat([1, -1], len(row)), width)


def _capsule(
    a: tuple[float, float], b: tuple[float, float], radius: float, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that a line of some width with round ends crosses, and where it begins and ends on each."""
    low, high = min(a[1], b[1]) - radius, max(a[1], b[1]) + radius
    rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.floor(high - 0.5)) + 1))
    y = rows + 0.5
    left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    for x0, y0 in (a, b):
        rest = radius * radius - (y - y0) ** 2
        half = np.sqrt(np.maximum(rest, 0))
        left = np.where(rest >= 0, np.minimum(left, x0 - half), left)
        right = np.where(rest >= 0, np.maximum(right, x0 + half), right)
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = float(np.hypot(dx, dy))
    if length:
        nx, ny = -dy / length * radius, dx / length * radius
        corners = [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)]
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
            if y0 != y1:
                is_crossed = (min(y0, y1) <= y) & (y <= max(y0, y1))
                x = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
                left = np.where(is_crossed, np.minimum(left, x), left)
                right = np.where(is_crossed, np.maximum(right, x), right)
    return rows, left, right


def polygon(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Region:
    """Returns what a polygon covers by the even-odd rule.

    Args:
        points: (x, y) of its corners, three or more; the last is joined to the first.
        size: (H, W).
    """
    rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]]):
        if y0 == y1:
            continue
        first, end = (int(np.clip(np.ceil(side - 0.5), 0, size[0])) for side in (min(y0, y1), max(y0, y1)))
        row = np.arange(first, end)
        x = x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        rows.append(row)
        columns.append(np.clip(np.ceil(x - 0.5), 0, size[1]).astype(np.int64))
    row, column = np.concatenate(rows), np.concatenate(columns)
    return _drawn(row, column, None, size[1])


def rectangle(box: tuple[float, float, float, float], size: tuple[int, int]) -> Region:
    """Returns what a box (x0, y0, x1, y1) covers; size: (H, W)."""
    x0, y0, x1, y1 = pixels_in(box, size)
    return region_of(np.ones((max(0, y1 - y0), max(0, x1 - x0)), bool), x0, y0)


def pixels_in(box: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """Returns the pixels whose centres lie in a box (x0, y0, x1, y1); size: (H, W)."""
    x0, x1 = (int(np.clip(np.ceil(side - 0.5), 0, size[1])) for side in (box[0], box[2]))
    y0, y1 = (int(np.clip(np.ceil(side - 0.5), 0, size[0])) for side in (box[1], box[3]))
    return x0, y0, x1, y1


def _drawn(rows: np.ndarray, columns: np.ndarray, steps: np.ndarray | None, width: int) -> Region:
    """Draws rows from the columns at which they change.

    Args:
        rows, columns: int64 [n], columns up to `width`.
        steps: int [n], what is added from there on; pixels above 0 are covered. None: each column turns the rest of
            its row over.
        width: W.
    """
    if not len(rows):
        return EMPTY
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left = int(columns.min()) // 8 * 8
    right = -(-min(int(columns.max()) + 1, width) // 8) * 8
    right = max(right, left + 8)
    packed = np.zeros((bottom - top, (right - left) // 8), np.uint8)
    count = max(1, CELLS // (right - left + 1))
    order = np.argsort(rows, kind="stable")
    rows, columns = rows[order], np.minimum(columns[order], right)
    weights = np.ones(len(rows), np.int64) if steps is None else steps[order]
    for first in range(top, bottom, count):
        last = min(first + count, bottom)
        start, end = np.searchsorted(rows, [first, last])
        places = (rows[start:end] - first) * (right - left + 1) + columns[start:end] - left
        changes = np.bincount(places, weights[start:end], (last - first) * (right - left + 1)).astype(np.int32)
        values = np.cumsum(changes.reshape(last - first, -1), axis=1)[:, :-1]
        packed[first - top : last - top] = np.packbits(values & 1 if steps is None else values > 0, axis=1)
    return region_of_bits(packed, left, top)


def filled(region: Region) -> Region:
    """Returns a region with its holes: what no path of 4 neighbours joins to its outside."""
    if region.is_empty:
        return region
    x0, y0 = region.box[:2]
    pixels = np.pad(region.window(region.box).astype(np.uint8), 1)
    cv2.floodFill(pixels, None, (0, 0), 2, flags=4)
    return region_of(pixels[1:-1, 1:-1] != 2, x0, y0)


def smoothed(region: Region, radius: int, size: tuple[int, int]) -> Region:
    """Returns the pixels around which more than half of a disk belongs to the region.

    Beyond the image's border its nearest pixels count.

    Args:
        region: of the image.
        radius: of the disk in pixels.
        size: (H, W).
    """
    if region.is_empty:
        return region
    height, width = size
    x0, y0, x1, y1 = region.box
    box = max(0, x0 - radius), max(0, y0 - radius), min(width, x1 + radius), min(height, y1 + radius)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.float32)
    parts = []
    for top, bottom in _bands(box, radius):
        # rows beyond the band are read too; the filter pads where the image ends
        outer = box[0], max(0, top - radius), box[2], min(height, bottom + radius)
        sums = cv2.filter2D(region.window(outer).astype(np.uint8), cv2.CV_32F, disk, borderType=cv2.BORDER_REPLICATE)
        parts.append(np.packbits(_padded(sums[top - outer[1] : bottom - outer[1]] > disk.sum() / 2, box[0]), axis=1))
    return region_of_bits(np.concatenate(parts), box[0] // 8 * 8, box[1])


def _bands(box: Box, margin: int) -> Iterator[tuple[int, int]]:
    count = max(2 * margin + 1, CELLS // max(1, box[2] - box[0]))
    for top in range(box[1], box[3], count):
        yield top, min(top + count, box[3])


def _padded(pixels: np.ndarray, x0: int) -> np.ndarray:
    """Pixels from the last multiple of 8 on."""
    return np.pad(pixels, ((0, 0), (x0 % 8, 0)))


def components(region: Region) -> list[Region]:
    """Returns the connected parts of a region, of 8 neighbours, the largest first."""
    if region.is_empty:
        return []
    x0, y0 = region.box[:2]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        region.window(region.box).astype(np.uint8), None, None, None
    )
    parts = []
    for number in range(1, count):
        left, top, width, height = stats[number, :4].tolist()
        inner = labels[top : top + height, left : left + width] == number
        parts.append(region_of(inner, x0 + left, y0 + top))
    return sorted(parts, key=lambda part: (-part.area, part.box[1], part.box[0]))

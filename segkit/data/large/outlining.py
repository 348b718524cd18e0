"""The connected regions of a label map as polygons with holes, along the edges of pixels, strip by strip.

Pixels of a class that share an edge are one region. What is held grows with the length of all outlines, not with the
number of pixels. The method: runs of equal labels in each row, joined where they touch; then the edges around each
region, linked into rings by turning left wherever a region touches itself at a corner, so that no ring meets itself.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segkit.data.large.reader import WindowReader
from segkit.files import DataError

STRIP = 256
"""Rows of a map that are held at once."""

MOST_RUNS = 50_000_000
"""Runs of equal labels in a map; a map with more of them is noise, and its outlines would not fit into memory."""


class Region(NamedTuple):
    """A connected region of a label map.

    label: its class; pixels: its area; rings: int [n,2] of (x, y) each, in pixels from the upper left corner of the
    map, the outline first, then its holes.
    """

    label: int
    pixels: int
    rings: list[np.ndarray]


class _Runs(NamedTuple):
    """Runs of equal labels, and what lies between the rows.

    row, x0, x1, label: of each run; pairs: int [m,2], runs that touch and are of one label; edges: int [k,5] of
    horizontal edges: y, x0, x1, the run above and the run below, -1 for none.
    """

    row: np.ndarray
    x0: np.ndarray
    x1: np.ndarray
    label: np.ndarray
    pairs: np.ndarray
    edges: np.ndarray


def regions(reader: WindowReader, skipped: int, least: int = 0) -> Iterator[Region]:
    """Finds the regions of a label map.

    Args:
        reader: of the map, one sample per pixel.
        skipped: label that belongs to no region.
        least: least pixels of a region; smaller ones are left out, and what surrounds them keeps its hole.

    Yields:
        Regions in the order of their first pixels.

    Raises:
        DataError: the map is noise.
    """
    runs = _runs(reader)
    count = len(runs.row)
    links = coo_array((np.ones(len(runs.pairs), bool), (runs.pairs[:, 0], runs.pairs[:, 1])), (count, count))
    number, region_of = connected_components(links, directed=False)
    areas = np.bincount(region_of, runs.x1 - runs.x0, number).astype(np.int64)
    labels = np.zeros(number, np.int64)
    labels[region_of] = runs.label
    is_kept = (areas >= least) & (labels != skipped)
    by_region: dict[int, list[np.ndarray]] = {}
    for region, ring in _rings(_edges(runs, region_of, is_kept), reader.size):
        by_region.setdefault(region, []).append(ring)
    for region, rings in by_region.items():
        rings.sort(key=lambda ring: -signed_area(ring))  # the outline alone has a positive area
        yield Region(int(labels[region]), int(areas[region]), rings)


def signed_area(ring: np.ndarray) -> float:
    """Returns the area in a ring [n,2], positive where it turns from x to y; the shoelace formula."""
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _runs(reader: WindowReader) -> _Runs:
    height, width = reader.size
    parts: list[tuple[np.ndarray, ...]] = []
    pairs, edges = [np.zeros((0, 2), np.int32)], [np.zeros((0, 5), np.int32)]
    above = np.zeros((0, width), reader.dtype)
    ids_above = np.zeros((0, width), np.int32)
    count = 0
    for top in range(0, height, STRIP):
        rows = min(STRIP, height - top)
        labels = reader.read(top, 0, rows, width)[:, :, 0]
        is_start = np.ones((rows, width), bool)
        is_start[:, 1:] = labels[:, 1:] != labels[:, :-1]
        row, x0 = np.nonzero(is_start)
        x1 = np.where(np.append(row[1:] == row[:-1], False), np.append(x0[1:], 0), width)
        ids = np.cumsum(is_start, dtype=np.int32).reshape(rows, width) + np.int32(count - 1)
        parts.append(tuple(a.astype(np.int32) for a in (row + top, x0, x1, labels[row, x0])))
        if not top:  # what lies above the first row is nothing
            first = np.flatnonzero(row == 0)
            none = np.full(len(first), -1)
            edges.append(np.stack([0 * first, x0[first], x1[first], none, first], 1).astype(np.int32))
        both, ids_of_both = np.concatenate([above, labels]), np.concatenate([ids_above, ids])
        between, joined = _between(both, ids_of_both, top - len(above))
        edges.append(between)
        pairs.append(joined)
        count += len(row)
        if count > MOST_RUNS:
            raise DataError(
                f"{reader.path}: its labels change more than {MOST_RUNS:,} times, which is noise without outlines"
            )
        if top + rows == height:
            last = np.flatnonzero(row == rows - 1)
            none = np.full(len(last), -1)
            start = count - len(row)
            edges.append(np.stack([0 * last + height, x0[last], x1[last], last + start, none], 1).astype(np.int32))
        above, ids_above = labels[-1:], ids[-1:]
    row, x0, x1, label = (np.concatenate(arrays) for arrays in zip(*parts))
    return _Runs(row, x0, x1, label, np.concatenate(pairs), np.concatenate(edges))


def _between(labels: np.ndarray, ids: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges [k,5] and touching runs [m,2] between the rows of a strip, whose first row is `top`."""
    width = labels.shape[1]
    is_start = np.ones((len(labels) - 1, width), bool)
    is_start[:, 1:] = (labels[:-1, 1:] != labels[:-1, :-1]) | (labels[1:, 1:] != labels[1:, :-1])
    row, x0 = np.nonzero(is_start)
    x1 = np.where(np.append(row[1:] == row[:-1], False)[: len(row)], np.append(x0[1:], 0)[: len(row)], width)
    above, below = ids[row, x0], ids[row + 1, x0]
    is_same = labels[row, x0] == labels[row + 1, x0]
    edges = np.stack([row + 1 + top, x0, x1, above, below], 1)[~is_same].astype(np.int32)
    return edges, np.stack([above, below], 1)[is_same]


def _edges(runs: _Runs, region_of: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """int [n,6] of edges around the regions that are kept, their inside on the right: region, y, x of the start, y, x
    of the end, direction (0 right, 1 down, 2 left, 3 up)."""
    region = region_of
    of_run = np.flatnonzero(is_kept[region])
    rows, r = runs.row[of_run], region[of_run]
    down = np.stack([r, rows, runs.x1[of_run], rows + 1, runs.x1[of_run], np.full_like(rows, 1)], 1)
    up = np.stack([r, rows + 1, runs.x0[of_run], rows, runs.x0[of_run], np.full_like(rows, 3)], 1)
    y, x0, x1, above, below = runs.edges.T
    has_below = (below >= 0) & is_kept[region[below]]
    has_above = (above >= 0) & is_kept[region[above]]
    right = np.stack([region[below], y, x0, y, x1, 0 * y], 1)[has_below]
    left = np.stack([region[above], y, x1, y, x0, 0 * y + 2], 1)[has_above]
    return np.concatenate([down, up, right, left]).astype(np.int32, copy=False)


def _rings(edges: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    """(region, int [n,2] of corners (x, y)) of each ring."""
    if not len(edges):
        return
    rows, columns = size[0] + 1, size[1] + 1
    starts = (edges[:, 0].astype(np.int64) * rows + edges[:, 1]) * columns + edges[:, 2]
    order = np.argsort(starts, kind="stable")
    edges, starts = edges[order], starts[order]
    ends = (edges[:, 0].astype(np.int64) * rows + edges[:, 3]) * columns + edges[:, 4]
    following = np.searchsorted(starts, ends)
    second = np.minimum(following + 1, len(edges) - 1)
    turns_left = (edges[:, 5] + 3) % 4
    is_second = (starts[second] == ends) & (edges[second, 5] == turns_left)
    following = np.where(is_second, second, following)
    directions = edges[:, 5]
    is_corner = np.zeros(len(edges), bool)  # of the edges that begin in a corner
    is_corner[following] = directions != directions[following]
    # views of arrays: lists would hold an object for each edge
    successor, corner = following.data, is_corner.data
    seen = bytearray(len(edges))
    del starts, ends, second, turns_left, is_second
    for first in range(len(edges)):
        if seen[first]:
            continue
        ring, at = [], first
        while not seen[at]:
            seen[at] = 1
            if corner[at]:
                ring.append(at)
            at = successor[at]
        yield int(edges[first, 0]), edges[ring][:, [2, 1]]

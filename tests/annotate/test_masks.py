"""Regions and shapes of `segkit annotate`: by hand, and against whole masks drawn pixel by pixel."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.annotate.region import (
    EMPTY,
    counts_of,
    difference_box,
    minus,
    outside,
    region_of,
    region_of_record,
    rle_of,
    union,
    within,
)
from segkit.annotate.shapes import components, filled, polygon, rectangle, smoothed, stroke
from segkit.files import DataError


def drawn(region, size: tuple[int, int]) -> list[str]:
    """Rows of a region as text."""
    return ["".join(".#"[int(pixel)] for pixel in row) for row in region.window((0, 0, size[1], size[0]))]


def of_text(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_regions_equal_whole_masks():
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 40, 2))
        a, b = (rng.random((height, width)) < rng.choice([0.0, 0.1, 0.5, 1.0]) for _ in range(2))
        full, size = (0, 0, width, height), (height, width)
        first, second = region_of(a), region_of(b)
        np.testing.assert_array_equal(first.window(full), a)
        assert first.area == a.sum()
        assert union([first, second]) == region_of(a | b) and minus(first, second) == region_of(a & ~b)
        x0, x1 = sorted(rng.integers(0, width + 1, 2).tolist())
        y0, y1 = sorted(rng.integers(0, height + 1, 2).tolist())
        inner = np.zeros_like(a)
        inner[y0:y1, x0:x1] = True
        assert within(first, (x0, y0, x1, y1)) == region_of(a & inner) == region_of(a[y0:y1, x0:x1], x0, y0)
        assert outside(first, (x0, y0, x1, y1)) == region_of(a & ~inner)
        rows, columns = np.arange(0, height, 2), np.arange(0, width, 3)
        np.testing.assert_array_equal(first.at(rows, columns), a[np.ix_(rows, columns)])
        assert rle_of(first, size)["counts"] == coco_mask.encode(np.asfortranarray(a, np.uint8))["counts"]
        assert region_of_record(first.record(), size, "x") == first
        box = difference_box(first, second)
        assert box == (region_of(a ^ b).box if (a ^ b).any() else None)


def test_run_lengths_by_hand():
    region = region_of(of_text("##.", "##.", ".#."))
    assert counts_of(region, (3, 3)) == dict(size=[3, 3], counts=[0, 2, 1, 3, 3])
    assert counts_of(EMPTY, (2, 3)) == dict(size=[2, 3], counts=[6])
    assert counts_of(region_of(np.ones((2, 3))), (2, 3)) == dict(size=[2, 3], counts=[0, 6])


@pytest.mark.parametrize(
    "change", [{"box": [0, 0, 9, 2]}, {"box": [2, 0, 1, 2]}, {"bits": "eJwDAAAAAAE="}, {"bits": "?"}, {"box": "x"}]
)
def test_a_damaged_record_is_a_sentence(change):
    record = region_of(of_text("##", "#.")).record() | change
    with pytest.raises(DataError, match="x: a mask cannot be read"):
        region_of_record(record, (2, 2), "x")


def test_a_dot_and_a_line_by_hand():
    assert drawn(stroke([(2.5, 2.5)], 1.0, (5, 5)), (5, 5)) == [".....", "..#..", ".###.", "..#..", "....."]
    assert drawn(stroke([(0.5, 0.5), (3.5, 0.5)], 0.5, (2, 5)), (2, 5)) == ["####.", "....."]
    # the centre of (1, 1) is 0.707 from the diagonal's neighbours
    diagonal = stroke([(0.5, 0.5), (2.5, 2.5)], 0.7, (3, 3))
    assert drawn(diagonal, (3, 3)) == ["#..", ".#.", "..#"]
    assert drawn(stroke([(0.5, 0.5), (2.5, 2.5)], 0.71, (3, 3)), (3, 3)) == ["##.", "###", ".##"]
    assert stroke([(-9, -9)], 2, (5, 5)) == EMPTY


def test_strokes_equal_distances():
    rng = np.random.default_rng(1)
    for _ in range(40):
        height, width = (int(side) for side in rng.integers(1, 40, 2))
        points = [tuple(point) for point in rng.uniform(-9, 49, (int(rng.integers(1, 5)), 2)).tolist()]
        radius = float(rng.uniform(0.1, 9))
        y, x = np.mgrid[:height, :width] + 0.5
        expected = np.zeros((height, width), bool)
        for (ax, ay), (bx, by) in zip(points, points[1:] or points):
            length = (bx - ax) ** 2 + (by - ay) ** 2
            t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1) if length else 0.0
            expected |= np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)) <= radius
        found = stroke(points, radius, (height, width))
        np.testing.assert_array_equal(found.window((0, 0, width, height)), expected)


def test_a_long_stroke_is_drawn_in_parts(monkeypatch):
    points = [(float(x), 20 + 15 * float(np.sin(x))) for x in range(60)]
    whole = stroke(points, 3, (40, 60))
    monkeypatch.setattr("segkit.annotate.shapes.SPANS", 20)
    monkeypatch.setattr("segkit.annotate.shapes.CELLS", 100)
    assert stroke(points, 3, (40, 60)) == whole and polygon(points, (40, 60)).area > 0


def test_polygons_and_boxes_by_hand():
    assert drawn(polygon([(0, 0), (4, 0), (0, 4)], (4, 4)), (4, 4)) == ["###.", "##..", "#...", "...."]

    assert drawn(polygon([(1, 1), (3, 1), (3, 3), (1, 3)], (4, 4)), (4, 4)) == ["....", ".##.", ".##.", "...."]
    assert drawn(rectangle((0.6, 0.5, 2.5, 9), (3, 4)), (3, 4)) == [".#..", ".#..", ".#.."]
    assert rectangle((2, 2, 2, 2), (4, 4)) == EMPTY


def test_holes_smoothing_and_parts_by_hand():
    ring = of_text("###.", "#.#.", "###.", "...#")
    assert drawn(filled(region_of(ring)), (4, 4)) == ["###.", "###.", "###.", "...#"]
    # a plus of 5 pixels counts: more than half are 3
    assert drawn(smoothed(region_of(of_text("..#..", ".....", "#####", "#####")), 1, (4, 5)), (4, 5)) == [
        ".....",
        ".....",
        "#####",
        "#####",
    ]
    parts = components(region_of(of_text("#..##", ".#...", "....#")))
    assert [part.area for part in parts] == [2, 2, 1] and union(parts).area == 5
    assert components(EMPTY) == [] and filled(EMPTY) == EMPTY

"""Charts as inline SVG: curves, bars and histograms. Colors are classes of the style sheet, for light and dark."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from segkit.viz.page.html import EMPTY, Attributes, Content, Markup, number, tag

WIDTH, HEIGHT = 400, 240
"""Of a chart in its own units: at 12 units letters stay readable on a telephone's screen."""

LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 34
"""Margins around the curves."""

MOST_POINTS = 300
"""Longer curves are drawn as the means of as many parts."""


class Axis(NamedTuple):
    """The range of an axis and its ticks, whose span is 1, 2 or 5 times a power of ten."""

    low: float
    high: float
    ticks: tuple[float, ...]


def line_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    mark: tuple[float, float] | None = None,
    mark_text: str = "",
    note: str = "",
) -> Markup:
    """Draws curves with their legend.

    Args:
        title: above the chart.
        series: points (x, y) by the curve's name; those that are not finite leave gaps. The first eight are drawn.
        x_label: name of the horizontal axis.
        mark: a point with a ring around it.
        mark_text: what the ring means.
        note: below the chart.

    Returns:
        A figure; nothing where no point is finite.
    """
    curves = {name: thinned(points) for name, points in list(series.items())[:8]}
    known = [curve[np.isfinite(curve).all(1)] for curve in curves.values()]
    points = np.concatenate([*known, np.zeros((0, 2))])
    if not len(points):
        return EMPTY
    x_axis, y_axis = within(axis(points[:, 0], 5, whole=True), points[:, 0]), axis(points[:, 1], 5)
    place = _Place(x_axis, y_axis)
    parts: list[Content] = [_grid(place, x_label)]
    for k, curve in enumerate(curves.values()):
        parts += _curve(place, curve, f"c{k}")
    if mark is not None:
        x, y = place.of(*mark)
        parts.append(tag("circle", {"class": "mark", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": 6}))
    legend = [tag("span", {}, _line_key(k), name) for k, name in enumerate(curves)] if len(curves) > 1 else []
    if mark_text:
        legend.append(tag("span", {}, _ring_key(), mark_text))
    label = f"{title}: {', '.join(curves)}"
    return tag(
        "figure",
        {"class": "chart"},
        tag("figcaption", {}, title),
        tag("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": label}, *parts),
        tag("div", {"class": "legend"}, *legend) if legend else EMPTY,
        tag("p", {"class": "note"}, note) if note else EMPTY,
    )


def histogram(title: str, values: Sequence[float], *, label: str, note: str = "", bins: int = 20) -> Markup:
    """Draws how many values in 0..100 lie in each of equal parts.

    Args:
        title: above the chart.
        values: in 0..100.
        label: of the horizontal axis.
        note: below the chart.
        bins: number of parts.
    """
    if not len(values):
        return EMPTY
    counts, _ = np.histogram(np.clip(np.asarray(values, float), 0, 100), bins, (0, 100))
    place = _Place(Axis(0, 100, (0, 20, 40, 60, 80, 100)), axis(np.array([0, counts.max()]), 4, whole=True))
    parts: list[Content] = [_grid(place, label)]
    width = (WIDTH - LEFT - RIGHT) / bins
    for k, count in enumerate(counts.tolist()):
        _, y = place.of(0, count)
        left, high = f"{LEFT + k * width + 0.5:.1f}", f"{HEIGHT - BOTTOM - y:.1f}"
        shape = {"class": "f0", "x": left, "y": f"{y:.1f}", "width": f"{width - 1:.1f}", "height": high}
        span = f"{100 * k / bins:g} to {100 * (k + 1) / bins:g}: {count}"
        parts.append(tag("rect", shape, tag("title", {}, span)) if count else EMPTY)
    chart = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title}
    return tag(
        "figure",
        {"class": "chart"},
        tag("figcaption", {}, title),
        tag("svg", chart, *parts),
        tag("p", {"class": "note"}, note) if note else EMPTY,
    )


def bar(percent: float | None, highest: float = 100.0) -> Markup:
    """Returns a bar for a cell of a table; of no score an empty one."""
    share = 0.0 if percent is None or not math.isfinite(percent) else min(max(percent / highest, 0), 1)
    ground: Attributes = {"class": "ground", "width": 120, "height": 12, "rx": 2}
    filled = tag("rect", {"class": "f0", "width": f"{120 * share:.1f}", "height": 12, "rx": 2}) if share else EMPTY
    frame: Attributes = {"class": "bar", "viewBox": "0 0 120 12", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return tag("svg", frame, tag("rect", ground), filled)


def sparkline(values: Sequence[float], highest: float = 100.0) -> Markup:
    """Returns a small curve of values in 0..highest, one for each of equal steps."""
    if len(values) < 2:
        return EMPTY
    xs = np.linspace(2, 118, len(values))
    ys = 32 - 30 * np.clip(np.asarray(values, float) / highest, 0, 1)
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys))
    frame: Attributes = {"class": "spark", "viewBox": "0 0 120 34", "role": "img"}
    text = "after each click: " + ", ".join(f"{value:.0f}" for value in values)
    return tag("svg", {**frame, "aria-label": text}, tag("title", {}, text), tag("path", {"class": "s c0", "d": path}))


def axis(values: np.ndarray, count: int, *, whole: bool = False) -> Axis:
    """Returns an axis around finite values with about `count` ticks; whole: ticks at whole numbers alone."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
        low, high = (0.0, 1.0) if high - low < 1e-8 else (low, high)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    span = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    span = max(span, 1.0) if whole else span
    first, last = math.floor(low / span + 1e-6), math.ceil(high / span - 1e-6)
    return Axis(first * span, last * span, tuple(k * span for k in range(first, last + 1)))


def within(wide: Axis, values: np.ndarray) -> Axis:
    """Returns the axis cut at the smallest and the largest value, so that curves go from side to side."""
    low, high = float(values.min()), float(values.max())
    return wide if low == high else Axis(low, high, tuple(tick for tick in wide.ticks if low <= tick <= high))


def thinned(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Returns points, float64 [n,2]; of many the means of MOST_POINTS parts that follow each other."""
    curve = np.asarray(points, float).reshape(-1, 2)
    if len(curve) <= MOST_POINTS:
        return curve
    return np.array([part.mean(0) for part in np.array_split(curve, MOST_POINTS)])


class _Place(NamedTuple):
    x: Axis
    y: Axis

    def of(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the chart's units."""
        across = (x - self.x.low) / (self.x.high - self.x.low)
        up = (y - self.y.low) / (self.y.high - self.y.low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _grid(place: _Place, x_label: str) -> Markup:
    parts: list[Content] = []
    for value in place.y.ticks:
        _, y = place.of(place.x.low, value)
        parts.append(
            tag("line", {"class": "grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": f"{y:.1f}", "y2": f"{y:.1f}"})
        )
        parts.append(tag("text", {"x": LEFT - 6, "y": f"{y + 4:.1f}", "text-anchor": "end"}, tick_text(value)))
    for value in place.x.ticks:
        x, _ = place.of(value, place.y.low)
        is_last = x > WIDTH - RIGHT - 8
        anchor: Attributes = {"x": f"{x:.1f}", "y": HEIGHT - BOTTOM + 15, "text-anchor": "end" if is_last else "middle"}
        parts.append(tag("text", anchor, tick_text(value)))
    middle: Attributes = {"x": (LEFT + WIDTH - RIGHT) // 2, "y": HEIGHT - 4, "text-anchor": "middle", "class": "faint"}
    return tag("g", {}, *parts, tag("text", middle, x_label))


def _curve(place: _Place, curve: np.ndarray, color: str) -> list[Content]:
    """A path with gaps where a point is not finite, and dots where there are few."""
    commands, dots, is_down = [], [], False
    for x, y in curve.tolist():
        if not (math.isfinite(x) and math.isfinite(y)):
            is_down = False
            continue
        px, py = place.of(x, y)
        commands.append(f"{'L' if is_down else 'M'}{px:.1f} {py:.1f}")
        text = tag("title", {}, f"{tick_text(x)}: {number(y)}")
        dots.append(tag("circle", {"class": f"dot {color}", "cx": f"{px:.1f}", "cy": f"{py:.1f}", "r": 3}, text))
        is_down = True
    return [tag("path", {"class": f"s {color}", "d": "".join(commands)}), *(dots if len(dots) <= 25 else [])]


def _line_key(k: int) -> Markup:
    frame: Attributes = {"class": "key", "width": 22, "height": 10, "viewBox": "0 0 22 10", "aria-hidden": "true"}
    return tag("svg", frame, tag("path", {"class": f"s c{k}", "d": "M1 5L21 5"}))


def _ring_key() -> Markup:
    frame: Attributes = {"class": "key", "width": 14, "height": 14, "viewBox": "0 0 14 14", "aria-hidden": "true"}
    return tag("svg", frame, tag("circle", {"class": "mark", "cx": 7, "cy": 7, "r": 5}))


def tick_text(value: float) -> str:
    """Returns a number of an axis: 20k, 0.003, 1e-5."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return (
        f"{value:.6g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    )

"""Plots of numbers as PNG files: training curves, confusion matrices, bars. matplotlib is imported when one is drawn.

Figures are objects of their own (no pyplot), so plotting needs no display and leaves no state behind. Colors are those
of Okabe and Ito (Color Universal Design, 2008), which color-blind people tell apart.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segkit.viz.draw import write_file

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
MOST_READABLE = 30
"""Classes up to which the cells of a confusion matrix carry their values."""
SMOOTHED_FROM = 100
"""Points from which on a curve is drawn faintly under its moving mean."""


def curves(records: Mapping[str, Sequence[tuple[float, float]]], path: str | os.PathLike, xlabel: str = "step") -> Path:
    """Draws one panel per group of series and returns the file's path.

    records: name -> points (step, value); names with the same text before the first "/" share a panel ("loss/ce" and
    "loss/dice"). Values that are not finite leave gaps.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, points in records.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest or name] = np.asarray(points, float).reshape(-1, 2)
    if not groups:
        raise ValueError(f"{path}: there are no records to draw")
    columns = min(3, len(groups))
    figure = _figure(4.4 * columns, 3.0 * -(-len(groups) // columns))
    for place, (group, series) in enumerate(groups.items(), 1):
        axes = figure.add_subplot(-(-len(groups) // columns), columns, place)
        for number, (name, points) in enumerate(series.items()):
            _curve(axes, points, COLORS[number % len(COLORS)], name)
        axes.set_title(group, fontsize=11)
        axes.set_xlabel(xlabel, fontsize=9)
        if len(series) > 1:
            axes.legend(fontsize=8, frameon=False)
        axes.grid(color="#dddddd", linewidth=0.6)
        _tidy(axes)
    return _save(figure, path)


def confusion_plot(matrix: np.ndarray, classes: Sequence[str], path: str | os.PathLike) -> Path:
    """matrix: counts [K,K], rows truth, columns prediction -> the file's path.

    Cells show the percentage of their row; rows without a pixel stay grey.
    """
    matrix = np.asarray(matrix, float)
    num_classes = len(classes)
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(f"{path}: a confusion matrix {matrix.shape} for {num_classes} classes")
    totals = matrix.sum(1, keepdims=True)
    percent = np.where(totals > 0, 100 * matrix / np.maximum(totals, 1), np.nan)
    side = min(16.0, max(3.2, 0.42 * num_classes)) if num_classes <= MOST_READABLE else 10.0
    figure = _figure(side + 2.6, side + 1.6)
    axes = figure.add_subplot()
    axes.set_facecolor("#cccccc")
    shown = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    if num_classes <= MOST_READABLE:
        for (row, column), value in np.ndenumerate(percent):
            if np.isfinite(value) and value >= 0.5:
                ink = "white" if value > 55 else "#222222"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
    is_wide = num_classes > MOST_READABLE
    size = min(9.0, 500 / num_classes)
    turn = dict(rotation=90) if is_wide else dict(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xticks(range(num_classes), classes, fontsize=size, **turn)
    axes.set_yticks(range(num_classes), classes, fontsize=size)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="% of the true class' pixels")
    return _save(figure, path)


def bars(values: Mapping[str, float], path: str | os.PathLike, title: str = "") -> Path:
    """values: name -> number, drawn as bars from the top down with the numbers beside them -> the file's path.

    Numbers that are not finite have no bar and are marked "absent".
    """
    if not values:
        raise ValueError(f"{path}: there are no values to draw")
    numbers = np.array([np.nan if value is None else value for value in values.values()], float)
    figure = _figure(6.4, 0.9 + 0.28 * len(numbers))
    axes = figure.add_subplot()
    axes.barh(range(len(numbers)), np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0), color=COLORS[0], height=0.7)
    for row, value in enumerate(numbers):
        text = f"{value:.1f}" if np.isfinite(value) else "absent"
        place = max(value, 0) if np.isfinite(value) else 0
        axes.annotate(text, (place, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(numbers)), list(values), fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.02)
    axes.set_title(title, fontsize=11, loc="left")
    axes.tick_params(axis="y", length=0)
    _tidy(axes)
    return _save(figure, path)


def click_curves(
    curves: Mapping[str, Sequence[float | None]], path: str | os.PathLike, targets: Sequence[float] = (85, 90)
) -> Path:
    """curves: name of a run -> mIoU in percent after 1, 2, ... clicks (None leaves a gap); targets: IoUs in percent,
    thin lines across -> the file's path."""
    if not any(len(values) for values in curves.values()):
        raise ValueError(f"{path}: there are no curves to draw")
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    for target in targets:
        axes.axhline(target, color="#bbbbbb", linewidth=0.8, linestyle=(0, (4, 3)))
    for number, (name, values) in enumerate(curves.items()):
        numbers = np.array([np.nan if value is None else value for value in values], float)
        points = np.stack([np.arange(1, len(numbers) + 1), numbers], 1)
        style = dict(color=COLORS[number % len(COLORS)], linestyle=("-", "--", ":")[number // len(COLORS) % 3])
        axes.plot(*points.T, linewidth=1.6, marker="o" if len(points) <= 30 else "", ms=3, label=name, **style)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("clicks", fontsize=9)
    axes.set_ylabel("mIoU in %", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.grid(color="#eeeeee", linewidth=0.6)
    _tidy(axes)
    return _save(figure, path)


def steps_plot(steps: Sequence[Mapping], path: str | os.PathLike, title: str = "") -> Path:
    """steps: of metrics.json's "steps" (step, classes, mIoU_old, mIoU_new, mIoU_all, per_class) -> the file's path.

    Above, the means of old, new and all classes over the steps; below, the IoU of each class in percent, a row per
    class in the order of learning and a column per step. Cells of classes that a step does not know stay white, those
    it does not score grey.
    """
    if not steps:
        raise ValueError(f"{path}: there are no steps to draw")
    classes = list(steps[-1]["classes"])
    values = np.full((len(classes), len(steps)), np.nan)
    known = np.zeros(values.shape, bool)
    for column, step in enumerate(steps):
        for row, name in enumerate(classes):
            known[row, column] = name in step["per_class"]
            iou = step["per_class"].get(name, {}).get("IoU")
            values[row, column] = np.nan if iou is None else iou
    height = 0.26 * len(classes) if len(classes) <= MOST_READABLE else 8.0
    figure = _figure(max(4.6, 2.4 + 0.62 * len(steps)), 3.0 + height)
    upper, lower = figure.subplots(2, height_ratios=[2.2, height])
    numbers = [step["step"] for step in steps]
    for name, color in zip(("old", "new", "all"), COLORS):
        means = [np.nan if step[f"mIoU_{name}"] is None else step[f"mIoU_{name}"] for step in steps]
        _curve(upper, np.column_stack([numbers, means]), color, name)
    upper.set(ylabel="mIoU", ylim=(0, 100), xticks=numbers)
    upper.set_title(title, fontsize=11, loc="left")
    upper.legend(fontsize=8, frameon=False, ncols=3)
    upper.grid(color="#dddddd", linewidth=0.6)
    _tidy(upper)
    _class_cells(lower, values, known, classes)
    lower.set_xticks(range(len(steps)), numbers, fontsize=8)
    figure.colorbar(lower.images[-1], ax=lower, label="IoU")
    return _save(figure, path)


def _figure(width: float, height: float):
    """-> an empty matplotlib figure of this size in inches that fits its parts by itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _class_cells(axes, values: np.ndarray, known: np.ndarray, classes: Sequence[str]) -> None:
    """values: percent [K,S], NaN where there is none; known: bool [K,S]: which of these are grey instead of white."""
    is_readable = len(classes) <= MOST_READABLE
    axes.imshow(np.where(known, 0.2, 0.0), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values if is_readable else np.zeros((0, 0))):
        if np.isfinite(value):
            ink = "#222222" if value > 60 else "white"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8 if is_readable else 4)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _curve(axes, points: np.ndarray, color: str, name: str) -> None:
    """points: float [n,2] step, value; long ones are drawn faintly with their moving mean above."""
    steps, values = points[:, 0], points[:, 1]
    if len(points) < SMOOTHED_FROM:
        axes.plot(steps, values, color=color, linewidth=1.6, marker="o" if len(points) < 20 else "", ms=3, label=name)
        return
    axes.plot(steps, values, color=color, linewidth=0.7, alpha=0.3)
    # the window shrinks on both sides alike towards the ends, so that a straight line stays one
    place = np.arange(len(values))
    half = np.minimum(np.minimum(place, place[::-1]), len(values) // 25)
    kept = np.isfinite(values)
    total = np.concatenate([[0], np.cumsum(np.where(kept, values, 0))])
    count = np.concatenate([[0], np.cumsum(kept)])
    first, last = place - half, place + half + 1
    mean = (total[last] - total[first]) / np.maximum(count[last] - count[first], 1)
    axes.plot(steps, np.where(kept, mean, np.nan), color=color, linewidth=1.8, label=name)


def _tidy(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_axisbelow(True)


def _save(figure, path: str | os.PathLike) -> Path:
    """figure: of matplotlib -> the path of its PNG file, which is whole or not there."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return write_file(Path(path), picture.getvalue())

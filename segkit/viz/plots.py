"""Plots of numbers as PNG files: training curves, confusion matrices, bars.

matplotlib is imported when the first plot is drawn. Figures are made without pyplot, so plotting needs no display and
leaves no state behind. Colors are those of Okabe and Ito (Color Universal Design, 2008), which color-blind people tell
apart.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segkit.viz.draw import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
MOST_READABLE = 30
"""Up to this many classes the cells of a confusion matrix show their values."""
SMOOTHED_FROM = 100
"""From this many points on a curve is drawn faintly under its moving mean."""


def curves(records: Mapping[str, Sequence[tuple[float, float]]], path: str | os.PathLike, xlabel: str = "step") -> Path:
    """Plots series of numbers, one panel per group.

    Args:
        records: points (step, value) by name. Names with the same text before the first "/" share a panel ("loss/ce"
            and "loss/dice"). Values that are not finite leave gaps.
        path: the PNG file.
        xlabel: label of the horizontal axis.

    Returns:
        The path.

    Raises:
        ValueError: there are no records.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, points in records.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest or name] = np.asarray(points, float).reshape(-1, 2)
    if not groups:
        raise ValueError(f"{path}: no records to draw")
    columns = min(3, len(groups))
    figure = _figure(4.4 * columns, 3.0 * -(-len(groups) // columns))
    for panel, (group, series) in enumerate(groups.items(), 1):
        axes = figure.add_subplot(-(-len(groups) // columns), columns, panel)
        for number, (name, curve) in enumerate(series.items()):
            _curve(axes, curve, COLORS[number % len(COLORS)], name)
        axes.set_title(group, fontsize=11)
        axes.set_xlabel(xlabel, fontsize=9)
        if len(series) > 1:
            axes.legend(fontsize=8, frameon=False)
        axes.grid(color="#dddddd", linewidth=0.6)
        _tidy(axes)
    return _save(figure, path)


def confusion_plot(matrix: np.ndarray, classes: Sequence[str], path: str | os.PathLike) -> Path:
    """Plots a confusion matrix. Cells show the percentage of their row; rows without a pixel stay grey.

    Args:
        matrix: counts [K,K], rows truth, columns prediction.
        classes: K names.
        path: the PNG file.

    Returns:
        The path.

    Raises:
        ValueError: the matrix does not have K rows and columns.
    """
    matrix = np.asarray(matrix, float)
    num_classes = len(classes)
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(f"{path}: a confusion matrix of {matrix.shape} for {num_classes} classes")
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


def bars(values: Mapping[str, float | None], path: str | os.PathLike, title: str = "") -> Path:
    """Plots numbers as horizontal bars from the top down, with the numbers beside them.

    Args:
        values: number by name. None and numbers that are not finite have no bar and are marked "absent".
        path: the PNG file.
        title: above the plot.

    Returns:
        The path.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError(f"{path}: no values to draw")
    numbers = np.array([np.nan if value is None else value for value in values.values()], float)
    figure = _figure(6.4, 0.9 + 0.28 * len(numbers))
    axes = figure.add_subplot()
    axes.barh(range(len(numbers)), np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0), color=COLORS[0], height=0.7)
    for row, value in enumerate(numbers):
        text = f"{value:.1f}" if np.isfinite(value) else "absent"
        end = max(value, 0) if np.isfinite(value) else 0
        axes.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(numbers)), list(values), fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.02)
    axes.set_title(title, fontsize=11, loc="left")
    axes.tick_params(axis="y", length=0)
    _tidy(axes)
    return _save(figure, path)


def histograms(counts: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike, title: str = "") -> Path:
    """Plots histograms over each other as steps.

    Args:
        counts: edges [n + 1] and heights [n] by name; up to 16 are drawn.
        path: the PNG file.
        title: above the plot.

    Returns:
        The path.
    """
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    for number, (name, (edges, heights)) in enumerate(list(counts.items())[:16]):
        axes.stairs(heights, edges, color=COLORS[number % len(COLORS)], linewidth=1.4, label=name)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("value", fontsize=9)
    axes.set_ylabel("% of the pixels", fontsize=9)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0)
    if len(counts) > 1:
        axes.legend(fontsize=8, frameon=False)
    axes.grid(color="#dddddd", linewidth=0.6)
    _tidy(axes)
    return _save(figure, path)


def click_curves(
    curves: Mapping[str, Sequence[float | None]], path: str | os.PathLike, targets: Sequence[float] = (85, 90)
) -> Path:
    """Plots the mIoU of runs over the number of clicks.

    Args:
        curves: for each run, by name, the mIoU in percent after 1, 2, ... clicks; None leaves a gap.
        path: the PNG file.
        targets: IoUs in percent that are marked by thin lines.

    Returns:
        The path.

    Raises:
        ValueError: there are no curves.
    """
    if not any(len(values) for values in curves.values()):
        raise ValueError(f"{path}: no curves to draw")
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    for target in targets:
        axes.axhline(target, color="#bbbbbb", linewidth=0.8, linestyle=(0, (4, 3)))
    for number, (name, values) in enumerate(curves.items()):
        numbers = np.array([np.nan if value is None else value for value in values], float)
        axes.plot(
            np.arange(1, len(numbers) + 1),
            numbers,
            color=COLORS[number % len(COLORS)],
            linestyle=("-", "--", ":")[number // len(COLORS) % 3],
            linewidth=1.6,
            marker="o" if len(numbers) <= 30 else "",
            ms=3,
            label=name,
        )
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("clicks", fontsize=9)
    axes.set_ylabel("mIoU in %", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.grid(color="#eeeeee", linewidth=0.6)
    _tidy(axes)
    return _save(figure, path)


def steps_plot(steps: Sequence[Mapping], path: str | os.PathLike, title: str = "") -> Path:
    """Plots the scores of class-incremental learning over its steps.

    The upper panel shows the mean IoU of old, new and all classes. The lower one shows the IoU of each class in
    percent, a row per class in the order of learning and a column per step; cells of classes that a step does not know
    stay white, those it does not score grey.

    Args:
        steps: "steps" of metrics.json, with step, classes, mIoU_old, mIoU_new, mIoU_all and per_class each.
        path: the PNG file.
        title: above the plot.

    Returns:
        The path.

    Raises:
        ValueError: there are no steps.
    """
    if not steps:
        raise ValueError(f"{path}: no steps to draw")
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


def sweep_plot(
    values: Sequence[Mapping[str, str]], scores: Sequence[float], path: str | os.PathLike, name: str
) -> Path:
    """Plots the score of each trial of a sweep against the value of each swept key, one panel per key.

    Numbers that differ by a factor of 20 or more stand on a logarithmic axis; other values are names.

    Args:
        values: of each trial the value of each key, as text.
        scores: of each trial.
        path: the PNG file.
        name: of the score.

    Returns:
        The path.

    Raises:
        ValueError: there are no trials.
    """
    if not values:
        raise ValueError(f"{path}: no trials to draw")
    keys = list(values[0])
    columns = min(3, len(keys))
    figure = _figure(4.4 * columns, 3.2 * -(-len(keys) // columns))
    for panel, key in enumerate(keys, 1):
        axes = figure.add_subplot(-(-len(keys) // columns), columns, panel)
        texts = [of_trial[key] for of_trial in values]
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            names = list(dict.fromkeys(texts))
            numbers = [float(names.index(text)) for text in texts]
            axes.set_xticks(range(len(names)), [text[:20] for text in names], fontsize=8)
        else:
            if min(numbers) > 0 and max(numbers) >= 20 * min(numbers):
                axes.set_xscale("log")
        axes.plot(numbers, scores, "o", color=COLORS[0], markersize=5, alpha=0.8)
        axes.set_xlabel(key, fontsize=9)
        axes.set_ylabel(name, fontsize=9)
        axes.grid(color="#dddddd", linewidth=0.6)
        _tidy(axes)
    return _save(figure, path)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches with automatic layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _class_cells(axes: "Axes", values: np.ndarray, known: np.ndarray, classes: Sequence[str]) -> None:
    """Draws percentages [K,steps]; cells without one (NaN) are grey where known, otherwise white."""
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


def _curve(axes: "Axes", points: np.ndarray, color: str, name: str) -> None:
    """Draws points, float [n,2] of step and value; long curves are drawn faintly under their moving mean."""
    steps, values = points[:, 0], points[:, 1]
    if len(points) < SMOOTHED_FROM:
        axes.plot(steps, values, color=color, linewidth=1.6, marker="o" if len(points) < 20 else "", ms=3, label=name)
        return
    axes.plot(steps, values, color=color, linewidth=0.7, alpha=0.3)
    # the window shrinks on both sides alike towards the ends, so that a straight line stays straight
    index = np.arange(len(values))
    half = np.minimum(np.minimum(index, index[::-1]), len(values) // 25)
    kept = np.isfinite(values)
    total = np.concatenate([[0], np.cumsum(np.where(kept, values, 0))])
    count = np.concatenate([[0], np.cumsum(kept)])
    first, last = index - half, index + half + 1
    mean = (total[last] - total[first]) / np.maximum(count[last] - count[first], 1)
    axes.plot(steps, np.where(kept, mean, np.nan), color=color, linewidth=1.8, label=name)


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_axisbelow(True)


def _save(figure: "Figure", path: str | os.PathLike) -> Path:
    """Writes the figure as a PNG file that is whole or absent, and returns its path."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return write_file(Path(path), picture.getvalue())

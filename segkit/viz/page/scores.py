"""Sections of a page about the scores of a test set: the means, the classes, clicks, and class steps. K classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from segkit.metrics.noc import clicks_needed, curve_of
from segkit.viz.page.charts import bar, line_chart
from segkit.viz.page.glossary import direction, heading, meaning
from segkit.viz.page.html import EMPTY, Markup, join, note, number, section, swatch, tag
from segkit.viz.page.records import ScoredSet
from segkit.viz.page.tables import Cell, figure, table, text

HIDDEN = ("limits", "mIoU@k", "items", "mIoU_steps", "sizes", "per_class", "analysis")
"""Scores with a section of their own."""

MOST_TILES = 4

ALSO_TILES = ("mIoU_old", "mIoU_new", "segm.AP50", "aAcc", "images")
"""Scores that follow the main ones in large figures, where there are such."""


def tiles(tested: ScoredSet) -> Markup:
    """Returns the main scores in large figures."""
    known = dict(numbers(tested.scores, tested.classes))
    names = [name for name in dict.fromkeys(tested.main_scores) if known.get(name) is not None][:MOST_TILES]
    names += [name for name in ALSO_TILES if known.get(name) is not None and name not in names]
    shown = [tag("div", {"class": "tile"}, tag("b", {}, number(known[name])), tag("span", {}, name)) for name in names]
    return tag("div", {"class": "tiles"}, *shown)


def numbers(scores: Mapping[str, Any], classes: Sequence[str]) -> Iterator[tuple[str, float | None]]:
    """Goes through the scores that stand for a whole set, those of sections as "section.name"."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            if name not in HIDDEN and not is_of_classes(value, classes):
                yield from ((f"{name}.{inner}", score) for inner, score in numbers(value, classes))
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, value


def is_of_classes(value: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Returns whether a part of the scores holds something for each class."""
    return bool(classes) and set(value) == set(classes)


def score_table(tested: ScoredSet) -> Markup:
    """Returns the table of all means, each with what it says."""
    rows = []
    for name, value in numbers(tested.scores, tested.classes):
        better = direction(name, tested.lower_is_better)
        rows.append((text(name), figure(value), text(f"{better} is better" if better else ""), text(meaning(name))))
    hint = note("Scores are in percent, but for counts, clicks and times. A dash: nothing could be scored.")
    return join(
        [hint, table(("score", "value", "", "what it says"), rows, label="scores", sortable=False, css="means")]
    )


def class_tables(scores: Mapping[str, Any], classes: Sequence[str], at: str = "") -> dict[str, dict[str, dict]]:
    """Finds what scores say of classes.

    Returns:
        By the section's name ("" for the scores themselves), by class, the scores by their names.
    """
    found: dict[str, dict[str, dict]] = {}
    for name, value in scores.items():
        if not isinstance(value, Mapping) or name in ("limits", "mIoU@k", "analysis"):
            continue
        if name == "per_class" or is_of_classes(value, classes):
            label = (at or name) if name == "per_class" else name
            for key, row in value.items():
                columns = row if isinstance(row, Mapping) else {label.removesuffix("_of"): row}
                found.setdefault(at, {}).setdefault(key, {}).update(columns)
        else:
            found |= class_tables(value, classes, f"{at}.{name}" if at else name)
    return found


def class_section(tested: ScoredSet) -> Markup:
    """Returns a table for each metric of classes: a bar for the first score, and all scores; EMPTY where none is."""
    colors = dict(zip(tested.classes, tested.palette))
    totals = None if tested.matrix is None else tested.matrix.sum(1)
    shares = {} if totals is None else dict(zip(tested.classes, (100 * totals / max(totals.sum(), 1)).tolist()))
    parts = []
    for name, rows in class_tables(tested.scores, tested.classes).items():
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        if "Acc" in columns and "Recall" in columns:
            columns.remove("Recall")  # of a label map both are the same
        columns = [column for column in columns if any(_is_number(row.get(column)) for row in rows.values())]
        if not columns:
            continue
        head = ["class", columns[0], "", *columns[1:], *(["% of pixels"] if shares and not name else [])]
        body = []
        for key, row in rows.items():
            named = join([swatch(colors[key]) if key in colors else EMPTY, key])
            first = row.get(columns[0])
            cells = [Cell(named, key), figure(first), Cell(bar(first)), *(figure(row.get(c)) for c in columns[1:])]
            body.append([*cells, *([figure(shares.get(key, 0.0))] if shares and not name else [])])
        title = tag("h4", {}, heading(name)) if name else EMPTY
        parts.append(join([title, table(head, body, label=f"classes {name}".strip(), css="classes")]))
    hint = note("A click on a column's name sorts by it. A dash: the class is in neither truth nor prediction.")
    return join([hint, *parts]) if parts else EMPTY


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def click_section(tested: ScoredSet) -> Markup:
    """Returns the curves of interactive segmentation and the table of its limits; EMPTY without clicks."""
    scores = tested.scores
    if "mIoU@k" not in scores or not scores.get("items"):
        return EMPTY
    curves = {
        "objects that keep their last IoU": _by_click(scores["mIoU@k"]["held"]),
        "clicks that all objects got": _by_click(scores["mIoU@k"]["shortest"]),
    }
    items = [curve_of(item) for item in scores["items"]]
    limits = {int(name): at for name, at in scores["limits"].items()}
    most = max(limits)
    reached = {}
    for threshold in limits[most]["NoC"]:
        needed = clicks_needed(items, float(threshold) / 100, most + 1)
        reached[f"IoU {threshold}"] = [(k, float(100 * (needed <= k).mean())) for k in range(1, most + 1)]
    charts = tag(
        "div",
        {"class": "charts"},
        line_chart("Mean IoU after k clicks", curves, x_label="clicks"),
        line_chart("Objects found after k clicks, in percent", reached, x_label="clicks"),
    )
    head = ("limit", "IoU", "clicks (NoC)", "at the limit", "not reached", "ended early")
    rows = [
        [
            figure(limit),
            Cell(name, float(name), is_number=True),
            *(figure(at[key][name]) for key in ("NoC", f">={limit}", "not_reached", "ended_early")),
        ]
        for limit, at in limits.items()
        for name in at["NoC"]
    ]
    hint = note(
        "NoC: mean clicks until the IoU is reached; an object that does not reach it counts as the limit. At the "
        "limit: objects that count as it, those that the last click finds included. Ended early: of those not reached, "
        "the ones that got fewer clicks than the limit, so that their true number is not known."
    )
    return join([charts, hint, table(head, rows, label="clicks needed", sortable=False)])


def _by_click(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(k, np.nan if value is None else value) for k, value in enumerate(values, 1)]


GROUPS = ("old", "new", "all")


def groups_section(tested: ScoredSet) -> Markup:
    """Returns the table of old, new and all classes of a model that learned its classes in steps; EMPTY for others."""
    scores = tested.scores
    if "mIoU_old" not in scores or "sizes" not in scores:
        return EMPTY
    rows = [
        [text(name), figure(scores.get(f"mIoU_{name}")), figure(scores.get(f"mIoU_{name}_with_background"))]
        for name in GROUPS
    ]
    known = list(tested.classes)
    ends = np.cumsum(scores["sizes"]).tolist()
    steps = []
    for k, (end, size, mean) in enumerate(zip(ends, scores["sizes"], scores["mIoU_steps"])):
        steps.append([figure(k), figure(mean), figure(size), text(", ".join(known[end - size : end]))])
    head = ("classes", "mIoU", "with background")
    return join(
        [
            note("Old: the classes of the first step; new: all learned since. Means over classes, in percent."),
            table(head, rows, label="old, new and all classes", sortable=False),
            table(("step", "mIoU", "classes", "which"), steps, label="classes of each step", sortable=False),
        ]
    )


def steps_section(steps: Sequence[Mapping[str, Any]]) -> Markup:
    """Returns the scores after each class step of the run; steps: as in its metrics.json."""
    curves = {
        name: [(step["step"], np.nan if (value := step.get(f"mIoU_{name}")) is None else value) for step in steps]
        for name in GROUPS
    }
    head = ("step", "classes", "old", "new", "all", "harmonic", "forgotten")
    rows = [
        [
            figure(step["step"]),
            figure(len(step.get("classes", ()))),
            *(figure(step.get(key)) for key in ("mIoU_old", "mIoU_new", "mIoU_all", "hIoU", "mForgetting")),
        ]
        for step in steps
    ]
    chart = line_chart("mIoU after each step", curves, x_label="step") if len(steps) > 1 else EMPTY
    hint = note("Of the validation data, as the training scored it. Forgotten: points below the best step before.")
    shown = table(head, rows, label="scores after each step", sortable=False)
    return section("Class steps of this run", hint, shown, tag("div", {"class": "charts"}, chart), at="steps")


def sets_table(sets: Sequence[ScoredSet]) -> Markup:
    """Returns the main scores of several test sets side by side."""
    names = list(dict.fromkeys(name for tested in sets for name in tested.main_scores))
    rows = []
    for k, tested in enumerate(sets):
        known = dict(numbers(tested.scores, tested.classes))
        link = tag("a", {"href": f"#set{k}"}, tested.name)
        images = known.get("images")
        rows.append([Cell(link, tested.name), *(figure(known.get(name)) for name in names), figure(images)])
    return table(("test set", *names, "images"), rows, label="test sets")

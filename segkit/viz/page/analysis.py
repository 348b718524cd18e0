"""Sections of a page: intervals of scores, scores by groups, calibration, two models compared, corrupted images.

Each function returns the content of one section, EMPTY where there is nothing to show; any page can hold them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from segkit.analysis.bootstrap import Difference, Interval
from segkit.analysis.calibration import BINS, Calibration, Histogram
from segkit.analysis.findings import Comparison, Findings, Group
from segkit.analysis.robustness import FAMILIES, Robustness
from segkit.viz.page.charts import line_chart
from segkit.viz.page.html import EMPTY, Attributes, Markup, folded, join, note, number, tag
from segkit.viz.page.tables import Cell, figure, table, text

MARK = 0.05
"""Of p, below which a difference is called clear."""


def findings_sections(findings: Findings) -> list[tuple[str, Markup]]:
    """Returns title and content of what is said of a test set beyond its scores."""
    sections = [
        ("Intervals", intervals_section(findings)),
        ("Groups", groups_section(findings.groups)),
        ("Calibration", calibration_section(findings.calibration)),
    ]
    return [(title, content) for title, content in sections if content]


def whisker(one: Interval, low: float, high: float) -> Markup:
    """Draws an interval as a line with its value as a dot, on a scale from `low` to `high`."""
    if not all(map(math.isfinite, (one.value, one.low, one.high))) or high <= low:
        return EMPTY
    x0, x, x1 = (4 + 132 * min(max((end - low) / (high - low), 0), 1) for end in (one.low, one.value, one.high))
    frame: Attributes = {"class": "whisker", "viewBox": "0 0 140 14", "width": 140, "height": 14, "role": "img"}
    label = f"{number(one.value)}, from {number(one.low)} to {number(one.high)}"
    line = tag("path", {"class": "s c0", "d": f"M{x0:.1f} 7L{x1:.1f} 7M{x0:.1f} 3L{x0:.1f} 11M{x1:.1f} 3L{x1:.1f} 11"})
    dot = tag("circle", {"class": "dot c0", "cx": f"{x:.1f}", "cy": 7, "r": 3.5})
    zero = 4 + 132 * (0 - low) / (high - low)
    middle: Attributes = {"class": "grid", "x1": f"{zero:.1f}", "x2": f"{zero:.1f}", "y1": 0, "y2": 14}
    return tag("svg", {**frame, "aria-label": label}, tag("line", middle) if low < 0 < high else EMPTY, line, dot)


def _scale(found: Sequence[Interval]) -> tuple[float, float]:
    """Ends of the scale on which intervals are drawn beside each other."""
    ends = [end for one in found for end in (one.low, one.value, one.high) if math.isfinite(end)]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _row(name: str, one: Interval, scale: tuple[float, float]) -> list[Cell]:
    return [text(name), figure(one.value), Cell(whisker(one, *scale)), *(figure(end) for end in one[1:])]


def intervals_section(findings: Findings) -> Markup:
    """Returns the table of all scores with their intervals; EMPTY without any."""
    if not findings.intervals:
        return EMPTY
    plan = findings.plan
    within = f" within each of {findings.strata} main classes" if findings.strata > 1 else ""
    hint = note(
        f"{100 * plan.level:g} % intervals by the bootstrap: {findings.images:,} images are drawn with replacement "
        f"{plan.replicates:,} times{within} (seed {plan.seed}), and their counts are summed and scored again. They say "
        "how far a score would move with other images of the same kind, not with another training. BCa corrects for "
        "bias and skewness."
    )
    head = ("score", "value", "", "low", "high", "BCa low", "BCa high")
    main = {name: findings.intervals[name] for name in findings.main}
    others = {name: one for name, one in findings.intervals.items() if name not in main}
    parts: list[Markup] = [hint]
    for is_open, rows in ((True, main), (False, others)):
        if rows:
            lower = {name for name in rows if name in findings.lower_is_better}
            groups = [{n: o for n, o in rows.items() if (n in lower) is is_lower} for is_lower in (True, False)]
            body = [_row(name, one, _scale([*group.values()])) for group in groups for name, one in group.items()]
            shown = table(head, body, label="intervals", css="means")
            parts.append(shown if is_open else folded(f"{len(rows)} scores of single classes", shown))
    return join(parts)


def groups_section(groups: Mapping[str, Sequence[Group]]) -> Markup:
    """Returns a table of scores for each way to part images, pixels or objects; EMPTY without any."""
    parts: list[Markup] = []
    for by, members in groups.items():
        names = list(dict.fromkeys(name for group in members for name in group.scores))
        if not names:
            continue
        first = names[0]
        scale = _scale([group.scores[first] for group in members])
        body = []
        for group in members:
            others = [figure(group.scores[name].value) for name in names[1:]]
            one = group.scores[first]
            drawn = Cell(whisker(one, *scale))
            body.append(
                [text(group.name), figure(group.images), figure(one.value), drawn, *map(figure, one[1:3]), *others]
            )
        head = (by, "images", first, "", "low", "high", *names[1:])
        parts.append(table(head, body, label=f"scores by {by}"))
    if not parts:
        return EMPTY
    hint = note(
        "Distance: pixels by how far they lie from the nearest true outline. Size of regions: connected pixels of a "
        "class in the truth, small below 32 x 32 pixels, large from 96 x 96; found: at least half of the region is "
        "right. Ends are those of the percentiles."
    )
    return join([hint, *parts])


def calibration_section(calibration: Calibration | None) -> Markup:
    """Returns the reliability plot, the errors and the best temperature; EMPTY without probabilities."""
    if calibration is None or not calibration.top.pixels.sum():
        return EMPTY
    found = calibration.scores()
    before, after = number(found["ECE"]), number(found["ECE_at_temperature"])
    hint = note(
        "Pixels in 15 equal parts by their highest probability: where the curve lies below the diagonal, the model is "
        "surer than it is right. ECE is the mean distance from the diagonal over pixels, MCE the largest one. The "
        f"temperature {found['temperature']:.3g} gives the least loss (logits are divided by it; above 1 the model was "
        f"too sure): the ECE goes from {before} to about {after}."
    )
    share = 100 * calibration.top.pixels / calibration.top.pixels.sum()
    middles = 100 * (np.arange(BINS) + 0.5) / BINS
    curves = {
        "right": _points(calibration.top),
        "as sure as right": [(0.0, 0.0), (100.0, 100.0)],
    }
    label = "highest probability in percent"
    charts = tag(
        "div",
        {"class": "charts"},
        line_chart("Reliability: percent of the pixels that are right", curves, x_label=label),
        line_chart("Percent of all pixels", {"pixels": list(zip(middles.tolist(), share.tolist()))}, x_label=label),
    )
    names = ("ECE", "MCE", "classwise_ECE", "NLL", "temperature", "NLL_at_temperature", "ECE_at_temperature")
    rows = [[text(name), figure(found[name])] for name in names]
    by_class = [[text(name), figure(row["ECE"])] for name, row in found["per_class"].items()]
    head = ("class", "ECE of its own probability")
    return join(
        [
            hint,
            charts,
            table(("", "value"), rows, label="calibration", sortable=False),
            folded(f"{len(by_class)} classes", table(head, by_class, label="calibration of classes"), is_open=True),
        ]
    )


def _points(found: Histogram) -> list[tuple[float, float]]:
    """Mean probability and share that is right of each part, in percent; those without a pixel leave gaps."""
    known = np.maximum(found.pixels, 1)
    x = np.where(found.pixels > 0, 100 * found.confidence / known, np.nan)
    y = np.where(found.pixels > 0, 100 * found.right / known, np.nan)
    return [point for point in zip(x.tolist(), y.tolist()) if point[0] == point[0]]


def comparison_section(found: Comparison) -> Markup:
    """Returns the table of two models: both scores, the difference with its interval, and p."""
    plan = found.plan
    hint = note(
        f"{found.first} (A) and {found.second} (B) on the same {found.images:,} images. The {100 * plan.level:g} % "
        f"interval is that of B - A over {plan.replicates:,} draws of images that both share; p is the share of as "
        "many random exchanges of the models' results, image by image, with a difference at least as large. With many "
        f"scores some p are below {MARK} by chance. Seed {plan.seed}."
    )
    main = {name: found.differences[name] for name in found.main if name in found.differences}
    others = {name: one for name, one in found.differences.items() if name not in main}
    parts: list[Markup] = [hint, _differences(main, found.lower_is_better)]
    if others:
        parts.append(folded(f"{len(others)} scores of single classes", _differences(others, found.lower_is_better)))
    return join(parts)


def _differences(found: Mapping[str, Difference], lower: Sequence[str]) -> Markup:
    low, high = _scale([one.difference for one in found.values()])
    largest = max(abs(low), abs(high))
    body = []
    for name, one in found.items():
        drawn = Cell(whisker(one.difference, -largest, largest))
        ends = [figure(end) for end in one.difference[1:]]
        p = Cell("\N{EN DASH}" if one.p != one.p else f"{one.p:.3f}", one.p, is_number=True)
        better = text(verdict(one, is_lower=name in lower))
        body.append(
            [text(name), figure(one.first), figure(one.second), figure(one.difference.value), drawn, *ends, p, better]
        )
    head = ("score", "A", "B", "B - A", "", "low", "high", "BCa low", "BCa high", "p", "")
    return table(head, body, label="differences", css="means")


def verdict(one: Difference, *, is_lower: bool) -> str:
    """Returns "B is better", "A is better" or "no clear difference": p is not low, or the interval holds 0.

    Args:
        one: of a score.
        is_lower: whether its lower values are better.
    """
    low, high = one.difference.low, one.difference.high
    if not one.p < MARK or not (low > 0 or high < 0):
        return "no clear difference"
    return "B is better" if (one.difference.value < 0) is is_lower else "A is better"


def robustness_section(found: Robustness) -> Markup:
    """Returns the table of scores under corruptions, and a curve over the strengths for each family."""
    explanations = {
        "mPC": "mean under corruption, over the sixteen of noise, blur, weather and digital faults",
        "rPC": "mPC in percent of the clean score",
        "mCE": f"mean errors in percent of those of {found.reference}",
        "relative_mCE": "the same of the errors beyond the clean ones",
    }
    clean = [text("clean"), figure(found.clean), text(f"{found.score} of {found.images:,} images as they are")]
    means = [clean, *([text(name), figure(value), text(explanations[name])] for name, value in found.means().items())]
    more = ("error %", "relative %") if found.reference else ()
    head = ("corruption", "family", *map(str, found.strengths), "mean", "drop", *more)
    body = []
    for row in found.rows:
        numbers = (*row.scores, row.mean, row.drop, *((row.error, row.relative) if found.reference else ()))
        body.append([text(row.name), text(row.family), *map(figure, numbers)])
    curves = {}
    for family in FAMILIES:
        members = np.array([row.scores for row in found.rows if row.family == family])
        if len(members):
            curves[family] = [(0.0, found.clean), *zip(map(float, found.strengths), members.mean(0).tolist())]
    chart = line_chart(f"{found.score} by strength, mean of each family", curves, x_label="strength (0: clean)")
    hint = note(
        "Scores of five strengths of each corruption, in percent but for clicks. Drop: against the clean score."
    )
    return join(
        [
            table(("", "value", ""), means, label="means", sortable=False),
            tag("div", {"class": "charts"}, chart),
            hint,
            table(head, body, label="corruptions"),
        ]
    )

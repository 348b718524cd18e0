"""The page itself: head, sections in their order, and the parts that are alike for all models."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from segkit.files import read_text
from segkit.types import Color
from segkit.viz.page import scores
from segkit.viz.page.charts import histogram, line_chart, sparkline
from segkit.viz.page.html import EMPTY, Attributes, Markup, folded, join, note, number, section, swatch, tag
from segkit.viz.page.records import Card, Facts, Picture, ScoredSet, Training, WorstImages
from segkit.viz.page.tables import confusion, table, text

SMALL = 200
"""Pictures with a longer side below this are shown with sharp pixels."""

MANY_CLASSES = 30
"""Longer legends are folded."""

HATCHED: Attributes = {"class": "hatch", "width": 12, "height": 12}

OTHER_SCORES = 6
"""Validation scores beside the one that chose best.pt."""


def page(facts: Facts, sets: Sequence[ScoredSet]) -> str:
    """Returns the page about a test.

    Args:
        facts: what is said beside the scores.
        sets: the test sets.
    """
    return document(facts.title, facts.subtitle, *_body(facts, sets))


def sections_page(title: str, subtitle: str, sections: Sequence[tuple[str, Markup]]) -> str:
    """Returns a page of sections, as self-contained as that about a test.

    Args:
        title: its heading.
        subtitle: a line below it.
        sections: title and content of each.
    """
    contents = [(_anchor(name), name) for name, _ in sections]
    return document(
        title, subtitle, contents, join([section(name, inner, at=_anchor(name)) for name, inner in sections])
    )


def document(title: str, subtitle: str, contents: Sequence[tuple[str, str]], body: Markup) -> str:
    """Returns a whole page.

    Args:
        title: its heading.
        subtitle: a line below it.
        contents: name in links and title of each section.
        body: the sections.
    """
    folder = Path(__file__).parent
    style, script = (Markup(read_text(folder / name)) for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{digest(style)}'; script-src '{digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    links = [tag("a", {"href": f"#{at}"}, name) for at, name in contents]
    head = tag(
        "head",
        {},
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "referrer", "content": "no-referrer"}),
        tag("title", {}, title),
        tag("style", {}, style),
    )
    dialog = tag("dialog", {"aria-label": "enlarged picture"}, tag("img", {"alt": ""}), tag("p", {}))
    header = tag("header", {}, tag("h1", {}, title), tag("p", {"class": "sub"}, subtitle))
    contents_bar = tag("nav", {"aria-label": "sections"}, tag("div", {}, *links))
    whole = tag("body", {}, header, contents_bar, tag("main", {}, body), dialog, tag("script", {}, script))
    return "<!DOCTYPE html>\n" + tag("html", {"lang": "en"}, head, whole) + "\n"


def digest(content: str) -> str:
    """Returns how a Content-Security-Policy names an inline style or script that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _body(facts: Facts, sets: Sequence[ScoredSet]) -> tuple[list[tuple[str, str]], Markup]:
    """The sections' names and titles, and all sections."""
    contents: list[tuple[str, str]] = []
    parts: list[Markup] = []
    if len(sets) > 1:
        contents.append(("sets", "Test sets"))
        parts.append(section("Test sets", scores.sets_table(sets), at="sets"))
    for k, tested in enumerate(sets):
        inner = _set_parts(tested)
        if len(sets) > 1:
            contents.append((f"set{k}", tested.name))
            of_set = [section(title, content, level=3) for title, content in inner]
            parts.append(section(tested.name, scores.tiles(tested), *of_set, at=f"set{k}"))
        else:
            parts.append(scores.tiles(tested))
            contents += [(_anchor(title), title) for title, _ in inner]
            parts += [section(title, content, at=_anchor(title)) for title, content in inner]
    if facts.steps:
        contents.append(("steps", "Class steps"))
        parts.append(scores.steps_section(facts.steps))
    for title, content in (
        ("Training", _training(facts.training)),
        ("Commands", _commands(facts.commands)),
        ("Config", _config(facts.config)),
        ("About", _about(facts)),
    ):
        if content:
            contents.append((_anchor(title), title))
            parts.append(section(title, content, at=_anchor(title)))
    return contents, join(parts)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _set_parts(tested: ScoredSet) -> list[tuple[str, Markup]]:
    """Title and content of the sections of a test set, without those that would be empty."""
    matrix = tested.matrix
    is_confused = matrix is not None and matrix.sum() > 0 and len(matrix) > 1
    parts = [
        ("Scores", scores.score_table(tested)),
        ("Clicks", scores.click_section(tested)),
        ("Old and new classes", scores.groups_section(tested)),
        ("Classes", scores.class_section(tested)),
        ("Confusion", confusion(matrix, tested.classes) if matrix is not None and is_confused else EMPTY),
        *tested.more,
    ]
    if tested.worst is not None:
        parts.append((tested.worst.title, worst_section(tested.worst, tested)))
    return [(title, content) for title, content in parts if content]


def worst_section(worst: WorstImages, tested: ScoredSet) -> Markup:
    """Returns the worst images of a set with the distribution of all images' scores; EMPTY where none was scored."""
    if not worst.cards and not worst.values:
        return EMPTY
    unscored = f" {worst.unscored} without a labelled pixel are left out." if worst.unscored else ""
    chart = EMPTY
    if len(worst.values) > 1:
        title = f"{worst.value_name} of {len(worst.values):,} {worst.noun}"
        chart = tag("div", {"class": "charts"}, histogram(title, worst.values, label=f"{worst.value_name} in percent"))
    key = [tag("span", {}, _hatched() if color is None else swatch(color), name) for name, color in worst.key]
    return join(
        [
            note(worst.explanation + unscored),
            chart,
            tag("div", {"class": "legend"}, *key),
            _class_legend(tested) if worst.shows_classes else EMPTY,
            *(card_of(card) for card in worst.cards),
        ]
    )


def _class_legend(tested: ScoredSet) -> Markup:
    return class_legend(tested.classes, tested.palette)


def class_legend(classes: Sequence[str], palette: Sequence[Color]) -> Markup:
    """Returns the colors of the classes; EMPTY of a single one."""
    spans = [tag("span", {}, swatch(color), name) for name, color in zip(classes, palette)]
    if len(spans) < 2:
        return EMPTY
    legend = tag("div", {"class": "legend"}, *spans)
    return folded(f"Colors of the {len(spans)} classes", legend, is_open=len(spans) <= MANY_CLASSES)


def _hatched() -> Markup:
    frame: Attributes = {"class": "swatch", "width": 12, "height": 12, "viewBox": "0 0 12 12", "aria-hidden": "true"}
    lines = tag("path", {"class": "hatch", "d": "M0 6L6 0M0 12L12 0M6 12L12 6"})
    return tag("svg", frame, tag("rect", HATCHED), lines)


def card_of(card: Card) -> Markup:
    """Returns the pictures of an image below its name."""
    classes = [tag("span", {}, swatch(entry.color), f"{entry.name} {entry.text}".strip()) for entry in card.classes]
    return tag(
        "article",
        {"class": "card"},
        tag("h4", {}, card.name, Markup(" "), tag("span", {}, card.note)),
        tag("div", {"class": "pictures"}, *(picture_figure(picture, card.name) for picture in card.pictures)),
        tag("div", {"class": "legend"}, *classes) if classes else EMPTY,
        _click_curve(card.curve),
    )


def _click_curve(curve: Sequence[float]) -> Markup:
    if not curve:
        return EMPTY
    text = f"IoU after each click: {', '.join(f'{value:.0f}' for value in curve)}"
    return tag("div", {"class": "curve"}, sparkline(curve), tag("span", {}, text))


def picture_figure(picture: Picture, name: str) -> Markup:
    """Returns a picture under its title; name: of what it shows."""
    kind = "png" if picture.data.startswith(b"\x89PNG") else "jpeg"
    attributes: Attributes = {
        "class": "small" if max(picture.width, picture.height) < SMALL else None,
        "width": picture.width,
        "height": picture.height,
        "alt": f"{name}: {picture.title}",
        "src": f"data:image/{kind};base64,{base64.b64encode(picture.data).decode()}",
    }
    return tag("figure", {}, tag("figcaption", {}, picture.title), tag("img", attributes))


def _training(training: Training | None) -> Markup:
    if training is None or not (training.losses or training.scores):
        return EMPTY
    charts = [
        line_chart("Loss", training.losses, x_label="step"),
        line_chart("Learning rate", {"rate": training.rates}, x_label="step"),
    ]
    monitored = training.scores.get(training.monitor, [])
    known = [point for point in monitored if point[1] == point[1]]
    if known:
        best = min(known, key=lambda point: point[1] if training.lower_is_better else -point[1])
        mark_text = f"best: {number(best[1])} at step {best[0]:,.0f}"
        title = f"Validation: {training.monitor}"
        series = {training.monitor: monitored}
        charts.append(line_chart(title, series, x_label="step", mark=best, mark_text=mark_text))
    others = {name: points for name, points in training.scores.items() if name != training.monitor}
    shown = dict(list(others.items())[:OTHER_SCORES])
    if shown:
        charts.append(line_chart("Validation: other scores", shown, x_label="step"))
    return join([note(f"From {training.source}."), tag("div", {"class": "charts"}, *charts)])


def _commands(commands: Sequence[tuple[str, str]]) -> Markup:
    shown = [
        join([tag("p", {}, purpose), tag("div", {"class": "command"}, tag("pre", {}, tag("code", {}, command)))])
        for purpose, command in commands
    ]
    return join(shown)


def _config(rows: Sequence[tuple[str, str, str]]) -> Markup:
    head = ("setting", "value", "from")
    chosen = [[text(cell) for cell in row] for row in rows if row[2] != "default"]
    defaults = [[text(cell) for cell in row[:2]] for row in rows if row[2] == "default"]
    parts = [
        folded(title, table(names, body, label=title, css="config"))
        for title, names, body in (
            (f"{len(chosen)} values that the config sets", head, chosen),
            (f"{len(defaults)} defaults", head[:2], defaults),
        )
        if body
    ]
    return join(parts)


def _about(facts: Facts) -> Markup:
    machine = [[text(name), text(value)] for name, value in facts.machine]
    metrics = [[text(name), text(purpose)] for name, purpose in facts.metrics]
    return join(
        [
            table(("", ""), machine, label="versions and machine", sortable=False, css="facts") if machine else EMPTY,
            tag("h3", {}, "How it was scored") if metrics else EMPTY,
            table(("metric", "what it does"), metrics, label="metrics", sortable=False) if metrics else EMPTY,
        ]
    )

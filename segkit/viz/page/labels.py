"""Sections of a page about labels: places with evidence against them, images, copies."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from segkit.types import Color
from segkit.viz.page.html import EMPTY, Markup, folded, join, note, number, tag
from segkit.viz.page.records import Picture
from segkit.viz.page.sheet import class_legend, picture_figure
from segkit.viz.page.tables import figure, table, text

MOST_ROWS = 200
"""Rows of a table of images."""


class LabelCard(NamedTuple):
    """A place whose label is doubted.

    Attributes:
        name: of the image.
        kind: of the doubt.
        note: score, classes and box in words.
        pictures: image, label, prediction.
    """

    name: str
    kind: str
    note: str
    pictures: tuple[Picture, ...]


def findings_section(
    cards: Sequence[LabelCard],
    kinds: Mapping[str, str],
    counts: Mapping[str, int],
    classes: Sequence[str],
    palette: Sequence[Color],
) -> Markup:
    """Returns the cards, with a button for each kind that shows it alone.

    Args:
        cards: the strongest first.
        kinds: what each kind means.
        counts: findings of each kind, of which the cards may be a part.
        classes: K names.
        palette: K colors.
    """
    if not cards:
        return note("No label has more evidence against it than for it.")
    total = sum(counts.values())
    shown = f" The {len(cards)} strongest are shown, all stand in the JSON file." if len(cards) < total else ""
    rows = [[text(kind), figure(counts[kind]), text(kinds[kind])] for kind in kinds if counts.get(kind)]
    buttons = [tag("button", {"type": "button", "value": "", "aria-pressed": "true"}, f"all ({len(cards)})")]
    for kind in kinds:
        of_kind = sum(card.kind == kind for card in cards)
        if of_kind:
            attributes = {"type": "button", "value": kind, "aria-pressed": "false"}
            buttons.append(tag("button", attributes, f"{kind} ({of_kind})"))
    hint = note(
        "Sorted by the evidence against the label, 0 to 1. It is evidence, not proof: a place may be right and the "
        f"network wrong. The box marks the place.{shown}"
    )
    return join(
        [
            hint,
            table(("kind", "places", "what it means"), rows, label="kinds of findings", sortable=False),
            class_legend(classes, palette),
            tag("div", {"class": "filters", "role": "group", "aria-label": "kinds shown", "hidden": True}, *buttons),
            tag("div", {"class": "found"}, *(_card(card) for card in cards)),
        ]
    )


def _card(card: LabelCard) -> Markup:
    title = tag("h4", {}, card.name, Markup(" "), tag("span", {}, f"{card.kind}: {card.note}"))
    pictures = tag("div", {"class": "pictures"}, *(picture_figure(picture, card.name) for picture in card.pictures))
    return tag("article", {"class": "card", "data-kind": card.kind}, title, pictures)


def images_section(rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Returns a table of images; rows: name, quality of the labels, and a remark, the worst first."""
    body = [[text(name), figure(quality), text(remark)] for name, quality, remark in rows[:MOST_ROWS]]
    rest = f" The worst {MOST_ROWS} of {len(rows):,} are shown." if len(rows) > MOST_ROWS else ""
    hint = note(
        "How well the labels of a whole image agree with the predictions, 0 to 1: the mean over its pixels or objects, "
        f"weighted towards the worst ones.{rest}"
    )
    return join([hint, table(("image", "quality", ""), body, label="images, the worst labels first")])


def copies_section(title: str, rows: Sequence[tuple[str, str, str]], explanation: str) -> Markup:
    """Returns a table of pairs of images that look alike; rows: both names, and how alike they are."""
    if not rows:
        return note(f"{title}: none.")
    body = [[text(first), text(second), text(how)] for first, second, how in rows[:MOST_ROWS]]
    listed = table(("image", "looks like", "how"), body, label=title)
    rest = note(f"{len(rows) - MOST_ROWS:,} more stand in the JSON file.") if len(rows) > MOST_ROWS else EMPTY
    return folded(f"{title}: {number(len(rows))}", note(explanation), listed, rest, is_open=len(rows) <= 20)

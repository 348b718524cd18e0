"""The page about images that were chosen to be labelled: pictures, where the models are unsure, and the reasons."""

from collections.abc import Sequence

from segkit.viz.page.html import EMPTY, note, section
from segkit.viz.page.records import Card
from segkit.viz.page.sheet import card_of, document
from segkit.viz.page.tables import Cell, figure, table, text


def chosen_page(subtitle: str, rule: str, rows: Sequence[Sequence[str | float | int | None]], cards: list[Card]) -> str:
    """Returns the page, which needs no other file and no network.

    Args:
        subtitle: what was chosen of what.
        rule: in sentences, how.
        rows: number, image, uncertainty in percent, its rank, distance and pixels to label of each image or box.
        cards: of the images, in their order.
    """
    head = ("", "image", "uncertainty in %", "rank", "distance", "pixels")
    body: list[list[Cell]] = [[text(c) if isinstance(c, str) else figure(c) for c in row] for row in rows]
    parts = [
        section("Images", note(rule), table(head, body, label="what was chosen"), at="images"),
        section("Pictures", *(card_of(card) for card in cards), at="pictures") if cards else EMPTY,
    ]
    contents = [("images", "Images"), ("pictures", "Pictures")]
    return document("What to label next", subtitle, contents, type(EMPTY)("".join(parts)))

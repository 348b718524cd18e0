"""Tables as HTML: sortable ones, and confusion matrices as heat maps. K classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segkit.viz.page.html import EMPTY, Content, Markup, folded, join, note, number, scrolled, tag

LEAST_SHARE = 0.5
"""Percent of a row below which a cell of the matrix stays empty."""

MOST_PAIRS = 10
"""Confused pairs that are listed."""

MANY_CLASSES = 12
"""Beyond that the names above the columns are turned upright."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        content: that is shown.
        value: by which rows are sorted; None sorts to the end.
        is_number: whether it is aligned to the right.
    """

    content: Content
    value: float | str | None = None
    is_number: bool = False


def figure(value: float | int | None) -> Cell:
    """Returns the cell of a number."""
    return Cell(number(value), value, is_number=True)


def text(content: Content) -> Cell:
    """Returns the cell of a text, which is sorted by it."""
    return Cell(content, str(content or ""))


def table(
    head: Sequence[str], rows: Sequence[Sequence[Cell]], *, label: str, sortable: bool = True, css: str = ""
) -> Markup:
    """Returns a table that scrolls by itself.

    Args:
        head: names of the columns; "" for one that is not sorted.
        rows: cells, as many as names.
        label: what the table holds, for screen readers.
        sortable: whether a click on a column's name sorts the rows.
        css: class of the table.
    """
    are_numbers = [bool(rows) and row_of.is_number for row_of in rows[0]] if rows else [False] * len(head)
    names = [
        tag(
            "th", {"scope": "col", "class": "number" if is_number else None, "data-sort": sortable and bool(name)}, name
        )
        for name, is_number in zip(head, are_numbers)
    ]
    body = [tag("tr", {}, *(_cell(cell, k == 0) for k, cell in enumerate(row))) for row in rows]
    classes = " ".join(filter(None, ("sortable" if sortable else "", css)))
    top = tag("thead", {}, tag("tr", {}, *names)) if any(head) else EMPTY
    return scrolled(label, tag("table", {"class": classes or None}, top, tag("tbody", {}, *body)))


def _cell(cell: Cell, is_first: bool) -> Markup:
    css = "number" if cell.is_number else None
    if is_first and not cell.is_number:
        return tag("th", {"scope": "row", "data-v": cell.value}, cell.content)
    value = "" if cell.value is None else cell.value
    return tag("td", {"class": css, "data-v": value}, cell.content)


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Markup:
    """Returns a confusion matrix: the pairs that are confused most, and all of it as a heat map.

    Args:
        matrix: counts [K,K], rows truth, columns prediction.
        classes: K names.
    """
    totals = matrix.sum(1)
    shares = 100 * matrix / np.maximum(totals, 1)[:, None]
    css = "matrix upright" if len(classes) > MANY_CLASSES else "matrix"
    rows = tag("tbody", {}, *(_row(k, shares, totals, classes) for k in range(len(classes))))
    heat_map = scrolled("confusion matrix", tag("table", {"class": css}, _head(classes), rows))
    explanation = note(
        "A row is a true class, a column what was predicted for its pixels, in percent of the row; what is right lies "
        f"on the diagonal. Cells below {LEAST_SHARE} percent are empty, rows without a pixel are grey."
    )
    pairs = confused_pairs(matrix, classes)
    return join([pairs, explanation, heat_map])


def confused_pairs(matrix: np.ndarray, classes: Sequence[str]) -> Markup:
    """Returns the pairs of classes that share the most wrong pixels; EMPTY where no pixel is wrong."""
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    found = [(int(k) // len(matrix), int(k) % len(matrix)) for k in order.tolist() if wrong.flat[k] > 0]
    if not found:
        return EMPTY
    all_wrong, totals = wrong.sum(), matrix.sum(1)
    rows = [
        (
            text(classes[i]),
            text(classes[j]),
            figure(int(matrix[i, j])),
            figure(float(100 * matrix[i, j] / totals[i])),
            figure(float(100 * matrix[i, j] / all_wrong)),
        )
        for i, j in found
    ]
    head = ("truth", "predicted as", "pixels", "% of the true class", "% of all errors")
    return folded(
        f"The {len(rows)} most frequent confusions", table(head, rows, label="most confused classes"), is_open=True
    )


def _head(classes: Sequence[str]) -> Markup:
    corner = tag("td", {"class": "corner"}, "truth \\ predicted")
    names = [tag("th", {"scope": "col", "title": name}, tag("span", {}, name)) for name in classes]
    return tag("thead", {}, tag("tr", {}, corner, *names))


def _row(k: int, shares: np.ndarray, totals: np.ndarray, classes: Sequence[str]) -> Markup:
    """One row; end tags, which HTML lets out, would double the size of a matrix of many classes."""
    cells = []
    for j, share in enumerate(shares[k].tolist()):
        if share < LEAST_SHARE:
            cells.append("<td class=d>" if j == k else "<td>")
            continue
        shade = min(int(share / 10), 9)
        title = tag("i", {"title": f"{classes[k]} \N{RIGHTWARDS ARROW} {classes[j]}: {share:.1f} %"}, f"{share:.0f}")
        cells.append(f"<td class={'d' if j == k else 'e'}{shade}>{title}")
    css = None if totals[k] else "absent"
    name = tag("th", {"scope": "row", "title": f"{classes[k]}: {int(totals[k]):,} pixels"}, classes[k])
    return tag("tr", {"class": css}, name, Markup("".join(cells)))

"""HTML by small functions: whatever is not marked as HTML already is escaped."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from segkit.types import Color


class Markup(str):
    """Text that is HTML already; all other text is escaped where it enters a page."""


Content: TypeAlias = str | int | float | None
"""What stands inside a tag: Markup as it is, other text escaped, None as nothing."""

Attributes: TypeAlias = Mapping[str, str | int | float | bool | None]
"""Of a tag by name; None and False leave one out, True writes its name alone."""

EMPTY = Markup("")

_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_VOID = ("br", "col", "hr", "img", "input", "line", "meta", "path", "rect", "circle")


def escaped(content: Content) -> Markup:
    """Returns text as HTML; characters that no page may hold, such as halves of surrogate pairs, become U+FFFD."""
    if isinstance(content, Markup):
        return content
    return Markup(html.escape(_UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", "" if content is None else str(content))))


def tag(name: str, attributes: Attributes, *content: Content) -> Markup:
    """Returns an element.

    Args:
        name: of the element.
        attributes: see Attributes.
        content: text and elements, in their order.
    """
    written = []
    for key, value in attributes.items():
        if value is True:
            written.append(f" {key}")
        elif value is not None and value is not False:
            written.append(f' {key}="{escaped(value)}"')
    start = f"<{name}{''.join(written)}>"
    if name in _VOID and not content:
        return Markup(start if name not in ("path", "rect", "circle", "line") else f"{start[:-1]}/>")
    return Markup(f"{start}{join(content)}</{name}>")


def join(content: Sequence[Content]) -> Markup:
    """Returns texts and elements one after the other."""
    return Markup("".join(map(escaped, content)))


def number(value: float | int | bool | None) -> str:
    """Returns a score as text: whole numbers with commas, others with two decimals, a dash where there is none."""
    if value is None or value != value:
        return "\N{EN DASH}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def swatch(color: Color) -> Markup:
    """Returns a small square of a color; a style attribute would be refused by the page's own policy."""
    red, green, blue = color
    shape: Attributes = {"width": 12, "height": 12, "rx": 2, "fill": f"#{int(red):02x}{int(green):02x}{int(blue):02x}"}
    return tag(
        "svg",
        {"class": "swatch", "width": 12, "height": 12, "viewBox": "0 0 12 12", "aria-hidden": "true"},
        tag("rect", shape),
    )


def section(title: str, *content: Content, level: int = 2, at: str | None = None) -> Markup:
    """Returns a section under a heading; at: its name in links of the page."""
    return tag("section", {"id": at}, tag(f"h{level}", {}, title), *content)


def note(text: str) -> Markup:
    """Returns a paragraph that explains what stands below it."""
    return tag("p", {"class": "note"}, text)


def folded(title: str, *content: Content, is_open: bool = False) -> Markup:
    """Returns content that a click on its title shows."""
    return tag("details", {"open": is_open}, tag("summary", {}, title), *content)


def scrolled(label: str, *content: Content) -> Markup:
    """Returns content that scrolls by itself where it is wider or higher than its place, by keys too."""
    return tag("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}, *content)

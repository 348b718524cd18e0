"""A picture of a page of the reference."""

from typing import NamedTuple


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        path: under the source folder of the site.
        text: what it shows, Markdown.
    """

    path: str
    text: str

"""Checks the finished site by itself: every link, picture and anchor of every page leads somewhere within it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The addresses that a page asks for, and the anchors that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {name for name in (values.get("id"), values.get("name") if tag == "a" else None) if name}
        for key in ("href", "src"):
            if values.get(key) and not (tag == "link" and values.get("rel") == "canonical"):
                self.addresses.append(str(values[key]))


def broken_links(folder: Path) -> list[str]:
    """Returns a problem for each address within the site that leads nowhere.

    Args:
        folder: the finished site.
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    problems = []
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses begin at the root of the server
            continue
        for address in sorted(set(page.addresses)):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                problems.append(f"{path.relative_to(folder)}: the link to {address} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                problems.append(f"{path.relative_to(folder)}: {address}: the page has no such anchor")
    return problems

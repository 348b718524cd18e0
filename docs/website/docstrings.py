"""Docstrings in their parts, and as Markdown."""

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields", "Example")
HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):$")
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): ?(.*)$", re.DOTALL)
ADDRESS = re.compile(r"(?<![(<])https?://[^\s)>]+[^\s)>.,;:]")
ARXIV = re.compile(r"\barXiv[: ](\d{4}\.\d{4,5})")
SPECIAL = re.compile(r"([*_\[\]#])")


class Doc(NamedTuple):
    """A docstring.

    Attributes:
        summary: the first paragraph, on one line.
        body: further paragraphs and blocks of code, as they stand.
        arguments: name of each argument -> what it means, on one line; attributes too.
        sections: "Returns", "Raises", "Yields" -> text on one line for each entry.
    """

    summary: str
    body: tuple[str, ...]
    arguments: dict[str, str]
    sections: dict[str, tuple[str, ...]]


def parse(text: str | None) -> Doc:
    """Takes a docstring to its parts."""
    blocks = inspect.cleandoc(text or "").split("\n\n")
    body: list[str] = []
    arguments: dict[str, str] = {}
    sections: dict[str, tuple[str, ...]] = {}
    name = ""
    for block in blocks:
        head, _, rest = block.partition("\n")
        found = HEADING.match(head)
        name = found[1] if found else name if name and block.startswith(" ") else ""
        if not name:
            body.append(block)
            continue
        entries = _entries(rest if found else block)
        if name in ("Args", "Attributes"):
            arguments |= _arguments(entries)
        else:
            sections[name] = sections.get(name, ()) + tuple(entries)
    summary = " ".join(body.pop(0).split()) if body else ""
    return Doc(summary, tuple(body), arguments, sections)


def _entries(text: str) -> list[str]:
    plain = inspect.cleandoc("\n" + text)
    return [" ".join(entry.split()) for entry in re.split(r"\n(?=\S)", plain) if entry.strip()]


def _arguments(entries: list[str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        match = ENTRY.match(entry)
        for name in match[1].split(", ") if match else ():
            found[name.lstrip("*")] = match[2]
    return found


def arguments_of(cls: type) -> dict[str, str]:
    """Returns what each argument of a class's constructor means; a class that inherits one inherits its text."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = base.__dict__
        for text in (own.get("__doc__"), getattr(own.get("__init__"), "__doc__", None)):
            found |= parse(text).arguments if base is not object else {}
    return found


def markdown(text: str, link: Callable[[str], str] = lambda name: "") -> str:
    """Turns a sentence of a docstring into Markdown: addresses become links, signs stay signs.

    Args:
        text: the sentence.
        link: gives the address of the page on a name that stands between backticks, "" where there is none.
    """
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(_code(piece, link) if piece.startswith("`") else _plain(piece) for piece in pieces)


def _code(piece: str, link: Callable[[str], str]) -> str:
    address = link(piece.strip("`"))
    return f"[{piece}]({address})" if address else piece


def _plain(piece: str) -> str:
    links: list[str] = []

    def keep(text: str) -> str:
        links.append(text)
        return f"\x00{len(links) - 1}\x00"

    piece = ADDRESS.sub(lambda found: keep(f"<{found[0]}>"), piece)
    piece = ARXIV.sub(lambda found: keep(f"[arXiv {found[1]}](https://arxiv.org/abs/{found[1]})"), piece)
    piece = SPECIAL.sub(r"\\\1", piece).replace("<", "&lt;").replace("|", "&#124;")
    return re.sub(r"\x00(\d+)\x00", lambda found: links[int(found[1])], piece)


def paragraph(block: str, link: Callable[[str], str] = lambda name: "") -> str:
    """Turns a paragraph, a list or an indented block of code of a docstring into Markdown."""
    lines = block.splitlines()
    if all(line.startswith("    ") or not line for line in lines):
        return f"```python\n{inspect.cleandoc(block)}\n```"
    if "::" in lines[0] and len(lines) > 1 and lines[1].startswith("    "):
        return f"{markdown(lines[0].replace('::', ':'), link)}\n\n{paragraph(chr(10).join(lines[1:]), link)}"
    if lines[0].startswith(("- ", "* ")):
        entries = [" ".join(entry.split())[2:] for entry in re.split(r"\n(?=[-*] )", block)]
        return "\n".join(f"- {markdown(entry, link)}" for entry in entries)
    return markdown(" ".join(block.split()), link)


def cell(text: str) -> str:
    """Makes a text fit for the cell of a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text).replace("\n", " ") or " "

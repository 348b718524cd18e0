"""The written pages on their way into the site: links out of docs/ lead to copies, names of classes become links."""

import functools
import re
from collections.abc import Callable
from os.path import relpath
from pathlib import Path, PurePosixPath

from website.since import note

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/results.md": "benchmarks.md",
    "notebooks/README.md": "notebooks/index.md",
    "SECURITY.md": "security_policy.md",
}
"""Pages outside docs/ and their names in the site."""

LANGUAGES = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".sh": "sh"}
GUIDE, CLASS, HISTORY = 3, 0.5, 0.2
"""Weights in the search: pages that explain go before those of single classes, and these before the changelog."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
CODE = re.compile(r"(?<![`\[])`([A-Z]\w+)`(?![`\]])")
FENCE = re.compile(r"^(```.*?^```[ ]*$)", re.MULTILINE | re.DOTALL)
LIST_ITEM = re.compile(r"^(?:[-*]|\d+\.) ")
FIRST_ITEM = re.compile(r"^(?:[-*]|1\.) ")


class Site:
    """The source folder of the site: which files it holds, and which copies of other files its pages need.

    Args:
        folder: where it is written.
        class_pages: registered name -> its page, such as {"Dice": "reference/losses/Dice.md"}.
    """

    def __init__(self, folder: Path, class_pages: dict[str, str]):
        self.folder = folder
        self.class_pages = class_pages
        self.pages: list[str] = []
        self.problems: list[str] = []
        self._sources: list[str] = []

    def write(self, page: str, text: str) -> None:
        """Writes a page; a name is written once."""
        if page in self.pages:
            self.problems.append(f"{page}: two pages have this name")
        path = self.folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.pages.append(page)

    def add(self, file: str, page: str, change: Callable[[str], str] = str, *, weight: float = GUIDE) -> None:
        """Adds a page that is written by hand.

        Args:
            file: its path from the root of the repository.
            page: its name in the site.
            change: changes its text first.
            weight: in the search.
        """
        text = change((ROOT / file).read_text(encoding="utf-8"))
        if file.startswith(("docs/", "notebooks/")):
            text = with_note(text, note("pages", file.removeprefix("docs/"), relative(file, "CHANGELOG.md")))
        body = "".join(self._prose(piece, file, page) for piece in FENCE.split(text))
        front, body = front_matter(body)
        self.write(page, f"---\n{front}search:\n  boost: {weight}\n---\n\n{body}")

    def _prose(self, piece: str, file: str, page: str) -> str:
        if piece.startswith("```"):
            return piece
        piece = with_blank_lines(piece)
        piece = LINK.sub(lambda found: self._linked(found, file, page), piece)
        return "\n".join(self._with_classes(line, page) for line in piece.split("\n"))

    def _with_classes(self, line: str, page: str) -> str:
        """Names of registered classes between backticks become links, in sentences and cells but not in headings."""
        if line.startswith("#"):
            return line
        kept: list[str] = []

        def keep(found: re.Match) -> str:
            kept.append(found[0])
            return f"\x00{len(kept) - 1}\x00"

        def linked(found: re.Match) -> str:
            target = self.class_pages.get(found[1])
            return f"[{found[0]}]({relative(page, target)})" if target else found[0]

        line = CODE.sub(linked, LINK.sub(keep, line))
        return re.sub(r"\x00(\d+)\x00", lambda found: kept[int(found[1])], line)

    def _linked(self, found: re.Match, file: str, page: str) -> str:
        mark, label, address = found.groups()
        if "![" in label:  # a picture that is a link
            label = LINK.sub(lambda inner: self._linked(inner, file, page), label)
        if file == "docs/losses.md" and address.startswith("#"):
            address = f"losses.md{address}"
        if re.match(r"[a-z]+:|#", address):
            return f"{mark}[{label}]({address})"
        target, _, anchor = address.partition("#")
        place = self.place_of((PurePosixPath(file).parent / target).as_posix(), anchor, file)
        label = title_of(place) or label if re.fullmatch(r"[\w/.]+\.md", label) else label
        return f"{mark}[{label}]({relative(page, place)})" if place else label

    def place_of(self, path: str, anchor: str, asker: str) -> str:
        """Returns where the site has a file of the repository, with its anchor; "" where it has none."""
        path = Path(relpath(ROOT / path, ROOT)).as_posix()
        suffix = f"#{anchor}" if anchor else ""
        if path == "docs/losses.md" and anchor:
            names = {name.lower(): page for name, page in self.class_pages.items() if page.startswith("reference/loss")}
            return names.get(anchor, f"losses.md{suffix}")
        if path.startswith("reference/"):
            return path + suffix
        if path in OUTSIDE:
            return OUTSIDE[path] + suffix
        if path.startswith("docs/") and Path(path).suffix in (".md", ".png", ".jpg", ".webp", ".svg", ".gif"):
            return path.removeprefix("docs/") + suffix
        if path.startswith("notebooks/") and path.endswith(".ipynb") and (ROOT / path).is_file():
            return f"{path.removesuffix('.ipynb')}.md{suffix}"
        if (ROOT / path).is_dir():
            return ""
        if not (ROOT / path).is_file():
            self.problems.append(f"{asker}: the link to {path} leads nowhere")
            return ""
        self._sources += [path] if path not in self._sources else []
        return f"files/{path}.md"

    def write_sources(self) -> None:
        """Writes a page for each file of the repository that a page links to, and for the configs it builds on."""
        for path in self._sources:  # grows while it is read
            text = (ROOT / path).read_text(encoding="utf-8")
            bases = self._bases(path, text) if path.startswith("configs/") else []
            built_on = ", ".join(f"[{base}]({relative(f'files/{path}.md', f'files/{base}.md')})" for base in bases)
            command = f"`segkit:{path.removeprefix('configs/')}`" if path.startswith("configs/") else f"`{path}`"
            note = f"\n\nBuilds on {built_on}." if built_on else ""
            head = f"---\nsearch:\n  exclude: true\n---\n\n# {PurePosixPath(path).name}\n\n{command}{note}\n"
            language = LANGUAGES.get(PurePosixPath(path).suffix, "text")
            self.write(f"files/{path}.md", f"{head}\n~~~~{language}\n{text.rstrip()}\n~~~~\n")

    def _bases(self, path: str, text: str) -> list[str]:
        found = re.search(r"^_base_ = (\[.*?\]|\".*?\")", text, re.MULTILINE | re.DOTALL)
        bases = []
        for name in re.findall(r"\"([^\"]+)\"", found[1]) if found else ():
            inner = (ROOT / "configs" / name[7:]) if name.startswith("segkit:") else (ROOT / path).parent / name
            base = Path(relpath(inner, ROOT)).as_posix()
            bases.append(base)
            self._sources += [base] if base not in self._sources else []
        return bases


@functools.cache
def title_of(place: str) -> str:
    """Returns the title of a page that is written by hand, by its name in the site; "" for another one."""
    page = place.partition("#")[0]
    outside = {name: file for file, name in OUTSIDE.items()}
    path = ROOT / outside.get(page, f"docs/{page}")
    found = re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.is_file() else None
    return found[1] if found else ""


def relative(page: str, target: str) -> str:
    """Returns the address of one page of the site as another one writes it."""
    path, hash_sign, anchor = target.partition("#")
    return Path(relpath(path, Path(page).parent)).as_posix() + hash_sign + anchor


def front_matter(text: str) -> tuple[str, str]:
    """Takes a page apart: the settings between dashes at its top, "" where there are none, and the rest."""
    found = re.match(r"---\n(.*?)---\n\s*", text, re.DOTALL)
    return (found[1], text[found.end() :]) if found else ("", text)


def with_note(text: str, line: str) -> str:
    """Puts a small line under the title of a page."""
    return re.sub(r"^# .*$", lambda title: f"{title[0]}\n\n<small>{line}</small>", text, count=1, flags=re.MULTILINE)


def with_blank_lines(text: str) -> str:
    """Puts a blank line before lists and tables that follow a sentence, as Python's Markdown needs and GitHub does not.

    Within tables, `\\|` between backticks becomes `|`, which Python's Markdown understands there.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        is_text = bool(before.strip()) and not before.startswith(("#", "|", " ")) and not LIST_ITEM.match(before)
        if is_text and ((FIRST_ITEM.match(line) and not _goes_on(lines)) or line.startswith("| ")):
            lines.append("")
        if line.startswith("|"):
            line = re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line)
        lines.append(line)
    return "\n".join(lines)


def _goes_on(lines: list[str]) -> bool:
    """Whether the last lines are a list whose entries are not indented."""
    for line in reversed(lines):
        if not line.strip():
            return False
        if LIST_ITEM.match(line):
            return True
    return False

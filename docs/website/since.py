"""Since which version there is a page, a registered class or a command: docs/website/since.json.

python docs/website/since.py VERSION

writes down, at a release, what no earlier version had. What stands in no list came with the newest of CHANGELOG.md.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILE = HERE / "since.json"
CHANGES = HERE.parents[1] / "CHANGELOG.md"


@cache
def _versions() -> dict[str, dict[str, list[str]]]:
    return json.loads(FILE.read_text(encoding="utf-8"))


@cache
def _headings() -> dict[str, str]:
    """Version -> its heading in CHANGELOG.md, the newest first."""
    found = re.findall(r"^## ((\d+\.\d+\.\d+).*)$", CHANGES.read_text(encoding="utf-8"), re.MULTILINE)
    return {version: heading for heading, version in found}


def since(kind: str, name: str) -> str:
    """Returns the version that had it first.

    Args:
        kind: "pages", "classes" or "commands".
        name: such as "data.md", "notebooks/clicks.ipynb", "Dice" or "train".
    """
    return next((version for version, lists in _versions().items() if name in lists[kind]), next(iter(_headings())))


def note(kind: str, name: str, changelog: str) -> str:
    """Returns the line under a title, with a link to what that version brought.

    Args:
        kind: as in `since`.
        name: as in `since`.
        changelog: address of the page on changes as the page at hand writes it.
    """
    version = since(kind, name)
    anchor = re.sub(r"[^\w\- ]", "", _headings()[version].lower()).replace(" ", "-")
    return f"Since [{version}]({changelog}#{anchor})"


def pages_of(root: Path) -> list[str]:
    """The pages with such a line: those of docs/ as "data.md", and "notebooks/NAME"; root: of the repository."""
    docs, notebooks = root / "docs", root / "notebooks"
    return [
        *(path.relative_to(docs).as_posix() for path in docs.rglob("*.md")),
        *(path.relative_to(root).as_posix() for path in (*notebooks.glob("*.md"), *notebooks.glob("*.ipynb"))),
    ]


def main() -> None:
    sys.path.insert(0, str(HERE.parents[1]))
    from segkit.cli.config import LISTS
    from segkit.cli.main import COMMANDS

    (version,) = sys.argv[1:]
    now = dict(
        pages=pages_of(HERE.parents[1]),
        classes=[name for registry in LISTS.values() for name in registry.names()],
        commands=list(COMMANDS),
    )
    versions = {key: lists for key, lists in _versions().items() if key != version}
    versions[version] = {
        kind: sorted(set(names) - {name for lists in versions.values() for name in lists[kind]})
        for kind, names in now.items()
    }
    FILE.write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

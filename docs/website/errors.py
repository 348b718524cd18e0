"""The list of all errors, read from the sources while the site is built, so that it never falls behind them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from website.docstrings import cell, markdown
from website.pages import ROOT

KINDS = ("ConfigError", "DataError", "CheckpointError", "NonFiniteLoss", "ValueError")
"""Errors that a user can cause, and whose sentences commands print."""

TOPICS = {
    "api": "From Python",
    "annotate": "Annotating",
    "archs": "Networks",
    "backbones": "Networks",
    "models": "Networks",
    "cli": "Commands",
    "config": "Config files",
    "constraints": "Config files",
    "convert": "Files of other projects",
    "criterion": "Losses",
    "data": "Data",
    "engine": "Training",
    "export": "Exports",
    "files": "Files",
    "hub": "Files of other projects",
    "inference": "Prediction",
    "losses": "Losses",
    "metrics": "Metrics",
    "migrate": "Configs of mmsegmentation",
    "ops": "Computing",
    "readers": "Files",
    "refiners": "Refiners",
    "registry": "Config files",
    "runners": "Runners",
    "runtime": "Exports",
    "schema": "Config files",
    "serve": "Serving",
    "settings": "Config files",
    "viz": "Pictures",
}
"""What the packages of segkit are about; another one stands under its own name."""

GAP = "..."
"""Stands for what differs: a path, a value, a list of names."""

LEAST_WORDS = 3
"""Sentences with fewer fixed words, as where another error is handed on, say nothing by themselves."""


class Raised(NamedTuple):
    """A place that raises an error.

    Attributes:
        kind: such as "ConfigError".
        sentence: its fixed words, with GAP for what differs.
        module: such as "segkit.config".
    """

    kind: str
    sentence: str
    module: str


def errors_page(text: str) -> str:
    """Adds to docs/errors.md the list of all sentences."""
    found = sorted(raised(ROOT / "segkit"), key=lambda one: (topic_of(one.module), one.sentence.lower()))
    rows = ["| message | error | about | raised in |", "|---|---|---|---|"]
    for one in found:
        cells = (markdown(one.sentence), one.kind, topic_of(one.module), f"`{one.module.removeprefix('segkit.')}`")
        rows.append(f"| {' | '.join(cell(text) for text in cells)} |")
    introduction = (
        f"## All {len(found):,} messages\n\nType a few of the fixed words of the message that you got; `{GAP}` "
        "stands for what differs each time. The list is read from the sources; messages that are put together from "
        "parts are not in it."
    )
    filters = '<div class="table-tools" data-filters="error,about" markdown>'
    return "\n\n".join([text.rstrip(), introduction, filters, "\n".join(rows), "</div>"]) + "\n"


def raised(folder: Path) -> list[Raised]:
    """Finds the sentences of errors in the sources below a folder, each once per module."""
    found: dict[Raised, None] = {}
    for path in sorted(folder.rglob("*.py")):
        module = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        for kind, sentence in sentences(ast.parse(path.read_text(encoding="utf-8"))):
            if len(sentence.replace(GAP, " ").split()) >= LEAST_WORDS:
                found[Raised(kind, sentence, module)] = None
    return list(found)


def sentences(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields kind and fixed words of each error that is made of a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
            text = fixed_words(node.args[0])
            if text:
                yield node.func.id, text


def fixed_words(node: ast.expr) -> str:
    """The text of an expression with GAP for its values; "" where it is no text."""
    if isinstance(node, ast.Constant):
        return " ".join(node.value.split()) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
        text = " ".join("".join(str(part) for part in parts).split())
        while GAP * 2 in text:
            text = text.replace(GAP * 2, GAP)
        return text
    return ""


def topic_of(module: str) -> str:
    package = module.split(".")[1] if "." in module else module
    return TOPICS.get(package, package.capitalize())

"""The model zoo of the site: the rows of docs/model_zoo.md as a table that is sorted and filtered."""

import re

from model_zoo_rows import TASKS

from website.docstrings import cell
from website.start import without_origin

COLUMNS = ("system", "task", "year", "parameters", "GMAC", "published score", "checkpoint", "parity", "paper")
FILTERS = ("task", "year", "checkpoint", "parity")
WIDE = "---\nhide:\n  - navigation\n  - toc\n---\n\n"
INTRODUCTION = (
    "Each system with its paper, its config and the published files that it loads; a click on a heading sorts. Scores "
    "are quoted from where they were published; what was trained here is in [recorded runs](results.md)."
)
AUTHORS = re.compile(r"[A-Z][\w-]+(?: et al\.| and [A-Z][\w-]+|, [A-Z][\w-]+ and [A-Z][\w-]+),.*$")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def zoo_page(text: str) -> str:
    """Replaces the table of systems by one with a column for each question that readers ask.

    Args:
        text: docs/model_zoo.md.
    """
    lines = without_origin(text).split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("| system |"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    rows = [row_of(line) for line in lines[start + 2 : end]]
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]
    opening = f'<div class="table-tools" data-filters="{",".join(FILTERS)}" markdown>'
    head, *legend = lines[:start]
    parts = [head, "", INTRODUCTION, "", opening, "", *table, "", "</div>", "", "## What the columns say", *legend]
    return WIDE + "\n".join([*parts, *lines[end:]])


def row_of(line: str) -> str:
    """One row of docs/model_zoo.md -> one of the site's table."""
    parts = [part.strip() for part in line.split("|")[1:-1]]
    system, paper, config, parameters, gmac, score, checkpoint, parity = parts
    years = YEAR.findall(re.sub(r"\(http[^)]*\)", "", paper))
    count = int(re.match(r"[\d,]+", parameters)[0].replace(",", "")) / 1e6  # type: ignore[index]
    classes = re.search(r"\((\d+)\)", parameters)[1]  # type: ignore[index]
    name, address = re.match(r"\[([^\]]*)\]\(([^)]*)\)", config).groups()  # type: ignore[union-attr]
    cells = (
        f"[{system}]({address})",
        task_of(name),
        max(years, default="-"),
        f"{count:.2f} M ({classes} {'class' if classes == '1' else 'classes'})",
        gmac,
    )
    kind = re.sub(r"^(?:no parity|(\w+),)", lambda found: f"{found[1]}:" if found[1] else "no", parity)
    return f"| {' | '.join(cell(one) for one in (*cells, score, checkpoint, kind, shortened(paper)))} |"


def shortened(paper: str) -> str:
    """A citation as a link -> the same link with authors, venue and year alone, where it names authors."""
    label, bracket, address = paper.partition("](")
    authors = AUTHORS.search(label)
    return f"[{authors[0]}{bracket}{address}" if authors else paper


def task_of(name: str) -> str:
    """What a system is for, by the name of its config."""
    return next((task for start, task in TASKS.items() if name.startswith(start)), "semantic")

"""Scores as text."""

from typing import Any

COLUMNS = ("IoU", "Dice", "Acc", "PQ", "SQ", "RQ")
"""Scores of single classes that get a column."""


def score_table(scores: dict[str, Any], sections: str = "") -> str:
    """Formats scores as text.

    Args:
        scores: of an evaluation; "per_class" holds a dict for each class.
        sections: text that stands between the classes and the means.

    Returns:
        A row for each class where there are classes, the sections, and one line with the means.
    """
    lines: list[str] = []
    if "per_class" in scores:
        rows = scores["per_class"]
        columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
        width = max([len(name) for name in rows] + [5])
        lines.append(f"{'class':{width}}" + "".join(f"{name:>9}" for name in columns))
        for name, row in rows.items():
            cells = "".join(f"{'-' if row.get(c) is None else format(row[c], '.2f'):>9}" for c in columns)
            lines.append(f"{name:{width}}{cells}")
        lines.append("")
    if sections:
        lines.append(sections)
    numbers = {k: v for k, v in scores.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    texts = [
        f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in numbers.items()
    ]
    return "\n".join([*lines, "  ".join(texts)])

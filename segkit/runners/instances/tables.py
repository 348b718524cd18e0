"""Scores of instances as text: one table for each kind of average precision."""

from typing import Any

HEADINGS = {
    "segm": "masks",
    "bbox": "boxes",
    "VOC": "masks, one IoU each",
    "filled": "filled predicted boxes as masks",
    "matched": "masks of objects whose box is found",
}
"""Sections that metrics of instances have in the scores."""


def instance_tables(scores: dict[str, Any]) -> str:
    """Formats the sections of instance metrics: a row of names and a row of values each, and the AP of each class."""
    lines: list[str] = []
    for name, heading in HEADINGS.items():
        section = scores.get(name)
        if not isinstance(section, dict):
            continue
        lines += _class_rows(section.get("per_class") or {})
        values = {key: value for key, value in section.items() if not isinstance(value, dict)}
        widths = [max(len(key), 6) + 2 for key in values]
        lines.append(f"{name} ({heading})")
        lines.append("".join(f"{key:>{width}}" for key, width in zip(values, widths)))
        lines.append("".join(f"{_number(value):>{width}}" for value, width in zip(values.values(), widths)))
        lines.append("")
    return "\n".join(lines)


def _class_rows(rows: dict[str, dict]) -> list[str]:
    if len(rows) < 2:
        return []
    width = max(len(name) for name in rows)
    return [*(f"{name:{width}}{_number(row['AP']):>9}" for name, row in rows.items()), ""]


def _number(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"

"""Files that say which value or color of a mask means which class: class_dict.csv, labelmap.txt and their like."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.formats.common import names_of
from segkit.files import DataError, brief, parse_json, read_text
from segkit.types import Color

FILES = (
    *("labelmap.txt", "class_dict.csv", "class_dict_seg.csv", "label_colors.txt", "label_color.txt", "colormap.txt"),
    *(
        "_classes.csv",
        "classes.csv",
        "class_dict.txt",
        "label_map.json",
        "labels.json",
        "classes.json",
        "label_map.txt",
    ),
    *("classes.txt", "codes.txt", "labels.txt", "class_names.txt", "label_names.txt"),
)
"""Names of legends in lower case, those with colors first."""

VOID_NAMES = ("void", "unlabelled", "unlabeled", "unlabel", "ignore", "ignored")
"""Names of what is no class: pixels of it are ignored."""

HEADERS = ("name", "class", "label", "r", "g", "b", "red", "green", "blue", "pixel value", "color_rgb", "id", "index")


COMMENTS = ("#", "//")
"""What lines begin with that name no class."""

LITERAL = re.compile(r'"([^"]*)"|\'([^\']*)\'')
"""A line in quotes, which is a name, whatever stands in it."""


class Legend(NamedTuple):
    """The classes that masks hold.

    Args:
        path: the file.
        names: of the classes.
        colors: the color of each class; () where the masks hold numbers.
        values: the number of each class in the masks; () where they hold colors.
    """

    path: Path
    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()
    values: tuple[int, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names without those of pixels that are ignored."""
        return tuple(name for name in self.names if name.lower() not in VOID_NAMES)

    @property
    def label_map(self) -> dict[Color | int, str]:
        """The class, or "ignore", of each color or number."""
        names = (name if name.lower() not in VOID_NAMES else "ignore" for name in self.names)
        return dict(zip(self.colors or self.values, names))


def find_legend(root: Path) -> Legend | None:
    """Reads the legend of a folder: a file of a known name in it or one folder deep; None where there is none.

    Raises:
        DataError: the file is no legend.
    """
    if not root.is_dir():
        return None
    files = {path.name.lower(): path for pattern in ("*/*", "*") for path in sorted(root.glob(pattern), reverse=True)}
    found = next((files[name] for name in FILES if name in files and files[name].is_file()), None)
    return None if found is None else read_legend(found)


def read_legend(path: Path) -> Legend:
    """Reads a legend.

    A line has a name and a color (r, g, b), a name and a number, or a name alone, whose number is then that of its line
    from 0; with commas, colons or blanks between them, in either order. Numbers beside blanks alone belong to the names
    where some lines have none, names would be equal without them ("lane 1", "lane 2"), or a line is nothing else. A
    line that begins with # or // is a comment; one in quotes is a name, whatever it holds. JSON has {name: number or
    color}, {number: name}, or a list of names.

    Args:
        path: the file.

    Raises:
        DataError: a line is none of these, or a name, number or color stands twice.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        return _of_json(parse_json(text, path), path)
    return _of_text(text, path)


def legend_text(names: Sequence[str], path: Path) -> str:
    """Writes names of classes as the text of a legend, a line each, from which `read_legend` reads the same names.

    Names that it would take for something else stand in quotes: "#1" would be a comment.

    Args:
        names: of the classes, in the order of their numbers.
        path: of the file that takes the text, for the error.

    Raises:
        DataError: a name has several lines or is nothing but blanks, so that no line can hold it.
    """
    alone = [name if _reads_as(name, (name,), path) else _in_quotes(name) for name in names]
    quoted = [_in_quotes(name) for name in names]
    for name, line in zip(names, quoted):
        if not _reads_as(line, (name,), path):
            raise DataError(f"{path}: the class {brief(name)} cannot stand in a line; rename the class")
    texts = ["".join(f"{line}\n" for line in lines) for lines in (names, alone, quoted)]
    # names that stand twice are written as they are, and refused by who reads them
    return next((text for text in texts if _reads_as(text, names, path)), texts[1])


def line_of(name: str) -> str:
    """Returns a name as the first column of a line: in quotes where it would begin a comment or has quotes itself."""
    return _in_quotes(name) if name.startswith(COMMENTS) or _literal(name) else name


def _in_quotes(name: str) -> str:
    return f"'{name}'" if '"' in name else f'"{name}"'


def _reads_as(text: str, names: Sequence[str], path: Path) -> bool:
    try:
        legend = _of_text(text, path)
    except DataError:
        return False
    return legend.names == tuple(names) and legend.values == tuple(range(len(names)))


def _literal(line: str) -> str | None:
    """The name in quotes that a line is, None where it is none."""
    found = LITERAL.fullmatch(line)
    name = "" if found is None else found[1] or found[2] or ""
    return name if name.strip() else None


def _of_text(text: str, path: Path) -> Legend:
    """Reads a legend of lines."""
    rows = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    rows = [(number, line) for number, line in rows if line and not line.startswith(COMMENTS)]
    if rows and {word.strip().lower() for word in re.split(r"[,;:\t]", rows[0][1]) if word.strip()} <= {*HEADERS}:
        rows = rows[1:] if len(rows) > 1 and re.search(r"\d", rows[1][1]) else rows
    if not rows:
        raise DataError(f"{path}: it names no class; a line has a name and its color, its number, or nothing")
    literals = [_literal(line) for _, line in rows]
    lines = [literal or line for literal, (_, line) in zip(literals, rows)]
    others = [line for literal, (_, line) in zip(literals, rows) if literal is None]
    has_columns = any(re.search(r"[,;:\t]", line) for line in others)
    if not has_columns and any(line.isdecimal() for line in others):
        return _legend(path, lines, [()] * len(lines))
    entries = [
        _entry(line, f"{path}, line {number}") if literal is None else (literal, ())
        for literal, (number, line) in zip(literals, rows)
    ]
    names, numbers = [name for name, _ in entries], [values for _, values in entries]
    is_numbered = len(set(names)) == len(names) and len({len(values) for values in numbers}) == 1
    if not has_columns and not is_numbered and max(map(len, numbers)) < 2:
        names, numbers = lines, [()] * len(lines)
    return _legend(path, names, numbers)


CVAT_LINE = re.compile(r"(.+?):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?::[^:]*){0,2}")
"""NAME:r,g,b:parts:actions; the name may hold what else parts columns."""


def _entry(line: str, source: str) -> tuple[str, tuple[int, ...]]:
    """The name and the numbers of a line."""
    if found := CVAT_LINE.fullmatch(line):
        name = found[1].strip()
        return _literal(name) or name, (int(found[2]), int(found[3]), int(found[4]))
    words = [word for word in re.split(r"[,;:\t]+", line) if word.strip()]
    is_of_blanks = len(words) == 1
    if is_of_blanks:
        words = line.split()
    numbers, names = [], []
    for word in (word.strip().strip("\"'()[]") for word in words):
        inner = word.split()
        if inner and all(part.isdecimal() for part in inner):
            numbers += [int(part) for part in inner]
        elif re.fullmatch(r"#[0-9a-fA-F]{6}", word):
            numbers += [*bytes.fromhex(word[1:])]
        elif word:
            names.append(word)
    if not names and len(numbers) in (2, 4):
        names = [str(numbers.pop())]
    if not names or len(numbers) not in (0, 1, 3, 4):
        raise DataError(
            f"{source}: '{line[:100]}' has {len(numbers)} numbers; must be a name with r, g, b, or one number"
        )
    # after the color CVAT lists the parts of a class; without numbers the line is the name, whatever it holds
    name = " ".join(names) if is_of_blanks else names[0]
    if not numbers:
        whole = line.rstrip(",;: \t")
        is_quoted = len(whole) > 1 and whole[0] == whole[-1] and whole[0] in "\"'"
        name = (whole[1:-1] if is_quoted else whole).strip()
    # of four numbers the first counts the classes, as in tables with an id
    return name, tuple(numbers[-3:] if len(numbers) == 4 else numbers)


def _of_json(content: object, path: Path) -> Legend:
    if isinstance(content, list):
        return _legend(path, [*names_of(content, path)], [()] * len(content))
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: must be a list of names, or {{name: number}}, or {{number: name}}")
    if all(str(key).isdecimal() and isinstance(value, str) for key, value in content.items()):
        return _legend(path, [str(value) for value in content.values()], [(int(key),) for key in content])
    numbers: list[tuple[int, ...]] = []
    for name, value in content.items():
        parts = value if isinstance(value, list) else [value]
        if len(parts) not in (1, 3) or not all(isinstance(part, int) for part in parts):
            raise DataError(f"{path}: '{name}' has {str(value)[:100]}; must be a number, or a color [r, g, b]")
        numbers.append(tuple(parts))
    return _legend(path, [*content], numbers)


def _legend(path: Path, names: list[str], numbers: Sequence[tuple[int, ...]]) -> Legend:
    lengths = {len(row) for row in numbers}
    if len(lengths) > 1:
        raise DataError(f"{path}: some classes have a color, a number or none, unlike others; write all in one form")
    length = lengths.pop()
    rows = [(number,) for number in range(len(names))] if not length else list(numbers)
    for what, entries in (("class", names), ("color" if length == 3 else "number", rows)):
        twice = next((entry for entry in entries if list(entries).count(entry) > 1), None)
        if twice is not None:
            words = twice if isinstance(twice, str) else ", ".join(map(str, twice))
            raise DataError(f"{path}: the {what} {words} stands twice; each class needs its own")
    if max(max(row) for row in rows) > (255 if length == 3 else 65535):
        raise DataError(f"{path}: {max(max(row) for row in rows)} is no value of a mask; colors have 0..255")
    if length == 3:
        return Legend(path, tuple(names), colors=tuple((r, g, b) for r, g, b in rows))
    return Legend(path, tuple(names), values=tuple(value for (value,) in rows))

"""What belongs together in a split: images of a folder, of a scene, of a patient, of a day.

A rule is written as one text, which a config and the command line share:

    "folder", "folder:2"       the image's folder, or the second folder above it
    "table.csv:patient"        a column of a table, whose first column names the images
    "time", "time:60"          capture time (EXIF): images less than 60 s apart are of one scene
    "(\\d+)_"                    a regular expression on the id: what its groups match, else all that it matches
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.capture_time import capture_time
from segkit.data.files.listing import same_text
from segkit.data.files.name_list import Finder
from segkit.data.files.pairs import some
from segkit.files import DataError, read_text
from segkit.registry import did_you_mean

GAP = 60.0
"""Seconds between two scenes, where the rule does not say."""

TABLES = (".csv", ".tsv")


def group_names(dataset: Dataset, by: str | None, at: str = "by") -> list[str]:
    """Returns the name of each item's group; items of one image are always of one group.

    Args:
        dataset: any data set.
        by: the rule, None for groups of one image each.
        at: what the rule is called, for errors.

    Raises:
        DataError: the rule fits no image, or leaves one out; the message names it.
    """
    paths = [dataset.path(index) for index in range(len(dataset))]
    if by is None:
        return paths
    ids = [str(name) for name in dataset.ids]
    word, _, rest = by.partition(":")
    table, _, column = by.rpartition(":")
    if word == "folder":
        names = _folders(paths, rest, at)
    elif word == "time":
        names = _scenes(paths, rest, at)
    elif table.lower().endswith(TABLES) or by.lower().endswith(TABLES):
        names = _column(ids, paths, table, column, at)
    else:
        names = _matched(ids, by, at)
    # several items of one image, such as objects to click on, stay together
    first: dict[str, str] = {}
    return [first.setdefault(path, name) for path, name in zip(paths, names)]


def as_numbers(names: Sequence[str]) -> np.ndarray:
    """Numbers groups in the order of their names, int64 [n]."""
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].reshape(-1)


def _folders(paths: Sequence[str], level: str, at: str) -> list[str]:
    if level and not (level.isdigit() and int(level)):
        raise DataError(f"{at} = 'folder:{level}': the level is 1 for the image's own folder, 2 for the one above ...")
    count = int(level or 1)
    short = next((path for path in paths if len(PurePath(path).parents) < count + 1), None)
    if short is not None:
        raise DataError(f"{at} = 'folder:{level or 1}': {short} has no {count} folders above it")
    names = [str(PurePath(path).parents[count - 1]) for path in paths]
    if len(set(names)) == 1:
        raise DataError(
            f"{at} = 'folder:{count}': all {len(paths)} images lie in {names[0]}; take another level, a regular "
            "expression on the names, or no groups"
        )
    return names


def _scenes(paths: Sequence[str], gap: str, at: str) -> list[str]:
    """Groups by capture time: a scene ends where the next image was taken `gap` seconds later or more."""
    try:
        seconds = float(gap or GAP)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise DataError(f"{at} = 'time:{gap}': the gap between two scenes is a number of seconds above 0, 'time:60'")
    known = {path: capture_time(path) if Path(path).is_file() else None for path in dict.fromkeys(paths)}
    times = {path: time for path, time in known.items() if time is not None}
    without = [path for path in known if path not in times]
    if without:
        raise DataError(
            f"{at} = 'time': {len(without)} of {len(known)} images state no time of capture (EXIF): "
            f"{some(without, 3)}; group by folder, a table or a regular expression"
        )
    order = sorted(times, key=lambda path: (times[path], path))
    scenes, scene = {}, 0
    for before, path in zip([order[0], *order], order):
        scene += times[path] - times[before] >= seconds
        scenes[path] = f"scene {scene:06}"
    return [scenes[path] for path in paths]


def _column(ids: Sequence[str], paths: Sequence[str], table: str, column: str, at: str) -> list[str]:
    """Groups by a column of a table, whose first column names images by id, path or file."""
    path = Path(table).expanduser()
    if not table or not path.suffix:
        raise DataError(f"{at} = '{column or table}': name a column as well, 'table.csv:patient'")
    lines = read_text(path).splitlines()
    tabs = path.suffix.lower() == ".tsv" or (lines and "\t" in lines[0])
    mark = "\t" if tabs else ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=mark))
    except csv.Error as error:
        raise DataError(f"{path}: no table ({error}); write a line of titles and a line for each image") from error
    head = [title.strip() for title in rows[0]] if rows else []
    if column not in head[1:]:
        hint = did_you_mean(column, head[1:]) or f"; available: {', '.join(head[1:])}"
        raise DataError(f"{path}: has no column '{column}' after the first, which names the images{hint}")
    number, of_id, of_path = head.index(column), Finder(dict.fromkeys(ids)), Finder(dict.fromkeys(paths))
    found: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) > number and row[0].strip():
            name, value = same_text(row[0].strip()), row[number].strip()
            for key in of_id.matches(name) or of_path.matches(name):
                if found.setdefault(key, value) != value:
                    raise DataError(f"{path}: '{name}' is of '{found[key]}' and of '{value}'; correct the table")
    names = [found.get(name) or found.get(file) or "" for name, file in zip(ids, paths)]
    without = [name for name, group in zip(ids, names) if not group]
    if without:
        raise DataError(
            f"{path}: {len(without)} of {len(ids)} images have no '{column}': {some(without)}; add their lines"
        )
    return names


def _matched(ids: Sequence[str], pattern: str, at: str) -> list[str]:
    try:
        found = [re.search(pattern, name) for name in ids]
    except re.error as error:
        raise DataError(f"{at} = '{pattern}': no regular expression ({error})") from error
    without = [name for name, match in zip(ids, found) if match is None]
    if without:
        hint = did_you_mean(pattern, ("folder", "time"))
        count = "no id" if len(without) == len(ids) else f"{len(ids) - len(without)} of {len(ids)} ids, but not"
        raise DataError(
            f"{at} = '{pattern}': this regular expression matches {count} (ids are such as {some(without, 3)})"
            f"{hint or '; write one that every id matches'}"
        )
    return ["|".join(part or "" for part in match.groups() or (match[0],)) for match in found if match is not None]

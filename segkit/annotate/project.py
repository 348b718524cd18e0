"""What is annotated: the images of a folder, the classes, and the folder that takes the results."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.labels import MAX_CLASSES, as_color
from segkit.data.files.pairs import list_files
from segkit.data.formats.common import background_of
from segkit.files import DataError, brief, parse_json, read_text, write_whole
from segkit.registry import ConfigError
from segkit.types import Color, default_palette

Kind: TypeAlias = Literal["semantic", "instances", "clicks"]
"""What the masks are for: a class for each pixel, objects with classes, or objects to click on."""

KINDS: tuple[Kind, ...] = ("semantic", "instances", "clicks")

PROJECT = "project.json"
JOURNALS = "journal"
"""Folder of the journals, below that of the results."""

COLORS: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Colors that people with any kind of color vision tell apart: Okabe and Ito, https://jfly.uni-koeln.de/color."""

LONGEST_INITIAL = 40
"""Letters of who annotates."""

BACKGROUND = "background"

MOST_PLACES = 100
"""Of an image; the first ones are kept."""


class Place(NamedTuple):
    """A part of an image to look at.

    Attributes:
        box: (x0, y0, x1, y1) in pixels; None for the whole image.
        note: why it is shown.
    """

    box: tuple[float, float, float, float] | None
    note: str


@dataclass(frozen=True)
class Entry:
    """An image of the project.

    Attributes:
        id: in addresses.
        key: path below the folder without suffix: what its masks are named by.
        name: path below the folder.
        path: of the file.
        places: what to look at, first to last; the image is opened at the first one.
    """

    id: str
    key: str
    name: str
    path: str
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Project:
    """What is annotated, and where the results go.

    Attributes:
        folder: of the images.
        out: of the results.
        kind: see Kind.
        classes: K names.
        palette: their colors.
        initial: who annotates.
    """

    folder: Path
    out: Path
    kind: Kind
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    initial: str = ""

    @property
    def has_background(self) -> bool:
        """Whether the first class is the background, whose value in masks is 0."""
        return background_of(self.classes) == 0

    @property
    def values(self) -> tuple[int, ...]:
        """The value of each class in masks."""
        first = 0 if self.has_background else 1
        return tuple(range(first, first + len(self.classes)))

    @property
    def value_names(self) -> tuple[str, ...]:
        """What the values 0, 1, ... of masks mean."""
        return self.classes if self.has_background else (BACKGROUND, *self.classes)

    @property
    def value_colors(self) -> tuple[Color, ...]:
        """Colors of the values 0, 1, ... of masks."""
        return self.palette if self.has_background else ((0, 0, 0), *self.palette)

    def journal(self, entry: Entry) -> Path:
        """Returns the file of an image's journal."""
        return self.out / JOURNALS / f"{entry.id}.jsonl"

    def save(self) -> None:
        """Writes project.json.

        Raises:
            DataError: it cannot be written.
        """
        content = {
            "folder": str(self.folder),
            "kind": self.kind,
            "classes": list(self.classes),
            "palette": [list(color) for color in self.palette],
            "initial": self.initial,
        }
        write_whole(self.out / PROJECT, json.dumps(content, indent=1), "choose another --out")


def colors_of(num_classes: int) -> tuple[Color, ...]:
    """Returns colors of classes: COLORS, then those of the PASCAL VOC color map."""
    return (*COLORS, *default_palette(num_classes + 1)[1:])[:num_classes]


def open_project(
    folder: Path, out: Path, kind: Kind | None, classes: Sequence[str] | None, palette: Sequence[Color] | None
) -> Project:
    """Goes on with the project of a folder of results, or begins one.

    Args:
        folder: of the images.
        out: of the results.
        kind: None for that of the project; of a new one "semantic" where classes are given, else "clicks".
        classes: K names; None for those of the project, and of a new one "object" alone.
        palette: their colors, None for those of the project or the default ones.

    Raises:
        ConfigError: the project has another kind, or classes that are not the first of these.
        DataError: project.json cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds the images")
    if out.resolve() == folder.resolve():
        raise ConfigError(f"--out {out}: is the folder of the images; choose another, so that masks are no images")
    path = out / PROJECT
    if not path.exists():
        names = tuple(classes) if classes is not None else ("object",)
        made = kind or ("semantic" if classes is not None else "clicks")
        return Project(folder, out, made, names, _palette(names, palette))
    found = _read(path, folder, out)
    if kind is not None and kind != found.kind:
        raise ConfigError(f"--kind {kind}: {path} is a project of kind '{found.kind}'; choose another --out")
    if classes is None:
        return found
    names = tuple(classes)
    if names[: len(found.classes)] != found.classes:
        raise ConfigError(
            f"--classes {','.join(names)}: {path} has the classes {','.join(found.classes)}; new ones are added at the "
            "end, or choose another --out"
        )
    colors = tuple(palette) if palette is not None else (*found.palette, *colors_of(len(names))[len(found.palette) :])
    return replace(found, classes=names, palette=colors)


def _palette(names: Sequence[str], palette: Sequence[Color] | None) -> tuple[Color, ...]:
    if palette is not None and len(palette) >= len(names):
        return tuple(palette[: len(names)])
    return ((0, 0, 0), *colors_of(len(names) - 1)) if background_of(names) == 0 else colors_of(len(names))


def check_classes(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Checks the names of classes.

    Args:
        names: of the classes.
        source: where they stand, for the error.

    Raises:
        ConfigError: there is none, there are too many, or one is empty, stands twice or has more than one line.
    """
    found = tuple(name.strip() for name in names)
    if not 1 <= len(found) <= MAX_CLASSES:
        raise ConfigError(f"{source}: {len(found)} classes; masks of 8 bits have room for 1 to {MAX_CLASSES}")
    if not all(name and name.isprintable() for name in found) or len(set(found)) < len(found):
        raise ConfigError(f"{source}: must be names with commas between them, none of them twice: road,car")
    return found


def _read(path: Path, folder: Path, out: Path) -> Project:
    content = parse_json(read_text(path), path)
    way_out = "restore the file, or choose another --out"
    try:
        kind, names = content["kind"], content["classes"]
        colors = [as_color(color) for color in content["palette"]]
        if kind not in KINDS or not all(isinstance(name, str) for name in names) or len(names) != len(colors):
            raise ValueError("kind, classes and palette do not fit")
        palette = [color for color in colors if color is not None]
        classes = check_classes(names, str(path))
        initial = str(content.get("initial", ""))[:LONGEST_INITIAL]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: no project of segkit annotate ({error}); {way_out}") from error
    if len(palette) < len(classes):
        raise DataError(f"{path}: a color of its palette is none; {way_out}")
    return Project(folder, out, kind, classes, tuple(palette), initial)


def id_of(name: str) -> str:
    """Returns the id of an image, by its path below the folder."""
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=9).hexdigest()


def find_images(folder: Path, out: Path) -> list[Entry]:
    """Lists the images of a folder and all below it, sorted by name; nothing is decoded.

    Args:
        folder: where to search.
        out: folder of the results, which is passed over where it lies inside.

    Raises:
        DataError: there is no image, or two have one name with different suffixes.
    """
    layout = f"images end in {', '.join(IMAGE_SUFFIXES)}"
    base, inner = os.path.join(str(folder), ""), os.path.join(str(out.resolve()), "")
    root = os.path.join(str(folder.resolve()), "")
    entries = []
    for key, path in list_files(folder, IMAGE_SUFFIXES, layout).items():
        name = path.removeprefix(base).replace(os.sep, "/")
        if not (root + name).startswith(inner):
            entries.append(Entry(id_of(name), key, name, path))
    if not entries:
        raise DataError(f"{folder}: holds no image; {layout}; check the path")
    return entries


def findings_of(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Reads the findings of `segkit audit`: the images to look at, in that order, each with its places.

    Args:
        path: JSON with "findings", a list of {"image", "box", "kind", "score", "class", "predicted"}; "image" is a path
            below the folder of images, "box" [x0, y0, x1, y1] or null.
        entries: the images of the folder.

    Returns:
        One entry for each image that is there, at the place of its first finding.

    Raises:
        DataError: the file is none of these, or names no image of the folder.
    """
    content = parse_json(read_text(path, 1 << 28), path)
    findings = content.get("findings") if isinstance(content, dict) else None
    if not isinstance(findings, list):
        raise DataError(f"{path}: no list 'findings'; give the audit.json of segkit audit")
    by_name = {entry.name: entry for entry in entries}
    found: dict[str, Entry] = {}
    for number, finding in enumerate(findings, 1):
        source = f"{path}, finding {number}"
        if not isinstance(finding, dict) or not isinstance(finding.get("image"), str):
            raise DataError(f"{source}: names no image; give the audit.json of segkit audit")
        entry = by_name.get(finding["image"].replace("\\", "/"))
        if entry is None:
            continue
        known = found.get(entry.name, entry)
        if len(known.places) < MOST_PLACES:
            place = Place(_box(finding.get("box"), source), _note(finding))
            found[entry.name] = replace(known, places=(*known.places, place))
    if not found:
        raise DataError(f"{path}: none of its {len(findings)} findings is of an image in the folder; check the folder")
    return list(found.values())


def _note(finding: dict[str, Any]) -> str:
    """What is said of a finding: its kind, what is labelled and what is seen, and its score."""
    kind, label, seen = (str(finding.get(key) or "")[:100] for key in ("kind", "class", "predicted"))
    words = [word for word in (kind, label) if word]
    if "predicted" in finding and seen != label:
        words = [f"{kind}:", f"labelled {label or 'nothing'}, seen {seen or 'nothing'}"]
    score = finding.get("score")
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    return " ".join(words) + (f" ({score:.2f})" if is_number else "")


def _box(box: Any, source: str) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    try:
        x0, y0, x1, y1 = (float(side) for side in box)
        if not all(abs(side) < 1e9 for side in (x0, y0, x1, y1)):
            raise ValueError("its sides must be numbers of pixels")
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: box {brief(box)} is no [x0, y0, x1, y1] ({error})") from error
    return x0, y0, x1, y1

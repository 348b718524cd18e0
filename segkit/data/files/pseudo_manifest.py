"""pseudo.json beside pseudo labels: the checkpoints that made them, how, from which images, and what was kept."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segkit.files import DataError, inside, open_regular, parse_json, read_text, write_whole

MANIFEST = "pseudo.json"
LABELS = "labels"
"""Folder of the label maps, palette PNG of 8 bits: class indices, and 255 where the label is not sure."""
SCORES = "scores"
"""Folder of the confidences, grey PNG of 8 bits: floor(255 p) of the class in the label map, before thresholds."""
WAY_OUT = "make the pseudo labels anew with segkit pseudo --overwrite"
MOST_BYTES = 1 << 28
PIECE = 1 << 20


@dataclass
class Maker:
    """A checkpoint that made pseudo labels.

    Attributes:
        file: its path, relative to the folder of the labels.
        sha256: of its bytes.
        size, time_ns: of the file, in bytes, and when it was written.
        seen: keys (image_key) of the images that it was trained on, with those that the makers of its own pseudo labels
            were; None where they are not known.
    """

    file: str
    sha256: str
    size: int
    time_ns: int
    seen: list[str] | None = None


@dataclass
class Entry:
    """One image with pseudo labels.

    Attributes:
        image: path of the image, relative to the folder of the labels, or its name where it is no file.
        key: of the image, see image_key.
        makers: numbers of the checkpoints that labelled it.
        confidence: mean probability of the surest class.
        entropy: mean entropy of the pixels, divided by ln K.
        pixels, kept: of each class, before and after the thresholds.
    """

    image: str
    key: str
    makers: list[int]
    confidence: float
    entropy: float
    pixels: list[int]
    kept: list[int]


@dataclass
class Manifest:
    """What pseudo.json holds.

    Attributes:
        settings: how the labels were made.
        classes, palette: of the labels.
        reading: how image files are read: channels, exif, nodata, and, where they are set, scale and bands.
        checkpoints: that made them.
        images: by name; the label map is labels/NAME.png.
        summary: share kept in all and of each class, in percent, with the thresholds.
    """

    settings: dict[str, Any]
    classes: list[str]
    palette: list[list[int]]
    reading: dict[str, Any]
    checkpoints: list[Maker]
    images: dict[str, Entry]
    summary: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes pseudo.json into the folder of the labels."""
        write_whole(folder / MANIFEST, json.dumps(asdict(self), indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Reads pseudo.json of a folder of pseudo labels.

    Raises:
        DataError: there is none, because the labels are not finished or it is no such folder; or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        has_begun = (folder / PROGRESS).is_dir()
        reason = (
            "its pseudo labels are not finished; run segkit pseudo again as before"
            if has_begun
            else ("no such file; root must be the folder that segkit pseudo wrote (--out)")
        )
        raise DataError(f"{path}: {reason}")
    content = parse_json(read_text(path, MOST_BYTES), path)
    try:
        manifest = Manifest(**content)
        manifest.checkpoints = [Maker(**maker) for maker in content["checkpoints"]]
        manifest.images = {name: Entry(**entry) for name, entry in content["images"].items()}
        for name, entry in manifest.images.items():
            inside(folder, name, path)
            if not isinstance(entry.image, str) or not all(manifest.checkpoints[i] for i in entry.makers):
                raise TypeError(name)
        manifest.classes = [str(name) for name in manifest.classes]
    except (TypeError, KeyError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not as segkit pseudo writes it ({error}); {WAY_OUT}") from error
    return manifest


PROGRESS = ".progress"
"""Folder of what an unfinished command has done; it goes when the manifest is written."""


def image_key(path: str) -> str:
    """Returns what an image is recognized by in another place: its folder's name, its own and its bytes.

    Images that are no files are recognized by their names.
    """
    try:
        size = os.stat(path).st_size
    except OSError:
        return path
    return f"{Path(path).parent.name}/{Path(path).name}:{size}"


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def maker_of(path: Path, folder: Path, seen: Iterable[str] | None) -> Maker:
    """Describes a checkpoint.

    Args:
        path: the checkpoint.
        folder: of the labels.
        seen: keys of the images that it was trained on, None where they are not known.
    """
    digest, stat = sha256_of(path), path.stat()
    file = os.path.relpath(path, folder)
    return Maker(file, digest, stat.st_size, stat.st_mtime_ns, None if seen is None else sorted(seen))


def changed_makers(folder: Path, makers: Sequence[Maker]) -> tuple[list[Path], list[Path]]:
    """Compares checkpoints with what they were when they made the labels.

    A file that was only copied or touched, so that its bytes are the same, has not changed.

    Args:
        folder: of the labels.
        makers: of the manifest.

    Returns:
        The files with other bytes, and those that are not there.
    """
    changed, missing = [], []
    for maker in makers:
        path = Path(os.path.normpath(folder / maker.file))
        try:
            stat = path.stat()
        except OSError:
            missing.append(path)
            continue
        is_same = (stat.st_size, stat.st_mtime_ns) == (maker.size, maker.time_ns)
        if not is_same and (stat.st_size != maker.size or sha256_of(path) != maker.sha256):
            changed.append(path)
    return changed, missing

"""When a picture was taken, as its camera wrote it into the file (EXIF)."""

import struct
from collections.abc import Iterator
from datetime import datetime

from segkit.data.files.headers import TIFF_STARTS
from segkit.data.files.orientation import JPEG_HEAD, exif_block
from segkit.files import open_regular, read_open

EXIF_FOLDER, TAKEN, CHANGED = 0x8769, 0x9003, 0x0132
"""Tags: where the camera's own tags begin, the time of the exposure, the time of the last change."""

MOST_TAGS = 4096
"""Tags of a directory that are looked at."""


def capture_time(path: str) -> float | None:
    """Reads when a picture was taken.

    Args:
        path: a JPEG, PNG, WebP or TIFF file.

    Returns:
        Seconds since 1970 by the camera's own clock; None where the file does not say.

    Raises:
        DataError: the file cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(JPEG_HEAD) if path.lower().endswith((".jpg", ".jpeg")) else read_open(file, path)
    try:
        block = content if content.startswith(TIFF_STARTS) else exif_block(content)
        return _time(block)
    except (struct.error, IndexError, ValueError, OverflowError):
        return None


def _time(block: bytes) -> float | None:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or struct.unpack_from(f"{order}H", block, 2)[0] != 42:
        return None
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    texts: dict[int, str] = {}
    for tag, _, _, value in _tags(block, order, start):
        if tag == EXIF_FOLDER:
            texts |= _texts(block, order, value)
    texts = _texts(block, order, start) | texts
    text = texts.get(TAKEN) or texts.get(CHANGED)
    if not text:
        return None
    return (datetime.strptime(text, "%Y:%m:%d %H:%M:%S") - datetime(1970, 1, 1)).total_seconds()


def _tags(block: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for number in range(min(count, MOST_TAGS)):
        yield struct.unpack_from(f"{order}HHII", block, start + 2 + 12 * number)


def _texts(block: bytes, order: str, start: int) -> dict[int, str]:
    """The times of a directory, by tag; each is a text of 20 bytes that lies elsewhere."""
    return {
        tag: block[at : at + count].rstrip(b"\0 ").decode("ascii", "replace")
        for tag, kind, count, at in _tags(block, order, start)
        if tag in (TAKEN, CHANGED) and kind == 2 and 4 < count <= 64
    }

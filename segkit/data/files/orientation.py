"""The orientation that a camera states in a picture file (EXIF tag 274), and turning an image by it."""

import struct

import numpy as np

from segkit.data.files.headers import JPEG_START, PNG_START, TIFF_STARTS, tiff_start
from segkit.files import open_regular, read_open

ORIENTATION = 274
UPRIGHT = 1
JPEG_HEAD = 1 << 18
"""Bytes of a JPEG that hold its EXIF block, which is of 64 KB at most and stands before the pixels."""


def orientation(content: bytes) -> int:
    """Reads how a picture is meant to be shown.

    Args:
        content: a JPEG, PNG, WebP or TIFF file.

    Returns:
        1 to 8 as EXIF counts them; 1, which is as stored, where the file says nothing.
    """
    try:
        value = _value(content if content.startswith(TIFF_STARTS) else exif_block(content))
    except (struct.error, IndexError, ValueError, OverflowError):
        return UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def orientation_of_file(path: str, content: bytes | None = None) -> int:
    """Reads how a picture file is meant to be shown, see `orientation`; 1 for files of other formats.

    Args:
        path: the file.
        content: its bytes, where they are known already.

    Raises:
        DataError: the file cannot be read.
    """
    if content is not None:
        return orientation(content)
    with open_regular(path) as file:
        head = read_open(file, path) if not path.lower().endswith((".jpg", ".jpeg")) else file.read(JPEG_HEAD)
    return orientation(head)


def exif_block(content: bytes) -> bytes:
    """The block of EXIF in a picture, which is laid out as a TIFF; b"" where there is none."""
    if content.startswith(JPEG_START):
        at = 2
        while content[at] == 0xFF and content[at + 1] != 0xDA:
            (length,) = struct.unpack_from(">H", content, at + 2)
            if content[at + 1] == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0":
                return content[at + 10 : at + 2 + length]
            at += 2 + length
    elif content.startswith(PNG_START):
        at = 8
        while at + 8 <= len(content):
            length, kind = struct.unpack_from(">I4s", content, at)
            if kind == b"eXIf":
                return content[at + 8 : at + 8 + length]
            at += 12 + length
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        at = 12
        while at + 8 <= len(content):
            kind, length = struct.unpack_from("<4sI", content, at)
            if kind == b"EXIF":
                return content[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
            at += 8 + length + length % 2
    return b""


def _value(block: bytes) -> int:
    if not block.startswith(TIFF_STARTS):
        return UPRIGHT
    order, is_big, start = tiff_start(block)
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", block, start)
    first, length, value = (start + 8, 20, 12) if is_big else (start + 2, 12, 8)
    for entry in range(first, first + length * min(count, 4096), length):
        tag, kind = struct.unpack_from(f"{order}HH", block, entry)
        if tag == ORIENTATION and kind in (3, 4):
            return int(struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", block, entry + value)[0])
    return UPRIGHT


def turned(image: np.ndarray, value: int) -> np.ndarray:
    """Turns an image as it is meant to be shown.

    Args:
        image: [H,W,C] as stored.
        value: of `orientation`.

    Returns:
        [H,W,C], from 5 on [W,H,C]; a view.
    """
    if value >= 5:
        image = image.swapaxes(0, 1)
    if value in (3, 4, 7, 8):
        image = image[::-1]
    if value in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image

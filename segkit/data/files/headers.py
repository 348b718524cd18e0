"""Sizes of pictures from their headers, without decoding anything."""

import struct
from typing import Literal

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
"""Second bytes of JPEG markers that no length follows."""

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Second bytes of JPEG markers that state the size."""

WIDTH, HEIGHT = 256, 257
"""Tags of TIFF."""


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Reads the size of a picture of any format that segkit decodes.

    Args:
        content: the file's bytes; the first of several pictures in it counts.

    Returns:
        (H, W) in pixels, at least 1 each; None for another format or a damaged header.
    """
    try:
        height, width = _size(content) or (0, 0)
    except (struct.error, IndexError, ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _size(content: bytes) -> tuple[int, int] | None:
    if content.startswith(PNG_START):
        width, height = struct.unpack_from(">II", content, 16)
        return height, width
    if content.startswith(JPEG_START):
        return _jpeg(content)
    if content.startswith(TIFF_STARTS):
        return _tiff(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    if content[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", content, 6)
        return height, width
    if content[:2] == b"BM":
        width, height = struct.unpack_from("<HH" if content[14] == 12 else "<ii", content, 18)
        return abs(height), abs(width)
    if content[:1] == b"P" and content[1:2] in tuple(b"%c" % code for code in b"1234567Ff"):
        return _pnm(content)
    return _jpeg2000(content)


def _jpeg(content: bytes) -> tuple[int, int] | None:
    position = 2
    while True:
        while content[position] == 0xFF:
            position += 1
        marker = content[position]
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 4)
            return height, width
        position += 1
        if marker not in WITHOUT_LENGTH:
            position += max(2, struct.unpack_from(">H", content, position)[0])
        position = content.find(b"\xff", position)
        if position < 0:
            return None


def tiff_start(content: bytes) -> tuple[Literal["<", ">"], bool, int]:
    """Reads the first bytes of a TIFF.

    Args:
        content: the file's bytes.

    Returns:
        "<" or ">" for the order of bytes, whether it is a BigTIFF, and the position of its first directory.

    Raises:
        struct.error: the file breaks off.
    """
    order: Literal["<", ">"] = "<" if content[:2] == b"II" else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack_from(f"{order}Q", content, 8) if is_big else struct.unpack_from(f"{order}I", content, 4)
    return order, is_big, start


def _tiff(content: bytes) -> tuple[int, int] | None:
    """Size of the first directory, in the classic or the big format."""
    order, is_big, start = tiff_start(content)
    (count,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}H", content, start)
    first, length = (start + 8, 20) if is_big else (start + 2, 12)
    sizes = {}
    for entry in range(first, first + length * min(count, 4096), length):
        tag, kind = struct.unpack_from(f"{order}HH", content, entry)
        if tag in (WIDTH, HEIGHT):
            value = {3: "H", 4: "I", 16: "Q"}.get(kind)
            if value is None:
                return None
            (sizes[tag],) = struct.unpack_from(f"{order}{value}", content, entry + (12 if is_big else 8))
    return (sizes[HEIGHT], sizes[WIDTH]) if len(sizes) == 2 else None


def _webp(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[i : i + 3], "little") for i in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    return height, width


def _pnm(content: bytes) -> tuple[int, int] | None:
    """P1 to P6 and PF: numbers behind the first two letters; P7: lines of a name and a value. # begins a comment."""
    lines = [line.partition(b"#")[0] for line in content[2:4096].split(b"\n")]
    if content[:2] == b"P7":
        named = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
        return int(named.get(b"HEIGHT", b"0")), int(named.get(b"WIDTH", b"0"))
    numbers = []
    for word in b" ".join(lines).split()[:2]:
        numbers.append(int(word[:10]))
    return (numbers[1], numbers[0]) if len(numbers) == 2 else None


def _jpeg2000(content: bytes) -> tuple[int, int] | None:
    """A box 'ihdr' states the size, and so does the codestream, which counts; the larger of the two is taken."""
    if content[:4] != b"\xff\x4f\xff\x51" and content[4:8] != b"jP  ":
        return None
    stream = content.find(b"\xff\x4f\xff\x51")
    if stream < 0:
        return None
    right, low, left, top = struct.unpack_from(">IIII", content, stream + 8)
    return low - top, right - left

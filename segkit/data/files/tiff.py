"""TIFF files as the samples that are stored in them, in every common layout; nothing is turned, inverted or blended.

Specifications: TIFF 6.0 (Adobe, 1992), Supplement 2 (JPEG), BigTIFF. S samples (bands) of a pixel.
"""

import struct
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from segkit.data.files.headers import tiff_start
from segkit.data.files.tiff_chunks import DEFLATE, FAX, JPEG, RAW, WITH_PREDICTOR, Coding, decode_chunks
from segkit.files import MAX_PIXELS, DataError, limit

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, TRANSPARENCY, CMYK, YCBCR = range(7)
"""Values of PhotometricInterpretation."""

ALPHA = (1, 2)
"""Values of ExtraSamples that say alpha: associated and unassociated."""

UNSIGNED, SIGNED, FLOAT, UNTYPED = 1, 2, 3, 4
"""Values of SampleFormat."""

TYPES = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""Types of tags as numpy and struct name them; rationals are not needed."""

TAGS = {
    **{254: "subfile", 256: "width", 257: "height", 258: "bits", 259: "compression", 262: "photometric"},
    **{266: "fill_order", 273: "offsets", 274: "orientation", 277: "samples", 278: "rows", 279: "counts"},
    **{284: "planar", 292: "fax_options", 317: "predictor", 320: "colormap", 322: "tile_width", 323: "tile_height"},
    **{324: "offsets", 325: "counts", 332: "ink_set", 338: "extra", 339: "format", 347: "jpeg_tables"},
    **{32997: "depth", 33550: "pixel_scale", 33922: "tiepoints", 34264: "pixel_matrix", 34735: "geo_keys"},
    **{34736: "geo_doubles", 34737: "geo_text", 42113: "nodata"},
}
BYTES_PER_PIXEL = 16
"""An image takes no more memory than these bytes for each pixel that SEGKIT_MAX_PIXELS allows."""

MOST_PAGES = 1 << 16
MOST_SAMPLES = 1 << 16
MASK_OR_REDUCED = 1 | 4
"""Bits of NewSubfileType that say that a page is no image of its own: a smaller copy, or a mask of another page."""


class Page(NamedTuple):
    """What the tags of one page say.

    Attributes:
        height, width, samples: of the page; samples is S.
        bits: of each sample.
        format: UNSIGNED, SIGNED or FLOAT.
        photometric: what the samples mean, see above.
        extra: the meaning of the last samples; those of ALPHA are alpha.
        colormap: integer [3,2 ** bits] of 8 or 16 bits, None without a palette.
        is_lossy: whether it is compressed as JPEG, which alters values. JPEG's YCbCr comes out as RGB.
        orientation: 1 to 8, as in EXIF.
        tags: all values by name.
        order: "<" or ">".
    """

    height: int
    width: int
    samples: int
    bits: int
    format: int
    photometric: int
    extra: tuple[int, ...]
    colormap: np.ndarray | None
    is_lossy: bool
    orientation: int
    tags: dict[str, np.ndarray]
    order: Literal["<", ">"]

    @property
    def dtype(self) -> np.dtype:
        """The type of the decoded samples."""
        size = max(8, 1 << (self.bits - 1).bit_length())
        return np.dtype(f"{({SIGNED: 'i', FLOAT: 'f'}).get(self.format, 'u')}{size // 8}")

    @property
    def num_alpha(self) -> int:
        """How many samples at the end are alpha, by what the file says."""
        count = 0
        while count < len(self.extra) and self.extra[-1 - count] in ALPHA:
            count += 1
        return count


class Stored(NamedTuple):
    """The samples of a file [H,W,S], and what they are; the pages of a stack count as samples."""

    samples: np.ndarray
    page: Page


def read_tiff(content: bytes, path: str | Path) -> Stored:
    """Reads the samples of a TIFF.

    Of several pages those that are smaller copies, masks or of another size than the first are passed over; the others
    must have one sample each and form a stack.

    Args:
        content: the file's bytes.
        path: for the error.

    Returns:
        The samples: of 1 to 8 bits uint8, of 9 to 16 uint16, signed and floating-point ones of their own type.

    Raises:
        DataError: the file is damaged, or its layout is none that is read; the message says what to export instead.
    """
    pages = read_pages(content, path)
    first = pages[0]
    stack = stack_of(pages)
    samples = first.samples * len(stack)
    if first.height * first.width * samples * first.dtype.itemsize > BYTES_PER_PIXEL * limit(MAX_PIXELS):
        raise DataError(
            f"{path}: {first.height}x{first.width}x{samples} values of {first.dtype}; cut it into tiles, or set "
            f"{MAX_PIXELS[0]} to more"
        )
    if len(stack) > 1 and first.samples > 1:
        raise DataError(f"{path}: {len(stack)} pages of {first.samples} bands; save the page that is meant")
    images = [read_part(content, page, path) for page in stack]
    return Stored(images[0] if len(images) == 1 else np.concatenate(images, axis=2), first)


def stack_of(pages: list[Page]) -> list[Page]:
    """Returns the first page and those that form a stack with it: neither smaller copies nor masks, of its form."""
    return [page for page in pages if _is_alike(page, pages[0])]


def _is_alike(page: Page, first: Page) -> bool:
    if page is first:
        return True
    kind = int(page.tags["subfile"][0]) if "subfile" in page.tags else 0
    shape = (page.height, page.width, page.samples, page.bits, page.format, page.photometric)
    return not kind & MASK_OR_REDUCED and shape == (
        *(first.height, first.width, first.samples, first.bits, first.format, first.photometric),
    )


def read_pages(content: bytes, path: str | Path) -> list[Page]:
    """Reads the tags of all pages, without decoding anything.

    Args:
        content: the file's bytes.
        path: for the error.

    Raises:
        DataError: the tags are damaged, or name a layout that is not read.
    """
    start = tiff_start(content)
    pages: list[Page] = []
    seen: set[int] = set()
    try:
        order, is_big, offset = start
        while offset and offset not in seen and len(pages) < MOST_PAGES:
            seen.add(offset)
            tags, following = _tags(content, order, is_big, offset)
            pages.append(_page(tags, order, path))
            offset = following
    except (struct.error, KeyError, IndexError, ValueError, OverflowError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(path, f"the tags of page {len(pages) + 1} are incomplete") from error
    return pages


def _damaged(path: str | Path, reason: str) -> DataError:
    return DataError(f"{path}: cannot be decoded as TIFF: {reason}; copy the file again, or export it again")


def _tags(content: bytes, order: Literal["<", ">"], is_big: bool, offset: int) -> tuple[dict[str, np.ndarray], int]:
    """The values of the known tags of a directory, and where the next directory begins (0 after the last)."""
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", content, offset)
    first, length, inside = (offset + 8, 20, 8) if is_big else (offset + 2, 12, 4)
    tags: dict[str, np.ndarray] = {}
    for entry in range(first, first + length * min(count, 4096), length):
        tag, kind = struct.unpack_from(f"{order}HH", content, entry)
        if tag not in TAGS or kind not in TYPES:
            continue
        (number,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", content, entry + 4)
        dtype = np.dtype(order + TYPES[kind])
        at = entry + (12 if is_big else 8)
        if number * dtype.itemsize > inside:
            (at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", content, at)
        tags[TAGS[tag]] = np.frombuffer(content, dtype, number, at)
    end = first + length * count
    following = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", content, end)[0] if len(content) > end else 0
    return tags, following


def _page(tags: dict[str, np.ndarray], order: Literal["<", ">"], path: str | Path) -> Page:
    def value(name: str, default: int) -> int:
        return int(tags[name][0]) if name in tags and len(tags[name]) else default

    samples, compression = value("samples", 1), value("compression", RAW)
    bits, formats = set(tags.get("bits", np.ones(1)).tolist()), set(tags.get("format", np.ones(1)).tolist())
    kind = {UNTYPED: UNSIGNED}.get(int(min(formats)), int(min(formats)))
    depth = int(min(bits))
    photometric = value("photometric", MIN_IS_BLACK)
    if len(bits) > 1 or len(formats) > 1:
        raise DataError(
            f"{path}: bands of different types (bits {sorted(bits)}); export it with one type for all bands"
        )
    known = {UNSIGNED: {*range(1, 17), 32, 64}, SIGNED: {8, 16, 32, 64}, FLOAT: {16, 32, 64}}
    if depth not in known.get(kind, set()):
        name = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point"}.get(kind, "complex")
        raise DataError(f"{path}: {name} values of {depth} bits; export it as 8, 16 or 32 bits, or save it as .npy")
    if not 1 <= samples <= MOST_SAMPLES or value("depth", 1) > 1:
        raise DataError(f"{path}: {samples} bands, {value('depth', 1)} layers; export it as one image of few bands")
    colormap = tags.get("colormap")
    if photometric == PALETTE and (colormap is None or len(colormap) != 3 << depth):
        raise _damaged(path, "its palette is missing")
    return Page(
        height=int(tags["height"][0]),
        width=int(tags["width"][0]),
        samples=samples,
        bits=depth,
        format=kind,
        photometric=photometric,
        extra=tuple(tags["extra"].tolist())[:samples] if "extra" in tags else (),
        colormap=colormap.reshape(3, -1) if colormap is not None and photometric == PALETTE else None,
        is_lossy=compression == JPEG,
        orientation=value("orientation", 1),
        tags=tags,
        order=order,
    )


class Content(Protocol):
    """Bytes of a file, of which parts are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


def read_part(
    content: Content,
    page: Page,
    path: str | Path,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> np.ndarray:
    """Reads a rectangle of a page; of the file only the strips or tiles that it touches.

    Args:
        content: the file's bytes.
        page: of read_pages.
        path: for the error.
        rows: first and last row, the last exclusive; None for all.
        columns: the same of columns.

    Returns:
        [h,w,S].

    Raises:
        DataError: the page is damaged, or coded in a way that is not read.
    """
    tags, height, width = page.tags, page.height, page.width
    is_planar = "planar" in tags and tags["planar"][0] == 2 and page.samples > 1
    chunk = chunk_size(page)
    if min(chunk) < 1 or max(chunk) > max(4 * max(height, width), 1 << 16):
        raise _damaged(path, f"pieces of {chunk[1]}x{chunk[0]} pixels")
    coding = _coding(page, chunk, is_planar=is_planar, path=path)
    grid = (-(-height // chunk[0]), -(-width // chunk[1]))
    planes = page.samples if is_planar else 1
    offsets = tags.get("offsets", np.zeros(0, np.int64))
    counts = tags.get("counts", np.zeros(0, np.int64))
    number = grid[0] * grid[1] * planes
    if len(offsets) < number or (len(counts) < number and coding.compression != RAW):
        raise _damaged(path, f"{min(len(offsets), len(counts))} of {number} pieces are listed")
    (y0, y1), (x0, x1) = rows or (0, height), columns or (0, width)
    image = np.empty((y1 - y0, x1 - x0, page.samples), page.dtype)
    places = [
        (i, j) for i in range(y0 // chunk[0], -(-y1 // chunk[0])) for j in range(x0 // chunk[1], -(-x1 // chunk[1]))
    ]
    heights = [chunk[0] if "tile_width" in tags else min(chunk[0], height - i * chunk[0]) for i, _ in places]
    for plane in range(planes):
        pieces = []
        for (i, j), count in zip(places, heights):
            index = (plane * grid[0] + i) * grid[1] + j
            size = count * coding.row_bytes if coding.compression == RAW else int(counts[index])
            is_absent = not offsets[index] and not (counts[index] if len(counts) else 0)
            pieces.append(None if is_absent else _piece(content, int(offsets[index]), size, path))
        bands = slice(plane, plane + 1) if is_planar else slice(None)
        for (i, j), array in zip(places, decode_chunks(pieces, heights, coding)):
            y, x = i * chunk[0], j * chunk[1]
            top, left, bottom, right = max(y, y0), max(x, x0), min(y + chunk[0], y1), min(x + chunk[1], x1)
            part = image[top - y0 : bottom - y0, left - x0 : right - x0, bands]
            # GDAL leaves out pieces that hold no data
            part[...] = _absent(page) if array is None else array[top - y : bottom - y, left - x : right - x]
    return image


def chunk_size(page: Page) -> tuple[int, int]:
    """Returns (rows, columns) of a full strip or tile of a page."""
    tags = page.tags
    if "tile_width" in tags and "tile_height" in tags:
        return int(tags["tile_height"][0]), int(tags["tile_width"][0])
    return min(int(tags["rows"][0]) if "rows" in tags else page.height, page.height), page.width


def _coding(page: Page, chunk: tuple[int, int], *, is_planar: bool, path: str | Path) -> Coding:
    tags = page.tags
    compression = int(tags["compression"][0]) if "compression" in tags else RAW
    predictor = int(tags["predictor"][0]) if "predictor" in tags and compression in WITH_PREDICTOR else 1
    samples = 1 if is_planar else page.samples
    if predictor not in (1, 2, 3) or (predictor > 1 and page.bits not in (8, 16, 32, 64)):
        raise DataError(f"{path}: predictor {predictor} on {page.bits} bits; export it with predictor 1")
    if predictor == 3 and page.format != FLOAT:
        raise _damaged(path, "a predictor for floating-point values on whole numbers")
    if page.photometric == YCBCR and compression != JPEG:
        raise DataError(f"{path}: YCbCr colors without JPEG; export it as RGB")
    if compression in FAX and (page.bits != 1 or samples != 1):
        raise _damaged(path, "fax compression of other than 1 bit")
    if compression == JPEG and (page.bits != 8 or samples not in (1, 3, 4)):
        raise DataError(f"{path}: JPEG of {samples} bands of {page.bits} bits; export it with deflate or LZW")
    is_reversed = "fill_order" in tags and tags["fill_order"][0] == 2
    return Coding(
        compression=DEFLATE if compression == 32946 else compression,
        predictor=predictor,
        chunk=chunk,
        samples=samples,
        bits=page.bits,
        dtype=page.dtype,
        order=page.order,
        is_reversed=is_reversed,
        is_ycbcr=page.photometric == YCBCR,
        jpeg_tables=tags["jpeg_tables"].tobytes() if "jpeg_tables" in tags else b"",
        fax_options=int(tags["fax_options"][0]) if "fax_options" in tags else 0,
        path=path,
    )


def _piece(content: Content, offset: int, size: int, path: str | Path) -> bytes:
    if offset + size > len(content):
        raise DataError(f"{path}: the file breaks off after {len(content)} bytes; copy or download it again")
    return content[offset : offset + size]


def declared_nodata(page: Page) -> float | None:
    """Returns the value of missing pixels that a file of GDAL declares (tag 42113), None without one."""
    try:
        return float(page.tags["nodata"].tobytes().split(b"\0")[0])
    except (KeyError, ValueError):
        return None


def _absent(page: Page) -> np.ndarray:
    """The value of pieces that are left out: the file's no-data value, or 0."""
    value = declared_nodata(page)
    try:
        return np.array(0.0 if value is None else value).astype(page.dtype)
    except (ValueError, OverflowError):
        return np.zeros((), page.dtype)

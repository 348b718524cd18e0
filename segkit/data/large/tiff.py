"""Windows of TIFF, BigTIFF and GeoTIFF files: strips and tiles in every layout that segkit reads whole."""

import mmap
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from segkit.data.files.headers import TIFF_STARTS
from segkit.data.files.tiff import MASK_OR_REDUCED, Page, chunk_size, read_pages, read_part, stack_of
from segkit.data.files.tiff_chunks import (
    COMPRESSION_NAMES,
    DEFLATE,
    FAX,
    JPEG,
    LZMA,
    LZW,
    PACKBITS,
    RAW,
    ZSTD,
)
from segkit.data.large.georeference import of_tags
from segkit.data.large.reader import WindowReader
from segkit.files import DataError, open_regular

LARGEST_CHUNK = 1 << 28
"""Bytes that a strip or tile may have: it is decoded as a whole, however small the window."""

KNOWN = {RAW, LZW, JPEG, DEFLATE, 32946, PACKBITS, LZMA, ZSTD, *FAX}
"""Compressions that are read."""

RAW_CHUNK = 1 << 16
"""Bytes above which an uncompressed strip is read row by row."""


class UnreadCompression(DataError):
    """The strips or tiles are compressed in a way that another package may know.

    Args:
        message: as shown.
        size: (H, W) of the image.
    """

    def __init__(self, message: str, size: tuple[int, int] = (0, 0)):
        super().__init__(message)
        self.size = size


class TiffReader(WindowReader):
    """Reads windows of a TIFF by segkit's own reader: of the file only the strips or tiles that a window touches.

    Args:
        path: the file. Of several pages, overviews and masks are passed over and a stack's pages are its bands.

    Raises:
        DataError: the file is damaged, coded in a way that is not read, or not cut into pieces of a bearable size.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        self._file = open_regular(path)
        try:
            pages = _pages(self._file, self.path)
            if "subfile" in pages[0].tags and int(pages[0].tags["subfile"][0]) & MASK_OR_REDUCED:
                raise DataError(
                    f"{path}: holds smaller copies of an image alone, and not the image itself (level 0 of the "
                    "pyramid); export it with full resolution"
                )
            self._stack = [_by_rows(page) for page in stack_of(pages)]
            first = self._stack[0]
            if len(self._stack) > 1 and first.samples > 1:
                raise DataError(
                    f"{path}: {len(self._stack)} pages of {first.samples} bands; save the page that is meant"
                )
            chunk = chunk_size(first)
            is_planar = "planar" in first.tags and first.tags["planar"][0] == 2
            size = chunk[0] * chunk[1] * first.dtype.itemsize * (1 if is_planar else first.samples)
            if size > LARGEST_CHUNK:
                raise DataError(
                    f"{path}: its compressed strips or tiles are of {chunk[1]:,}x{chunk[0]:,} pixels, and each is "
                    f"decoded as a whole ({size / 1e9:.1f} GB); rewrite it with smaller tiles (gdal_translate "
                    "-co TILED=YES -co COMPRESS=DEFLATE)"
                )
            if _compression(first) not in KNOWN:
                name = COMPRESSION_NAMES.get(_compression(first), f"of number {_compression(first)}")
                raise UnreadCompression(
                    f"{path}: the compression {name} is not read in windows; export it with deflate or LZW "
                    "(gdal_translate -co TILED=YES -co COMPRESS=DEFLATE)",
                    (first.height, first.width),
                )
            read_part(_Bytes(self._file), first, self.path, (0, 0), (0, 0))  # the layout is one that is read
            self.page = first._replace(samples=first.samples * len(self._stack))
            self.place = of_tags(first.tags, path)
            self.nodata = _nodata(first)
        except BaseException:
            self._file.close()
            raise

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        content = _Bytes(self._file)
        parts = [read_part(content, page, self.path, (row0, row0 + h), (col0, col0 + w)) for page in self._stack]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _Bytes:
    """The bytes of an open file, read where they are asked for. They are not mapped: pages of a mapped file count as
    memory of the process, as many as it has ever touched."""

    def __init__(self, file: BinaryIO):
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        self._file.seek(part.start)
        return self._file.read(part.stop - part.start)


def _pages(file: BinaryIO, path: str) -> list[Page]:
    """The pages of a file, their tags copied out of it."""
    if os.fstat(file.fileno()).st_size < 8:
        raise DataError(f"{path}: {os.fstat(file.fileno()).st_size} bytes are no TIFF; copy or download it again")
    # mapped for the tags alone; it is closed when nothing refers to it any more
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if content[:4] not in TIFF_STARTS:
        raise DataError(f"{path}: no TIFF; name the file by its format")
    pages = [_copied(page) for page in read_pages(content, path)]  # type: ignore[arg-type]
    if not pages:
        raise DataError(f"{path}: holds no page; export it again")
    return pages


def _copied(page: Page) -> Page:
    colormap = None if page.colormap is None else page.colormap.copy()
    return page._replace(colormap=colormap, tags={name: values.copy() for name, values in page.tags.items()})


def _by_rows(page: Page) -> Page:
    """A page whose long uncompressed strips are strips of one row each, so that a window reads its own rows alone."""
    tags = page.tags
    samples = 1 if "planar" in tags and tags["planar"][0] == 2 else page.samples
    row_bytes = -(-page.width * samples * page.bits // 8)
    rows = chunk_size(page)[0]
    if "tile_width" in tags or _compression(page) != RAW or rows * row_bytes <= RAW_CHUNK or "offsets" not in tags:
        return page
    planes = page.samples // samples
    strips = -(-page.height // rows)
    offsets = tags["offsets"].astype(np.int64)
    if len(offsets) < strips * planes:
        return page  # the reader of windows says what is wrong
    # a strip that is left out has neither offset nor count; its rows have none either
    places = offsets[: strips * planes, None] + np.arange(rows) * row_bytes
    places[offsets[: strips * planes] == 0] = 0
    by_plane = places.reshape(planes, strips * rows)[:, : page.height]
    counts = np.where(by_plane > 0, row_bytes, 0)
    new = {"offsets": by_plane.ravel(), "counts": counts.ravel(), "rows": np.array([1])}
    return page._replace(tags={**tags, **new})


def _compression(page: Page) -> int:
    return int(page.tags["compression"][0]) if "compression" in page.tags else RAW


def _nodata(page: Page) -> float | None:
    """The value that GDAL's tag states."""
    try:
        return float(page.tags["nodata"].tobytes().split(b"\0")[0])
    except (KeyError, ValueError):
        return None

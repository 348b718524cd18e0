"""Opens an image of any size for reading in windows, by the reader that fits its format.

TIFF is read by segkit itself, which needs no package, reads what it reads whole in the same way, and holds one window.
rasterio (extra `geo`) reads what only GDAL knows: JPEG 2000, VRT, LERC and WebP in GeoTIFF. tifffile with imagecodecs
(extra `large`) is asked last, for the compressions of microscopes.
"""

import importlib.util
from pathlib import Path

from segkit.data.files.headers import PNG_START, TIFF_STARTS, picture_size
from segkit.data.files.images import IMAGE_SUFFIXES, load_array
from segkit.data.files.tiff import Stored
from segkit.data.large.by_rasterio import DRIVERS, RasterioReader
from segkit.data.large.by_tifffile import TifffileReader
from segkit.data.large.pieces import HEAD, Pieces, read_stored
from segkit.data.large.png import read_header, read_png
from segkit.data.large.reader import InMemory, WindowReader, plain_page
from segkit.data.large.spill import SpilledPng
from segkit.data.large.tiff import TiffReader, UnreadCompression
from segkit.files import DataError, open_regular

WHOLE_BYTES = 1 << 27
"""A PNG whose samples are of no more bytes is unpacked into memory."""

LARGE_SUFFIXES = (*IMAGE_SUFFIXES, ".vrt", ".j2k")
"""Suffixes of files that are read in windows."""


def open_large(path: str | Path) -> WindowReader:
    """Opens an image that may be larger than memory.

    The limit of SEGKIT_MAX_PIXELS does not hold here, since only a window is ever decoded; it holds for formats that
    are decoded as a whole (JPEG, BMP, WebP, .npy).

    Args:
        path: TIFF, BigTIFF, GeoTIFF, COG, OME-TIFF, PNG; JPEG 2000 and VRT with the extra `geo`; another picture; or a
            folder with the pieces of one image.

    Returns:
        A reader; close it, or use it in a `with` statement.

    Raises:
        DataError: the file cannot be read in windows; the message says what to do.
    """
    path = Path(path)
    if path.is_dir():
        return Pieces(path)
    with open_regular(path) as file:
        head = file.read(8)
        if head.startswith(PNG_START):
            file.seek(0)
            page = read_header(file, path).page
            is_small = page.height * page.width * page.samples * page.dtype.itemsize <= WHOLE_BYTES
            return InMemory(path, read_png(path)) if is_small else SpilledPng(path)
    if head.startswith(TIFF_STARTS):
        return _tiff(path)
    has_rasterio = importlib.util.find_spec("rasterio") is not None
    if path.suffix.lower() in DRIVERS and (has_rasterio or path.suffix.lower() == ".vrt"):
        return RasterioReader(path)
    if path.suffix.lower() == ".npy":
        array = load_array(path)
        if array.ndim not in (2, 3):
            raise DataError(f"{path}: an array of {array.ndim} axes; an image has [H,W] or [H,W,C]")
        array = array.reshape(*array.shape[:2], -1)
        return InMemory(path, Stored(array, plain_page(array.shape[:2], array.shape[2], array.dtype)))
    return InMemory(path, read_stored(path))


def size_of(path: str | Path) -> tuple[int, int] | None:
    """Reads the size of an image from its header, however large it is.

    Args:
        path: a file, or a folder of pieces.

    Returns:
        (H, W) in pixels, None where the header says none or the file cannot be read.
    """
    try:
        if Path(path).is_dir():
            return Pieces(path).size
        with open_regular(path) as file:
            head = file.read(HEAD)
        if not head.startswith(TIFF_STARTS):
            return picture_size(head)
        with TiffReader(path) as reader:
            return reader.size
    except UnreadCompression as error:
        return error.size
    except DataError:
        return None  # reading it says what is wrong


def _tiff(path: Path) -> WindowReader:
    try:
        return TiffReader(path)
    except UnreadCompression as error:
        reasons = [str(error)]
    for package, kind in (("rasterio", RasterioReader), ("imagecodecs", TifffileReader)):
        if importlib.util.find_spec(package) is not None:
            try:
                reader = kind(path)
                reader.read(0, 0, 1, 1)
                return reader
            except DataError as error:
                reasons.append(str(error))
    advice = "" if len(reasons) > 1 else ", or pip install 'segkit[geo]' or 'segkit[large]', which may read it"
    raise DataError(f"{reasons[0]}{advice}")

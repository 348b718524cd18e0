"""Reading image files as arrays; every failure names the file and the way out.

Pixels are taken as they are stored: an EXIF orientation is ignored, in images as in masks, because label files carry
none and the two must agree; images are turned on request. Every TIFF is read by segkit/data/files/tiff.py.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from segkit.data.dataset import NoData, missing_pixels
from segkit.data.files.headers import JPEG_START, PNG_START, TIFF_STARTS, picture_size
from segkit.data.files.orientation import orientation, turned
from segkit.data.files.tiff import read_tiff
from segkit.data.files.tiff_colors import as_picture, scaled, without_alpha
from segkit.files import MAX_PIXELS, DataError, limit, read_bytes, shortened
from segkit.readers.arrays import read_npy

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".ppm", ".pgm", ".npy")
"""Suffixes of image files, in lower case."""

PNG_END = b"IEND\xaeB`\x82"
JPEG_END = b"\xff\xd9"
AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
AS_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
DECODED = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
"""PIL's names of the formats that are handed to a decoder. PIL alone knows many more; one of them starts a program."""

BYTES_PER_PIXEL, BYTES_BESIDE = 16, 64 << 20
"""A picture file, other than a TIFF of many bands, is no larger than these bytes."""


def check_complete(content: bytes, path: str | Path) -> None:
    """Checks that a PNG or JPEG does not break off; decoders fill what is missing with grey and only warn.

    Args:
        content: the file's bytes; files of other formats pass.
        path: for the error.

    Raises:
        DataError: for an incomplete file.
    """
    if content.startswith(PNG_START):
        is_complete = content.rfind(PNG_END) >= 0
    elif content.startswith(JPEG_START):
        # some cameras append zeros or a second picture; then only a decoder can tell
        is_complete = content.rstrip(b"\0").endswith(JPEG_END) or _decodes_whole(content, path)
    else:
        return
    if not is_complete:
        raise DataError(f"{path}: the file breaks off after {len(content)} bytes; copy or download it again")


def _decodes_whole(content: bytes, path: str | Path) -> bool:
    try:
        open_picture(content, path, ("JPEG",)).load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def check_pixels(content: bytes, path: str | Path) -> None:
    """Checks the size that a picture's header states, before any decoder reserves memory for it.

    Args:
        content: the file's bytes.
        path: for the error.

    Raises:
        DataError: it has more pixels than SEGKIT_MAX_PIXELS, or a header of none of the known formats.
    """
    size = picture_size(content)
    if size is None:
        raise DataError(
            f"{path}: cannot be decoded: a damaged file, or no image; copy it again, or export it as PNG or JPEG"
        )
    height, width = size
    most = limit(MAX_PIXELS)
    if height * width > most:
        raise DataError(
            f"{path}: {width:,} x {height:,} pixels, more than {most:,}; cut it into tiles, or set {MAX_PIXELS[0]} to "
            "more where the file is right"
        )
    if not content.startswith(TIFF_STARTS) and len(content) > BYTES_PER_PIXEL * height * width + BYTES_BESIDE:
        raise DataError(f"{path}: {len(content):,} bytes for {width} x {height} pixels; export it again")


def open_picture(content: bytes, path: str | Path, formats: Sequence[str] = DECODED) -> "PILImage":
    """Opens a picture by PIL, without decoding it.

    Args:
        content: the file's bytes.
        path: for the error.
        formats: PIL's names of the formats that may be tried.

    Raises:
        DataError: it has too many pixels, or none of the formats.
    """
    from PIL import Image

    check_pixels(content, path)
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # check_pixels has the user's limit
    try:
        return Image.open(io.BytesIO(content), formats=list(formats))
    except Exception as error:  # damaged headers raise nearly any exception
        raise DataError(f"{path}: cannot be decoded as an image ({shortened(error, 200)}); export it as PNG") from error
    finally:
        Image.MAX_IMAGE_PIXELS = most


def decode(content: bytes, flags: int, path: str | Path) -> np.ndarray:
    """Decodes an image file by OpenCV.

    Args:
        content: the file's bytes.
        flags: those of cv2.imread.
        path: for the error.

    Returns:
        The array as OpenCV gives it, [H,W] or [H,W,C], BGR where it has colors.

    Raises:
        DataError: for a damaged file, one that is no image, and one of more pixels than SEGKIT_MAX_PIXELS.
    """
    check_pixels(content, path)
    check_complete(content, path)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        reason = shortened(getattr(error, "err", "out of memory"), 200)
        raise DataError(f"{path}: cannot be decoded ({reason}); export it again as PNG or JPEG") from error
    if image is None:
        raise DataError(
            f"{path}: cannot be decoded: a damaged file, or no image; copy it again, or export it as PNG or JPEG"
        )
    return image


def load_array(path: str | Path) -> np.ndarray:
    """Returns the array of a .npy file.

    Args:
        path: the file.

    Raises:
        DataError: where it is no readable array of numbers. Arrays of objects are refused because they would run code.
    """
    return read_npy(path)


def read_image(
    path: str | Path,
    channels: int = 3,
    *,
    exif: bool = False,
    nodata: NoData = None,
) -> np.ndarray:
    """Reads an image.

    3 channels are RGB in 0..255, the range the models' means are in, from any picture file: grey is repeated, palettes
    and inks become colors, alpha is dropped where the file says that it is alpha; unsigned values of other than 8 bits
    are scaled, those of 9 to 16 bits become float32. Another number of channels is read as stored (.npy with channels
    last, TIFF, grey or RGBA pictures), uint8 stays and everything else becomes float32 with its values unchanged; so do
    .npy and signed, floating-point and 32-bit files of 3 channels.

    Of TIFF the stored samples count, in every layout: where 0 is white they are not inverted, bits, signs, planes and
    alpha stay what they are. The pages of a stack count as channels.

    Args:
        path: the file.
        channels: how many the image shall have.
        exif: whether it is turned by the orientation that the file states; by default it is as stored.
        nodata: stored value of missing pixels, see Dataset; where values are scaled these become NaN.

    Returns:
        uint8 or float32 [H,W,channels].

    Raises:
        DataError: where the file cannot be read or decoded, or has another number of channels.
    """
    if os.path.splitext(path)[1].lower() == ".npy":
        return _with_channels(load_array(path), channels, path)
    content = read_bytes(path)
    if content.startswith(TIFF_STARTS):
        check_pixels(content, path)
        stored = read_tiff(content, path)
        bits = stored.page.bits
        if channels == 3:
            count = stored.samples.shape[2]
            image, bits = as_picture(stored, path, f"set channels={count} to read them as stored, or export RGB")
        else:
            image = without_alpha(stored, (channels,))
    elif channels == 3:
        image = cv2.cvtColor(decode(content, AS_COLOR, path), cv2.COLOR_BGR2RGB)
        bits = 8 * image.itemsize
    else:
        bits, image = 0, decode(content, AS_STORED, path)
        if channels == 4 and image.ndim == 3 and image.shape[2] == 4:
            image = image[:, :, [2, 1, 0, 3]]
    if channels == 3:
        is_missing = None if image.dtype != np.uint16 or nodata is None else missing_pixels(image, nodata)
        image = scaled(image, bits)
        if is_missing is not None:
            image[is_missing] = np.nan
    image = _with_channels(image, channels, path)
    return np.ascontiguousarray(turned(image, orientation(content))) if exif else image


def _with_channels(image: np.ndarray, channels: int, path: str | Path) -> np.ndarray:
    """Checks the shape, adds the channel axis to [H,W] and converts to uint8 or float32."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] != channels:
        shape = "x".join(str(size) for size in image.shape)
        hint = ""
        if image.ndim == 3 and image.shape[0] == channels:
            hint = "; it has its channels first: save it as [H,W,C]"
        elif image.ndim == 3:
            hint = f"; set channels={image.shape[2]} if all files are like this"
        raise DataError(f"{path}: an array of {shape} where [H,W,{channels}] is expected{hint}")
    if image.dtype.kind not in "uifb":
        raise DataError(f"{path}: values of type {image.dtype}; save numbers, uint8 or float32")
    return np.ascontiguousarray(image, dtype=np.uint8 if image.dtype in (np.uint8, bool) else np.float32)

"""Reading image files as arrays; every failure names the file and the way out.

Pixels are taken as they are stored: an EXIF orientation is ignored, in images as in masks, because label files carry
none and the two must agree; images are turned on request. Every TIFF is read by segkit/data/files/tiff.py.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from segkit.data.dataset import NoData, ScaleRange, missing_pixels
from segkit.data.files.headers import JPEG_START, PNG_START, TIFF_STARTS, picture_size
from segkit.data.files.orientation import orientation, turned
from segkit.data.files.tiff import Stored, declared_nodata, read_tiff
from segkit.data.files.tiff_colors import as_picture, scaled, without_alpha
from segkit.data.files.value_range import with_bands, with_scale
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


def load_array(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """Returns the array of a .npy file.

    Args:
        path: the file.
        content: its bytes, where they are known already.

    Raises:
        DataError: where it is no readable array of numbers, or holds none. Arrays of objects are refused because they
            would run code.
    """
    array = read_npy(path, content)
    if not array.size:
        sides = "x".join(map(str, array.shape))
        raise DataError(f"{path}: an array of {sides} values, so of no pixel; save it again, or take it out of the set")
    return array


def read_image(
    path: str | Path,
    channels: int = 3,
    *,
    exif: bool = False,
    nodata: NoData = None,
    scale: ScaleRange = None,
    bands: tuple[int, ...] | None = None,
    content: bytes | None = None,
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
        channels: how many the image shall have; with `bands` it has as many as these.
        exif: whether it is turned by the orientation that the file states; by default it is as stored.
        nodata: stored value of missing pixels, see Dataset; in float32 results these become NaN.
        scale: stored values that become 0 and 255, see segkit/data/files/value_range.py; the result is float32.
        bands: the stored bands that become channels, counted from 1; their values stay as stored unless `scale` is set.
        content: the file's bytes, where they are known already; `path` then serves its suffix and messages.

    Returns:
        uint8 or float32 [H,W,channels].

    Raises:
        DataError: where the file cannot be read or decoded, or has another number of channels.
    """
    head = b""
    if bands is not None:
        stored = stored_image(path, content)
        image, bits, head = with_bands(stored.samples, bands, str(path)), 0, stored.content
        channels = len(bands)
    elif os.path.splitext(path)[1].lower() == ".npy":
        bits, image = 0, _with_axis(load_array(path, content))
    else:
        head = read_bytes(path) if content is None else content
        image, bits = _decoded(head, channels, path)
    image = _finished(image, bits, channels, path, nodata=nodata, scale=scale)
    return np.ascontiguousarray(turned(image, orientation(head))) if exif else image


class StoredImage(NamedTuple):
    """What an image file holds.

    Attributes:
        samples: [H,W,S] in the file's own type, colors in the order R, G, B, alpha.
        bits: that the file declares for each sample.
        content: the bytes of the file, b"" of .npy.
        kind: format and color mode, such as "JPEG CMYK" or "TIFF".
        num_alpha: how many samples at the end are alpha.
        nodata: the value of missing pixels that a GeoTIFF declares, None without one.
    """

    samples: np.ndarray
    bits: int
    content: bytes
    kind: str
    num_alpha: int = 0
    nodata: float | None = None


def stored_image(path: str | Path, content: bytes | None = None) -> StoredImage:
    """Reads the samples of an image file as they are stored, with every band; JPEG of inks comes as RGB.

    Args:
        path: the file.
        content: its bytes, where they are known already.

    Raises:
        DataError: it cannot be read or decoded.
    """
    if os.path.splitext(path)[1].lower() == ".npy":
        array = _with_axis(load_array(path, content))
        return StoredImage(_checked(array, path), 8 * array.itemsize, b"", "npy")
    content = read_bytes(path) if content is None else content
    if content.startswith(TIFF_STARTS):
        check_pixels(content, path)
        stored = read_tiff(content, path)
        page = stored.page
        return StoredImage(stored.samples, page.bits, content, "TIFF", page.num_alpha, declared_nodata(page))
    image = _with_axis(decode(content, AS_STORED, path))
    if image.shape[2] in (3, 4):
        image = image[:, :, [2, 1, 0, 3][: image.shape[2]]]
    picture = open_picture(content, path)
    num_alpha = int(picture.mode in ("RGBA", "LA", "PA"))
    return StoredImage(image, 8 * image.itemsize, content, f"{picture.format} {picture.mode}", num_alpha)


def _decoded(content: bytes, channels: int, path: str | Path) -> tuple[np.ndarray, int]:
    """The samples [H,W,C] of a picture file, and the bits that bring them to 0..255; 0 where they stay as they are."""
    if content.startswith(TIFF_STARTS):
        check_pixels(content, path)
        return _of_tiff(read_tiff(content, path), channels, path)
    if channels == 3:
        image = decode(content, AS_COLOR, path)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        return image, 8 * image.itemsize
    image = decode(content, AS_STORED, path)
    if channels == 4 and image.ndim == 3 and image.shape[2] == 4:
        image = image[:, :, [2, 1, 0, 3]]
    return _with_axis(image), 0


def _with_axis(image: np.ndarray) -> np.ndarray:
    return image[:, :, None] if image.ndim == 2 else image


def _checked(image: np.ndarray, path: str | Path) -> np.ndarray:
    if image.ndim != 3:
        raise DataError(f"{path}: an array of {image.ndim} axes where [H,W,C] is expected; save one image as one file")
    return image


def _numbers(image: np.ndarray, path: str | Path) -> np.ndarray:
    """The values in the type that `nodata` is compared in: that of the result, of 16 bits the same numbers."""
    if image.dtype.kind not in "uifb":
        raise DataError(f"{path}: values of type {image.dtype}; save numbers, uint8 or float32")
    return image if image.dtype in (np.uint8, np.uint16) else image.astype(np.float32)


def as_image(
    stored: Stored,
    channels: int,
    path: str | Path,
    *,
    nodata: NoData = None,
    scale: ScaleRange = None,
    bands: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Makes an image of the samples of a file, or of a part of it, as read_image does of a TIFF.

    Args:
        stored: the samples [H,W,S].
        channels, path, nodata, scale, bands: as for read_image.

    Returns:
        uint8 or float32 [H,W,channels].

    Raises:
        DataError: the samples have another number of channels.
    """
    if bands is None:
        image, bits = _of_tiff(stored, channels, path)
    else:
        image, bits, channels = with_bands(stored.samples, bands, str(path)), 0, len(bands)
    return _finished(image, bits, channels, path, nodata=nodata, scale=scale)


def _of_tiff(stored: Stored, channels: int, path: str | Path) -> tuple[np.ndarray, int]:
    """As _decoded, of the samples of a TIFF."""
    if channels != 3:
        return without_alpha(stored, (channels,)), 0
    count = stored.samples.shape[2]
    advice = f"set channels={count} to read all, bands=[3, 2, 1] or the like to choose some, or export RGB"
    return as_picture(stored, path, advice)


def _finished(
    image: np.ndarray, bits: int, channels: int, path: str | Path, *, nodata: NoData, scale: ScaleRange
) -> np.ndarray:
    """The image of decoded samples: values in their range, missing ones NaN where the result can hold it."""
    is_missing = None if nodata is None or image.ndim != 3 else missing_pixels(_numbers(image, path), nodata)
    if bits and scale is None:
        image = scaled(image, bits)
    image = _with_channels(image, channels, path)
    if is_missing is not None and (image.dtype.kind == "f" or scale is not None) and is_missing.any():
        image = image.astype(np.float32)
        image[is_missing] = np.nan
    return with_scale(image, scale, str(path))


def _with_channels(image: np.ndarray, channels: int, path: str | Path) -> np.ndarray:
    """Checks the shape, adds the channel axis to [H,W] and converts to uint8 or float32."""
    image = _with_axis(image)
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

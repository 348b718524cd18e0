"""Grey pictures of DICOM files, read by pydicom (MIT license). Nothing in a file is executed.

Standard: https://dicom.nema.org/medical/dicom/current/output/html/part03.html, sections C.7.6.3 (pixels), C.11.1
(rescaling to units) and C.11.2 (window).
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.files import MAX_PIXELS, DataError, limit, open_regular, read_bytes, shortened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset as Header

START = 128
"""Bytes before the letters DICM, which every file has."""

DEFLATED = "1.2.840.10008.1.2.1.99"
"""Transfer syntax whose whole content is compressed, so that nothing is known of its size before it is unpacked."""

GREY = ("MONOCHROME1", "MONOCHROME2")
"""Meanings of a single channel: high values are dark, or bright."""

INSTALL = "reading DICOM needs pydicom: pip install 'segkit[dicom]'"


def read_dicom(path: str | Path, window: tuple[float, float] | None = None) -> np.ndarray:
    """Reads the grey picture of a DICOM file, bright where the standard says that it is shown bright.

    8 bits stay as they are stored. Other pictures are rescaled to their units (Hounsfield units of CT), and a window of
    these becomes 0..255: the given one, else the file's first own, else that of all values.

    Args:
        path: the file.
        window: lowest and highest value in units.

    Returns:
        uint8 [H,W,1] of 8 bits without a given window, else float32 [H,W,1] in 0..255.

    Raises:
        DataError: pydicom is not installed, or it is no DICOM file, its picture is missing, damaged, too large, in
            color or of several frames.
    """
    header = read_header(path)
    return _as_picture(_stored(header, path), header, window, path)[:, :, None]


def read_dicom_numbers(path: str | Path) -> np.ndarray:
    """Reads the numbers of a DICOM file as they are stored, for masks: neither rescaled nor inverted.

    Args:
        path: the file.

    Returns:
        Integer [H,W].

    Raises:
        DataError: as of read_dicom.
    """
    return _stored(read_header(path), path)


def is_dicom(path: str | Path) -> bool:
    """Returns whether a file begins as DICOM files do; False where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(START + 4)[START:] == b"DICM"
    except (DataError, OSError):
        return False


def _stored(header: "Header", path: str | Path) -> np.ndarray:
    """The decoded pixels [H,W]."""
    height, width = _checked_size(header, path)
    try:
        pixels = np.asarray(header.pixel_array)
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise DataError(
            f"{path}: its pixels cannot be decoded ({shortened(error, 200)}); copy the file again, or convert it to PNG"
        ) from error
    if pixels.shape != (height, width):
        raise DataError(f"{path}: pixels of {pixels.shape} for {width}x{height}; copy the file again")
    return pixels


def dicom_size(path: str | Path) -> tuple[int, int]:
    """Returns (H, W) of the picture in a DICOM file without decoding it; DataError as of read_dicom."""
    return _checked_size(read_header(path), path)


def read_header(path: str | Path) -> "Header":
    """Reads the elements of a DICOM file, none of which is decoded.

    Args:
        path: the file.

    Raises:
        DataError: pydicom is not installed, or it is no DICOM file, damaged, or packed as a whole.
    """
    content = read_bytes(path)
    if content[START : START + 4] != b"DICM":
        raise DataError(f"{path}: no DICOM file (the letters DICM are missing at byte {START}); copy it again")
    try:
        import pydicom
    except ImportError as error:
        raise DataError(f"{path}: {INSTALL}") from error
    try:
        meta: Any = pydicom.filereader.read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID")) == DEFLATED:
            raise DataError(f"{path}: is packed as a whole (deflated), and may be of any size; save it unpacked")
        return pydicom.dcmread(io.BytesIO(content))
    except DataError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise DataError(f"{path}: no readable DICOM file ({shortened(error, 200)}); copy it again") from error


def _checked_size(header: "Header", path: str | Path) -> tuple[int, int]:
    """(H, W) of a picture that can be read."""
    try:
        height, width = int(header.get("Rows", 0)), int(header.get("Columns", 0))
        samples, frames = int(header.get("SamplesPerPixel", 1)), int(header.get("NumberOfFrames") or 1)
        meaning = str(header.get("PhotometricInterpretation", GREY[1]))
        has_pixels = "PixelData" in header
    except Exception as error:  # elements are converted when they are asked for
        raise DataError(f"{path}: its size is no number ({shortened(error, 200)}); copy the file again") from error
    if height < 1 or width < 1 or not has_pixels:
        raise DataError(f"{path}: holds no picture (Rows, Columns or PixelData is missing)")
    if samples != 1 or meaning not in GREY:
        raise DataError(f"{path}: {samples} channels of {shortened(meaning, 40)}; only grey pictures are read")
    if frames != 1:
        raise DataError(f"{path}: {frames} frames; only single pictures are read, save each frame as a file")
    if height * width > limit(MAX_PIXELS):
        raise DataError(
            f"{path}: {width:,} x {height:,} pixels, more than {limit(MAX_PIXELS):,}; set {MAX_PIXELS[0]} to more "
            "where the file is right"
        )
    return height, width


def _as_picture(
    pixels: np.ndarray, header: "Header", window: tuple[float, float] | None, path: str | Path
) -> np.ndarray:
    """uint8 or float32 [H,W] in 0..255."""
    try:
        is_dark, bits = header.get("PhotometricInterpretation") == GREY[0], int(header.get("BitsStored", 8))
        if window is None and pixels.dtype == np.uint8 and bits == 8:
            return 255 - pixels if is_dark else pixels
        slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
        values = pixels.astype(np.float32) * slope + intercept
        low, high = window or _own_window(header) or (float(values.min()), float(values.max()))
    except Exception as error:  # as above
        raise DataError(f"{path}: its rescaling or window is no number ({shortened(error, 200)})") from error
    grey = np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.float32)
    return 255 - grey if is_dark else grey


def _own_window(header: "Header") -> tuple[float, float] | None:
    """Lowest and highest value of the file's first window, None where it has none (linear form, C.11.2.1.2.1)."""
    center, width = header.get("WindowCenter"), header.get("WindowWidth")
    if center is None or width is None:
        return None
    center, width = (float(v[0] if hasattr(v, "__len__") and not isinstance(v, str) else v) for v in (center, width))
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2

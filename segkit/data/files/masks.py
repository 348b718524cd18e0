"""Reading mask files as raw labels or colors: index and palette images, color-coded images, arrays."""

from pathlib import Path

import cv2
import numpy as np

from segkit.data.files.headers import JPEG_START, PNG_START, TIFF_STARTS
from segkit.data.files.images import AS_STORED, check_complete, check_pixels, decode, load_array, open_picture
from segkit.data.files.tiff import read_tiff
from segkit.data.files.tiff_colors import as_picture, scaled, without_alpha
from segkit.files import DataError, read_bytes, shortened

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".npy", ".jpg", ".jpeg")
"""Suffixes of mask files, in lower case. JPEG is among them to be named in an error instead of being overlooked."""

GREY_STEP = {1: 255, 2: 85, 4: 17}
"""By these factors decoders stretch grey PNGs of 1, 2 and 4 bits to 0..255; labels are wanted as stored."""

COLOR_REMEDY = (
    "export it with one number per pixel, or read the folder with type='Folder', color_masks=True and palette"
)
"""What to do about a color-coded mask where a reader takes no colors."""


def read_mask(path: str | Path, color_remedy: str = COLOR_REMEDY, *, content: bytes | None = None) -> np.ndarray:
    """Reads the raw labels of a mask file: the numbers that are stored, in TIFF also where 0 is white.

    Args:
        path: a grey image of 1 to 16 bits, a palette image, whose indices count, or an integer .npy or TIFF. Color
            images whose three channels are equal count as grey; `read_colors` reads others. Alpha is left
            out.
        color_remedy: end of the error about a color-coded mask.
        content: the file's bytes, where they are known already; `path` then serves its suffix and messages.

    Returns:
        Integer [H,W].

    Raises:
        DataError: for a JPEG, a color-coded mask, values that are no whole numbers, and files that cannot be read.
    """
    if str(path).lower().endswith(".npy"):
        mask = load_array(path, content)
        mask = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
        if mask.ndim != 2 or mask.dtype.kind not in "uib":
            raise DataError(f"{path}: {mask.dtype} array of {mask.shape}; a mask is an integer array [H,W]")
        return mask.astype(np.uint8) if mask.dtype == bool else mask
    content = read_bytes(path) if content is None else content
    _refuse_jpeg(content, path)
    check_pixels(content, path)
    if content.startswith(PNG_START) and content[25:26] != b"\x03":
        mask = decode(content, AS_STORED, path)
        if content[25] == 0 and content[24] < 8:
            mask = mask // GREY_STEP.get(content[24], 1)
    elif content.startswith(TIFF_STARTS):
        stored = read_tiff(content, path)
        if stored.page.is_lossy:
            raise DataError(f"{path}: a mask compressed as JPEG, which alters labels at every edge; export it as PNG")
        mask = without_alpha(stored, (1, 3))
        mask = mask[:, :, 0] if mask.shape[2] == 1 else mask
    else:
        mask = _indices(content, path)
    if mask.ndim == 3:
        mask = _equal_channels(mask, path, color_remedy)
    if mask.dtype.kind not in "ui":
        raise DataError(f"{path}: {mask.dtype} values; a mask holds whole numbers: save it as 8- or 16-bit PNG")
    return mask


def read_colors(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """Reads a color-coded mask file.

    Args:
        path: an image of any kind but JPEG; a palette image gives its palette's colors.
        content: the file's bytes, where they are known already.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        DataError: for a JPEG, and files that cannot be read.
    """
    content = read_bytes(path) if content is None else content
    _refuse_jpeg(content, path)
    return picture(content, path)


def picture(content: bytes, path: str | Path) -> np.ndarray:
    """Decodes a picture to 8-bit colors.

    Args:
        content: the file's bytes.
        path: for the error.

    Returns:
        uint8 [H,W,3] RGB; grey is repeated.

    Raises:
        DataError: it cannot be decoded, or has no colors.
    """
    if not content.startswith(TIFF_STARTS):
        colors = decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, path)
        return cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
    check_pixels(content, path)
    stored = read_tiff(content, path)
    colors, bits = as_picture(stored, path, "export the mask as PNG")
    if colors.dtype.kind != "u" or bits > 16:
        raise DataError(f"{path}: {colors.dtype} values are no colors; export the mask as PNG")
    return np.rint(scaled(colors, bits)).astype(np.uint8)


def _refuse_jpeg(content: bytes, path: str | Path) -> None:
    if content.startswith(JPEG_START):
        raise DataError(f"{path}: a JPEG mask: its compression alters labels at every edge; export masks as PNG")


def _indices(content: bytes, path: str | Path) -> np.ndarray:
    """Decodes by PIL, which keeps the indices of palette images where OpenCV expands them to colors."""
    check_complete(content, path)
    image = open_picture(content, path)
    try:
        array = np.asarray(image)
    except Exception as error:  # damaged files raise nearly any exception
        raise DataError(
            f"{path}: cannot be decoded ({shortened(error, 200)}); copy it again, or export it as PNG"
        ) from error
    return array.astype(np.uint8) if array.dtype == bool else array


def _equal_channels(mask: np.ndarray, path: str | Path, color_remedy: str) -> np.ndarray:
    """The labels [H,W] of an image [H,W,c] whose channels are equal; colors are an error."""
    first = mask[:, :, 0]
    if mask.shape[2] > 4:
        raise DataError(f"{path}: a mask of {mask.shape[2]} bands or pages; save the one that holds the labels")
    differs = (mask[:, :, 1] != first) | (mask[:, :, min(2, mask.shape[2] - 1)] != first)
    if differs.any():
        y, x = (int(positions[0]) for positions in np.nonzero(differs))
        raise DataError(f"{path}: a color-coded mask (three different channels first at x={x}, y={y}); {color_remedy}")
    return np.ascontiguousarray(first)


def values_of(labels: np.ndarray, name: str = "") -> list[int]:
    """Lists the instances of a label map.

    Args:
        labels: integer [H,W], 0 is the background.
        name: of the file, for the error.

    Returns:
        The labels other than 0 that occur, ascending.

    Raises:
        DataError: for a negative label.
    """
    low = int(labels.min(initial=0))
    if low < 0:
        raise DataError(f"{name}: label {low}; instances are numbered from 1, 0 is the background")
    if labels.max(initial=0) >= 1 << 16:
        return [value for value in np.unique(labels).tolist() if value]
    return (np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1).tolist()

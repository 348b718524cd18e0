"""What the samples of a TIFF mean as colors: palettes, inks, alpha, bits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.data.files.tiff import CMYK, RGB, Page, Stored
from segkit.files import DataError

PHOTOMETRIC_NAMES = {
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "a color filter array",
    32844: "LogL",
    32845: "LogLuv",
}


def scaled(samples: np.ndarray, bits: int) -> np.ndarray:
    """Brings unsigned samples of up to 16 bits to 0..255, the range that models' means are in.

    Args:
        samples: of any type and shape; others than unsigned ones of up to 16 bits stay.
        bits: how many the file declares.

    Returns:
        uint8 of 1 to 8 bits, float32 of 9 to 16.
    """
    if samples.dtype.kind != "u" or bits > 16 or bits == 8:
        return samples
    most = (1 << bits) - 1
    if bits < 8:
        return np.rint(np.arange(most + 1) * (255 / most)).astype(np.uint8)[samples]
    return samples.astype(np.float32) / np.float32(most / 255)


def palette_colors(indices: np.ndarray, colormap: np.ndarray) -> np.ndarray:
    """Returns the colors of palette indices.

    Args:
        indices: integer [H,W].
        colormap: [3,n] of 16 bits; one that only uses 8 counts as 8 bits, as other readers have it.

    Returns:
        uint8 [H,W,3] RGB.
    """
    colors = colormap if colormap.max(initial=0) < 256 else colormap >> 8
    return colors.T.astype(np.uint8)[indices]


def as_picture(stored: Stored, path: str | Path, advice: str) -> tuple[np.ndarray, int]:
    """Makes an RGB image of the samples: grey is repeated, palettes, CMYK and YCbCr become colors, alpha is dropped.

    Args:
        stored: of read_tiff.
        path: for the error.
        advice: what to do where the samples are no colors.

    Returns:
        [H,W,3] in the file's own type and range, and their bits, both for `scaled`; colors of palettes have 8 bits.

    Raises:
        DataError: the samples are no colors.
    """
    samples, page = stored
    if page.photometric in PHOTOMETRIC_NAMES:
        name = PHOTOMETRIC_NAMES[page.photometric]
        raise DataError(f"{path}: colors of the kind {name}; export it as RGB")
    bands = samples[:, :, : samples.shape[2] - page.num_alpha]
    if page.colormap is not None and bands.shape[2] == 1:
        return palette_colors(bands[:, :, 0], page.colormap), 8
    if page.photometric == CMYK:
        return _rgb_of_cmyk(bands, page, path), page.bits
    if bands.shape[2] == 1:
        bands = np.repeat(bands, 3, axis=2)
    if bands.shape[2] != 3:
        raise DataError(f"{path}: {_bands(bands.shape[2], page)}; {advice}")
    return bands, page.bits


def _bands(count: int, page: Page) -> str:
    if page.photometric == RGB and count == 4:
        return "4 bands, of which the file does not mark the last as alpha"
    return f"{count} bands"


def _rgb_of_cmyk(bands: np.ndarray, page: Page, path: str | Path) -> np.ndarray:
    """The colors of inks without a profile: (1 - C)(1 - K) and so on."""
    is_cmyk = "ink_set" not in page.tags or page.tags["ink_set"][0] == 1
    if not is_cmyk or bands.shape[2] != 4 or bands.dtype.kind != "u" or page.bits not in (8, 16):
        raise DataError(f"{path}: {bands.shape[2]} inks of {page.bits} bits; export it as RGB")
    most = (1 << page.bits) - 1
    light = most - bands.astype(np.float64)
    return np.rint(light[:, :, :3] * light[:, :, 3:] / most).astype(bands.dtype)


def without_alpha(stored: Stored, channels: Sequence[int]) -> np.ndarray:
    """Returns the samples [H,W,S] as stored; alpha, where the file says so, is dropped if one of `channels` is left."""
    samples, page = stored
    left = samples.shape[2] - page.num_alpha
    return samples[:, :, :left] if samples.shape[2] not in channels and left in channels else samples

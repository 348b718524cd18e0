"""What all readers of large images share: rectangles of pixels as stored, and where they lie on the ground.

H W the whole image, h w a window, S samples (bands) of a pixel as stored.
"""

from pathlib import Path

import numpy as np

from segkit.data.dataset import NoData, Reading
from segkit.data.files.images import as_image
from segkit.data.files.tiff import Page, Stored
from segkit.data.large.georeference import Georeference
from segkit.files import DataError


class WindowReader:
    """Reads rectangles of an image that is never held as a whole.

    Attributes:
        path: the file or folder, for messages.
        page: what the samples are: size, bands, type, colors. Its size is that of the whole image.
        place: where the image lies on the ground.
        nodata: the value that the file states for pixels without data, None for none.
        notes: what a user should be told once.
    """

    path: str
    page: Page
    place: Georeference = Georeference()
    nodata: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.page.height, self.page.width

    @property
    def channels(self) -> int:
        """S."""
        return self.page.samples

    @property
    def dtype(self) -> np.dtype:
        """The type of the samples."""
        return self.page.dtype

    def read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        """Reads a window.

        Args:
            row0, col0: of its upper left pixel.
            h, w: its size in pixels; it lies within the image.

        Returns:
            [h,w,S] as stored.

        Raises:
            DataError: the file is damaged there.
            ValueError: the window leaves the image.
        """
        height, width = self.size
        if not (0 <= row0 <= row0 + h <= height and 0 <= col0 <= col0 + w <= width):
            raise ValueError(f"window of {w}x{h} at row {row0}, column {col0} in an image of {width}x{height}")
        return self._read(row0, col0, h, w)

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        """Reads a window that lies within the image; see `read`."""
        raise NotImplementedError(f"{type(self).__name__} gives no _read()")

    def image(self, samples: np.ndarray, channels: int, reading: Reading) -> np.ndarray:
        """Makes an image of the samples of a window, as read_image does of a whole file.

        Args:
            samples: [h,w,S] of `read`.
            channels: how many the image shall have.
            reading: its nodata as of missing_value; its scale holds no percentiles, and its exif counts for nothing.

        Returns:
            uint8 or float32 [h,w,channels].

        Raises:
            DataError: the file has another number of channels.
        """
        stored = Stored(samples, self.page)
        nodata, scale, bands = reading.nodata, reading.scale, reading.bands
        return as_image(stored, channels, self.path, nodata=nodata, scale=scale, bands=bands)

    def missing_value(self, nodata: NoData, channels: int) -> NoData:
        """Returns what marks pixels without data: what the user says, else what the file states, in all channels."""
        if nodata is not None or self.nodata is None:
            return nodata
        return "nan" if np.isnan(self.nodata) else [self.nodata] * channels

    def close(self) -> None:
        """Closes the files; the reader is of no use afterwards."""

    def __enter__(self) -> "WindowReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class InMemory(WindowReader):
    """An image that is small enough to be held as a whole.

    Args:
        path: its file.
        stored: the samples [H,W,S].
    """

    def __init__(self, path: str | Path, stored: Stored):
        self.path, self._samples, self.page = str(path), stored.samples, stored.page

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        return self._samples[row0 : row0 + h, col0 : col0 + w]


def plain_page(
    size: tuple[int, int], samples: int, dtype: np.dtype, *, alpha: int = 0, colormap: np.ndarray | None = None
) -> Page:
    """Describes the samples of a file that is no TIFF.

    Args:
        size: (H, W) in pixels.
        samples: S.
        dtype: of the samples.
        alpha: how many samples at the end are alpha.
        colormap: integer [3,256] of a palette's colors, of indices of 8 bits.

    Raises:
        DataError: the type is none that is read.
    """
    kinds = {"u": 1, "i": 2, "f": 3}
    if dtype.kind not in kinds:
        raise DataError(f"values of type {dtype}; save numbers of 8, 16 or 32 bits")
    photometric = 3 if colormap is not None else 2 if samples - alpha == 3 else 1
    return Page(
        height=size[0],
        width=size[1],
        samples=samples,
        bits=8 * dtype.itemsize,
        format=kinds[dtype.kind],
        photometric=photometric,
        extra=(2,) * alpha,
        colormap=colormap,
        is_lossy=False,
        orientation=1,
        tags={},
        order="<",
    )

"""Windows of TIFFs whose compression segkit does not know: level 0 of microscopy files, through tifffile."""

from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.large.reader import WindowReader, plain_page
from segkit.files import DataError, open_regular, shortened


class TifffileReader(WindowReader):
    """Reads windows by the package tifffile, whose decoders are those of the package imagecodecs.

    Args:
        path: a TIFF or OME-TIFF. Of a pyramid the full resolution is read; pages of one series are its bands.

    Raises:
        DataError: the packages are missing, or they cannot read the file.
    """

    def __init__(self, path: str | Path):
        try:
            import imagecodecs  # noqa: F401
            import tifffile
        except ImportError as error:
            raise DataError(
                f"{path}: reading this compression needs the packages tifffile and imagecodecs; pip install "
                "'segkit[large]'"
            ) from error
        self.path = str(path)
        open_regular(path).close()
        try:
            self._file: Any = tifffile.TiffFile(str(path))
            series = self._file.series[0]
            self._pages: list[Any] = [page for page in series.levels[0].pages if page is not None]
        except Exception as error:  # damaged files raise nearly any exception
            raise DataError(f"{path}: cannot be read ({shortened(error, 200)}); copy or export it again") from error
        first = self._pages[0]
        samples = first.samplesperpixel
        if len(self._pages) > 1 and samples > 1:
            raise DataError(f"{path}: {len(self._pages)} pages of {samples} bands; save the page that is meant")
        alpha = sum(int(extra) in (1, 2) for extra in first.extrasamples[-1:])
        page = plain_page(
            (first.imagelength, first.imagewidth), samples * len(self._pages), np.dtype(first.dtype), alpha=alpha
        )
        self.page = page._replace(is_lossy=int(first.compression) in (7, 33003, 33005, 34712))

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        parts = [self._of_page(page, row0, col0, h, w) for page in self._pages]
        return np.concatenate(parts, axis=2)

    def _of_page(self, page: Any, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        window = np.zeros((h, w, page.samplesperpixel), self.dtype)
        rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        across, down = -(-page.imagewidth // columns), -(-page.imagelength // rows)
        planes = page.samplesperpixel if int(page.planarconfig) == 2 else 1
        for plane in range(planes):
            for i in range(row0 // rows, -(-(row0 + h) // rows)):
                for j in range(col0 // columns, -(-(col0 + w) // columns)):
                    index = (plane * down + i) * across + j
                    piece = self._piece(page, index)
                    if piece is None:
                        continue
                    y, x = i * rows, j * columns
                    y0, y1 = max(row0, y), min(row0 + h, y + piece.shape[0])
                    x0, x1 = max(col0, x), min(col0 + w, x + piece.shape[1])
                    bands = slice(plane, plane + 1) if planes > 1 else slice(None)
                    part = piece[y0 - y : y1 - y, x0 - x : x1 - x]
                    window[y0 - row0 : y1 - row0, x0 - col0 : x1 - col0, bands] = part
        return window

    def _piece(self, page: Any, index: int) -> np.ndarray | None:
        """[rows,columns,S] of a strip or tile, None for one that is left out."""
        try:
            handle = page.parent.filehandle
            handle.seek(page.dataoffsets[index])
            packed = handle.read(page.databytecounts[index])
            piece = page.decode(packed, index, jpegtables=page.jpegtables)[0] if packed else None
        except Exception as error:  # damaged data raises nearly any exception
            raise DataError(
                f"{self.path}: a strip or tile cannot be decoded ({shortened(error, 200)}); copy or export it again"
            ) from error
        return None if piece is None else piece.reshape(*piece.shape[-3:])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

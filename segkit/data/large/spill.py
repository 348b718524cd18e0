"""Large PNG files: unpacked once into an uncompressed tiled TIFF of the cache, in which any window is found at once."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from segkit.data.large.png import bands, read_header
from segkit.data.large.reader import WindowReader
from segkit.data.large.tiff import TiffReader
from segkit.data.large.tiff_writer import TILE, TiffWriter
from segkit.files import DataError, open_regular, whole_file

REMEDY = "free space, set SEGKIT_CACHE to a folder with room, or save the image as a tiled TIFF, which needs no copy"


def spill_folder() -> Path:
    """Returns $SEGKIT_CACHE/large, or work_dirs/large where the variable is not set."""
    return Path(os.environ.get("SEGKIT_CACHE", "work_dirs")).expanduser() / "large"


class SpilledPng(WindowReader):
    """Reads windows of a PNG from its unpacked copy in the cache, which is made where it is missing.

    Args:
        path: the PNG. The copy is named after its path, size and time.

    Raises:
        DataError: the file is damaged, or the disk has no room for the copy.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        with open_regular(path) as file:
            self.page = read_header(file, path).page
        about = os.stat(path)
        key = json.dumps([str(Path(path).resolve()), about.st_size, about.st_mtime_ns])
        copy = spill_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.tif"
        if not copy.is_file():
            self._unpack(copy)
        self._inner = TiffReader(copy)

    def _unpack(self, copy: Path) -> None:
        page = self.page
        tiles = -(-page.height // TILE) * -(-page.width // TILE)
        need = tiles * TILE * TILE * page.samples * page.dtype.itemsize
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(copy.parent).free
        except OSError as error:
            raise DataError(f"{copy}: cannot be written ({error.strerror}); {REMEDY}") from error
        if need > free:
            raise DataError(
                f"{copy.parent}: no room for the unpacked copy of {self.path} ({need / 1e9:.1f} GB; "
                f"{free / 1e9:.1f} GB are free); {REMEDY}"
            )
        print(
            f"{self.path}: a PNG is read from top to bottom alone; unpacking it once to {copy} ({need / 1e9:.1f} GB; "
            "delete it when you no longer need it)",
            file=sys.stderr,
            flush=True,
        )
        with whole_file(copy, REMEDY) as draft, open(draft, "wb") as file:
            writer = TiffWriter(file, (page.height, page.width), page.dtype, samples=page.samples, compress=False)
            row = 0
            for band in bands(self.path):
                writer.write(row, 0, band)
                row += len(band)
            writer.close()

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        return self._inner.read(row0, col0, h, w)

    def close(self) -> None:
        """Closes the copy, which stays."""
        self._inner.close()

"""Windows of what GDAL reads and segkit's own reader does not: JPEG 2000, VRT, rarer compressions of GeoTIFF."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.files.tiff import CMYK, RGB, read_pages
from segkit.data.large.georeference import Georeference, of_tags
from segkit.data.large.reader import WindowReader, plain_page
from segkit.files import TEXT_BYTES, DataError, inside, open_regular, read_text, shortened

DRIVERS = {".jp2": "JP2OpenJPEG", ".j2k": "JP2OpenJPEG", ".vrt": "VRT", ".tif": "GTiff", ".tiff": "GTiff"}
"""GDAL's reader for each suffix; no other of its readers sees a file."""

OPTIONS = {
    "GDAL_VRT_ENABLE_PYTHON": "NO",  # a VRT can name functions in Python
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # files beside it are not looked at
    "GDAL_CACHEMAX": 64,  # MB, instead of a share of the machine's memory
    "GDAL_HTTP_MAX_RETRY": 0,
}


def import_rasterio(reason: str) -> Any:
    """Returns the package rasterio.

    Args:
        reason: what needs it, the beginning of the error's sentence.

    Raises:
        DataError: it is not installed.
    """
    try:
        import rasterio
    except ImportError as error:
        raise DataError(f"{reason} needs the package rasterio; pip install 'segkit[geo]'") from error
    return rasterio


class RasterioReader(WindowReader):
    """Reads windows by GDAL, through the package rasterio.

    Args:
        path: a file that ends in one of DRIVERS. A VRT may only name files of its own folder and below, and no code.

    Raises:
        DataError: rasterio is missing, the file is damaged, or its bands are of different types.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        suffix = Path(path).suffix.lower()
        self._rasterio = import_rasterio(f"{path}: reading {suffix or 'this file'}")
        open_regular(path).close()
        if suffix == ".vrt":
            _check_vrt(path)
        try:
            with self._rasterio.Env(**OPTIONS):
                self._dataset = self._rasterio.open(str(path), driver=DRIVERS.get(suffix, "GTiff"))
                self._describe()
        except (self._rasterio.errors.RasterioError, self._rasterio.errors.CRSError) as error:
            raise DataError(f"{path}: cannot be read ({shortened(error, 200)}); copy or export it again") from error

    def _describe(self) -> None:
        dataset = self._dataset
        if len(set(dataset.dtypes)) > 1 or dataset.count < 1:
            types = ", ".join(sorted(set(dataset.dtypes))) or "no type"
            raise DataError(f"{self.path}: bands of {types}; export it with one type for all bands")
        colors = [color.name for color in dataset.colorinterp]
        alpha = int(colors[-1] == "alpha" and len(colors) > 1)
        dtype = np.dtype(dataset.dtypes[0])
        colormap = None
        if colors == ["palette"] and dtype == np.uint8:
            colormap = np.zeros((3, 256), np.uint8)
            for value, color in dataset.colormap(1).items():
                colormap[:, value] = color[:3]
        page = plain_page((dataset.height, dataset.width), dataset.count, dtype, alpha=alpha, colormap=colormap)
        if colors[0] in ("red", "cyan"):
            page = page._replace(photometric=RGB if colors[0] == "red" else CMYK)
        bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        self.page = page._replace(bits=int(bits)) if bits is not None and dtype.kind == "u" else page
        self.nodata = None if dataset.nodata is None else float(dataset.nodata)
        self.place = georeference_of(dataset.crs, dataset.transform)

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        from rasterio.windows import Window

        try:
            with self._rasterio.Env(**OPTIONS):
                bands = self._dataset.read(window=Window(col0, row0, w, h))
        except self._rasterio.errors.RasterioError as error:
            raise DataError(
                f"{self.path}: rows {row0} to {row0 + h} cannot be read ({shortened(error.__cause__ or error, 200)}); "
                "copy or export it again"
            ) from error
        return np.ascontiguousarray(bands.transpose(1, 2, 0))

    def close(self) -> None:
        """Closes the file."""
        self._dataset.close()


def georeference_of(crs: Any, transform: Any) -> Georeference:
    """Makes a georeference of rasterio's objects.

    The tags are taken from a GeoTIFF of one pixel that GDAL writes, so that systems without a number are whole too.

    Args:
        crs: None for none.
        transform: the identity for none.
    """
    from rasterio.io import MemoryFile

    if crs is None and transform.is_identity:
        return Georeference()
    with MemoryFile() as memory:
        options = {} if transform.is_identity else {"transform": transform}
        with memory.open(driver="GTiff", width=1, height=1, count=1, dtype="uint8", crs=crs, **options):
            pass
        tags = read_pages(memory.read(), "georeference")[0].tags
    found = of_tags(tags, "georeference")
    number = None if crs is None else crs.to_epsg()
    return found._replace(crs=f"EPSG:{number}" if number is not None else "" if crs is None else crs.to_wkt())


def _check_vrt(path: str | Path) -> None:
    """Refuses a VRT that names code, or files anywhere else."""
    text = read_text(path, TEXT_BYTES)
    for word in ("PixelFunction", "VRTDerivedRasterBand", "<!DOCTYPE", "<!ENTITY", "VRTRawRasterBand"):
        if word.lower() in text.lower():
            raise DataError(f"{path}: a VRT with {word}, which is not read; write it as GeoTIFF (gdal_translate)")
    names = re.findall(r"<Source(?:Filename|Dataset)([^>]*)>([^<]*)<", text)
    for attributes, name in names:
        is_relative = re.search(r"relativeToVRT\s*=\s*[\"']1", attributes)
        name = name.strip()
        if not is_relative or ":" in name or name.startswith("/vsi"):
            raise DataError(
                f"{path}: names {shortened(name, 100)}, which is not relative to the VRT; build it in the folder "
                "of its files (gdalbuildvrt), or write it as GeoTIFF (gdal_translate)"
            )
        inside(Path(path).parent, name, path, "build it in the folder of its files (gdalbuildvrt)")

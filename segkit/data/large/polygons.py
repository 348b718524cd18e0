"""Label maps as GeoJSON: a polygon for each connected region.

Format: RFC 7946. It wants longitude and latitude; other reference systems are named by the member "crs" of the format's
first version (2008), which GDAL and QGIS read.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segkit.data.large.by_rasterio import import_rasterio
from segkit.data.large.georeference import Georeference
from segkit.data.large.outlining import Region, regions, signed_area
from segkit.data.large.tiff import TiffReader
from segkit.files import DataError, whole_file

WGS84 = ("EPSG:4326", "OGC:CRS84")
"""Names of longitude and latitude."""

PARTS = 1000
"""Coordinates are written to this part of a pixel."""


def write_polygons(
    labels: Path,
    path: Path,
    names: tuple[str, ...],
    *,
    least_area: int = 0,
    tolerance: float = 0.0,
    to_wgs84: bool = False,
) -> str:
    """Writes the regions of a label map as polygons.

    Args:
        labels: TIFF of one sample per pixel; its no-data value belongs to no region.
        path: the GeoJSON file to write.
        names: of the classes, where they are known.
        least_area: least pixels of a region.
        tolerance: how far simplified outlines may lie from the true ones, in pixels (Douglas and Peucker); outlines
            that two regions share may then differ.
        to_wgs84: whether coordinates become longitude and latitude, which needs the package rasterio.

    Returns:
        What was written, for the user.

    Raises:
        DataError: the file cannot be written, or --wgs84 needs a reference system or a package that is missing.
    """
    count = 0
    with TiffReader(labels) as reader, whole_file(path, "choose another --out") as draft:
        place = reader.place
        transform = _to_wgs84(labels, place) if to_wgs84 else place.on_ground
        digits = _digits(place, to_wgs84=to_wgs84)
        crs = "OGC:CRS84" if to_wgs84 else place.crs
        skipped = -1 if reader.nodata is None else int(reader.nodata)
        with open(draft, "w", encoding="utf-8") as file:
            file.write('{"type": "FeatureCollection",\n')
            if (member := crs_member(crs)) is not None:
                file.write(f'"crs": {json.dumps(member)},\n')
            file.write('"features": [')
            for region in regions(reader, skipped, least_area):
                rings = []
                for number, ring in enumerate(_simplified(region, tolerance)):
                    points = np.round(transform(ring.astype(np.float64)), digits)
                    # outlines turn against the clock, holes with it
                    is_turned = (signed_area(points) < 0) != (number > 0)
                    points = points[::-1] if is_turned else points
                    rings.append(np.concatenate([points, points[:1]]).tolist())
                name = names[region.label] if region.label < len(names) else str(region.label)
                feature = {
                    "type": "Feature",
                    "properties": {"class": region.label, "name": name, "pixels": region.pixels},
                    "geometry": {"type": "Polygon", "coordinates": rings},
                }
                file.write(("," if count else "") + "\n" + json.dumps(feature, ensure_ascii=False))
                count += 1
            file.write("\n]}\n")
    return f"{path} ({count} polygons, {_described(place, to_wgs84=to_wgs84)})"


def _described(place: Georeference, *, to_wgs84: bool) -> str:
    if to_wgs84:
        return "in longitude and latitude, RFC 7946"
    if place.affine is None:
        return "in pixels of the image, x to the right and y down, because it states no place"
    if place.crs in WGS84:
        return "in longitude and latitude, RFC 7946"
    if crs_member(place.crs) is None:
        return f"in the image's own system ({place.crs or 'without a name'}), which GeoJSON cannot name; see --wgs84"
    return f"in {place.crs}, the image's system, which the member crs names; --wgs84 writes RFC 7946"


def crs_member(crs: str) -> dict[str, Any] | None:
    """Returns the member "crs" of a GeoJSON file, None for longitude and latitude and for systems without a number."""
    number = re.fullmatch(r"EPSG:(\d+)", crs)
    if number is None or crs in WGS84:
        return None
    return {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{number[1]}"}}


def _digits(place: Georeference, *, to_wgs84: bool) -> int:
    """Decimals of coordinates, by the size of a pixel."""
    if to_wgs84:
        return 9  # 0.1 mm
    a, b, _, d, e, _ = place.affine or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    side = math.sqrt(abs(a * e - b * d))
    return max(0, math.ceil(math.log10(PARTS / side)))


def _to_wgs84(labels: Path, place: Georeference) -> Any:
    """A function from pixels to longitude and latitude."""
    rasterio = import_rasterio("--wgs84")
    from rasterio.warp import transform as reproject

    with rasterio.open(str(labels), driver="GTiff") as dataset:
        crs = dataset.crs
    if crs is None or place.affine is None:
        raise DataError(
            f"--wgs84: {labels} states no reference system, so its place is not known; leave --wgs84 out, or write "
            "the system into the image (gdal_edit.py -a_srs EPSG:...)"
        )

    def transform(points: np.ndarray) -> np.ndarray:
        ground = place.on_ground(points)
        x, y = reproject(crs, "OGC:CRS84", ground[:, 0].tolist(), ground[:, 1].tolist())[:2]
        return np.stack([x, y], 1)

    return transform


def _simplified(region: Region, tolerance: float) -> list[np.ndarray]:
    """The rings of a region with fewer corners; holes that vanish are left out, an outline never is."""
    if not tolerance:
        return region.rings
    rings = []
    for number, ring in enumerate(region.rings):
        fewer = cv2.approxPolyDP(ring.astype(np.int32).reshape(-1, 1, 2), tolerance, True).reshape(-1, 2)
        if len(fewer) >= 3 and signed_area(fewer):
            rings.append(fewer)
        elif not number:
            rings.append(ring)
    return rings

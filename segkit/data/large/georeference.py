"""Where the pixels of an image lie on the ground: the affine transformation and the reference system of GeoTIFF.

Specification: OGC GeoTIFF 1.1 (19-008r4); the keys of reference systems are numbers of EPSG.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from segkit.files import DataError, brief

Affine: TypeAlias = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x = a column + b row + c and y = d column + e row + f, at the upper left corner of a pixel."""

TAGS = {
    **{"pixel_scale": (33550, 12), "tiepoints": (33922, 12), "pixel_matrix": (34264, 12)},
    **{"geo_keys": (34735, 3), "geo_doubles": (34736, 12), "geo_text": (34737, 2)},
}
"""Names of the tags that a georeference consists of, with their numbers and types."""

MODEL_TYPE, RASTER_TYPE, CITATION, GEOGRAPHIC, PROJECTED = 1024, 1025, 1026, 2048, 3072
"""Keys of the tag geo_keys."""

PIXEL_IS_POINT, USER_DEFINED = 2, 32767

SAME_PIXEL = 1e-3
"""Pixels by which two images of one place may differ at a corner."""


class Georeference(NamedTuple):
    """Where an image lies.

    Attributes:
        affine: None where the file states none.
        crs: the reference system, "EPSG:32632" where it has such a number, else what the file calls it; "" for none.
        tags: those of TIFF that say so, by name.
    """

    affine: Affine | None = None
    crs: str = ""
    tags: Mapping[str, np.ndarray] = {}

    def on_ground(self, points: np.ndarray) -> np.ndarray:
        """Takes points from the image to the ground.

        Args:
            points: float64 [n,2] of (x, y) in pixels from the upper left corner.

        Returns:
            float64 [n,2] in the units of the reference system; the points themselves without a georeference.
        """
        if self.affine is None:
            return points
        a, b, c, d, e, f = self.affine
        return points @ np.array([[a, d], [b, e]]) + (c, f)

    def in_image(self, points: np.ndarray) -> np.ndarray:
        """Takes points from the ground to the image; the opposite of `on_ground`."""
        if self.affine is None:
            return points
        a, b, c, d, e, f = self.affine
        return (points - (c, f)) @ np.linalg.inv(np.array([[a, d], [b, e]]))


def of_tags(tags: Mapping[str, np.ndarray], path: str | Path) -> Georeference:
    """Reads the georeference of a page of a TIFF.

    Args:
        tags: of the page, by name.
        path: for the error.

    Raises:
        DataError: the tags say something impossible.
    """
    kept = {name: np.array(tags[name]) for name in TAGS if name in tags and len(tags[name])}
    keys = _keys(kept)
    affine = _affine(kept, is_point=keys.get(RASTER_TYPE) == PIXEL_IS_POINT)
    if affine is not None:
        a, b, _, d, e, _ = affine
        if not np.isfinite(affine).all() or abs(a * e - b * d) <= 0:
            raise DataError(
                f"{path}: its georeference {brief(affine)} takes all pixels to one line; write it again, or remove it "
                "(gdal_edit.py -unsetgt)"
            )
    return Georeference(affine, _name(keys, kept), kept)


def _keys(tags: Mapping[str, np.ndarray]) -> dict[int, int]:
    """Keys whose value stands in the key itself."""
    entries = tags.get("geo_keys", np.zeros(0, np.uint16)).tolist()
    rows = [entries[at : at + 4] for at in range(4, len(entries) - 3, 4)]
    return {key: value for key, place, _, value in rows if place == 0}


def _affine(tags: Mapping[str, np.ndarray], *, is_point: bool) -> Affine | None:
    if len(tags.get("pixel_matrix", ())) >= 8:
        a, b, _, c, d, e, _, f = (float(value) for value in tags["pixel_matrix"][:8])
    elif len(tags.get("pixel_scale", ())) >= 2 and len(tags.get("tiepoints", ())) >= 6:
        width, height = (float(value) for value in tags["pixel_scale"][:2])
        column, row, _, x, y, _ = (float(value) for value in tags["tiepoints"][:6])
        a, b, c, d, e, f = width, 0.0, x - column * width, 0.0, -height, y + row * height
    else:
        return None
    if is_point:  # the point is the centre of the pixel, half a pixel from its corner
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return a, b, c, d, e, f


def _name(keys: dict[int, int], tags: Mapping[str, np.ndarray]) -> str:
    for key in (PROJECTED, GEOGRAPHIC):
        if keys.get(key, 0) not in (0, USER_DEFINED):
            return f"EPSG:{keys[key]}"
        if keys.get(key) == USER_DEFINED:
            break
    text = tags.get("geo_text", np.zeros(0, np.uint8)).tobytes().decode("ascii", "replace")
    return text.strip("\0| ")


def tags_of(affine: Affine | None, epsg: int | None, *, is_projected: bool = True) -> dict[str, np.ndarray]:
    """Makes the tags of a georeference.

    Args:
        affine: None for none.
        epsg: number of the reference system, None for none.
        is_projected: whether it is one of metres on a map, or of degrees.
    """
    tags: dict[str, np.ndarray] = {}
    if affine is not None:
        a, b, c, d, e, f = affine
        if b == d == 0 and e < 0 < a:
            tags["pixel_scale"] = np.array([a, -e, 0.0])
            tags["tiepoints"] = np.array([0.0, 0.0, 0.0, c, f, 0.0])
        else:
            tags["pixel_matrix"] = np.array([a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1.0])
    if epsg is not None:
        rows = [(MODEL_TYPE, 1 if is_projected else 2), (RASTER_TYPE, 1)]
        rows.append((PROJECTED if is_projected else GEOGRAPHIC, epsg))
        entries = [1, 1, 0, len(rows)] + [number for key, value in rows for number in (key, 0, 1, value)]
        tags["geo_keys"] = np.array(entries, np.uint16)
    return tags


def differences(one: Georeference, other: Georeference, size: tuple[int, int]) -> str:
    """Says in which way two images of one size lie in different places; "" where they lie in the same.

    What one of them does not state is not compared.

    Args:
        one, other: of the two images.
        size: (H, W) of both in pixels.
    """
    if one.crs and other.crs and one.crs != other.crs:
        return f"it lies in {one.crs}, the image in {other.crs}"
    if one.affine is None or other.affine is None:
        return ""
    height, width = size
    corners = np.array([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]])
    apart = np.abs(one.in_image(other.on_ground(corners)) - corners).max()
    return f"it lies {apart:.6g} pixels beside the image" if not apart <= SAME_PIXEL else ""

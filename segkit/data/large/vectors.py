"""Polygons of GeoJSON files as labels, drawn into one window of an image at a time.

Format: RFC 7946, whose coordinates are longitude and latitude unless the member "crs" of the format's first version
says another reference system. A pixel belongs to a polygon that covers its centre, as in GDAL.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.large.by_rasterio import import_rasterio
from segkit.data.large.georeference import Georeference
from segkit.files import DataError, brief, parse_json, read_bytes
from segkit.registry import did_you_mean

LON_LAT = "EPSG:4326"


class Polygons:
    """The polygons of a GeoJSON file in the pixels of an image, larger ones first.

    Args:
        path: the file.
        place: of the image.
        size: (H, W) of the image.
        key: the property that holds the class.
        class_of: turns its value into a label; raises a DataError for what is no class.
        image: the image's file, for errors.

    Raises:
        DataError: it is no GeoJSON, a polygon has no class, or its place in the image is not known.
    """

    def __init__(
        self,
        path: str | Path,
        place: Georeference,
        size: tuple[int, int],
        *,
        key: str,
        class_of: Callable[[object, str], int],
        image: str,
    ):
        self.path = str(path)
        content = parse_json(read_bytes(path), path)
        features = _features(content, path)
        transform = _to_pixels(_crs(content, path), place, path, image)
        found: list[tuple[float, int, np.ndarray]] = []
        for number, feature in enumerate(features):
            at = f"{path}: features[{number}]"
            rings_of = _polygons(feature, at)
            if rings_of:
                label = class_of(_property(feature, key, at), f"{at}.properties.{key}")
                found += [self._polygon(rings, transform, label, at) for rings in rings_of]
        found.sort(key=lambda polygon: -polygon[0])
        self.labels = [label for _, label, _ in found]
        self._edges = [edges for _, _, edges in found]
        boxes = [(e[:, [0, 2]].min(), e[:, [1, 3]].min(), e[:, [0, 2]].max(), e[:, [1, 3]].max()) for e in self._edges]
        self._boxes = np.array(boxes).reshape(-1, 4)
        inside = (self._boxes[:, 2:] > 0).all(1) & (self._boxes[:, :2] < (size[1], size[0])).all(1)
        self.outside = int((~inside).sum())
        if found and self.outside == len(found):
            raise DataError(
                f"{path}: none of its {len(found)} polygons lies in {image}; check the reference system that the file "
                "states (member crs; without it coordinates are longitude and latitude)"
            )

    def _polygon(
        self, rings: list[list], transform: Callable[[np.ndarray], np.ndarray], label: int, at: str
    ) -> tuple[float, int, np.ndarray]:
        """Area in pixels, label, and float64 [n,4] edges (x0, y0, x1, y1) of all rings."""
        edges, area = [], 0.0
        for number, ring in enumerate(rings):
            try:
                points = np.array([corner[:2] for corner in ring], np.float64)
            except (TypeError, ValueError, OverflowError, IndexError, KeyError) as error:
                raise DataError(f"{at}: {brief(ring)} is no ring [[x, y], ...] of numbers; export it again") from error
            if points.ndim != 2 or len(points) < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise DataError(f"{at}: a ring of {len(ring)} corners, or of no finite numbers; export it again")
            points = transform(points)
            if not np.isfinite(points).all():
                raise DataError(f"{at}: lies where the image's reference system is not defined; check the member crs")
            following = np.roll(points, -1, 0)
            edges.append(np.concatenate([points, following], 1))
            size = abs(float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum() / 2))
            area += size if not number else -size
        return area, label, np.concatenate(edges)

    def draw(self, row0: int, col0: int, h: int, w: int, rest: int) -> np.ndarray:
        """Draws a window.

        Args:
            row0, col0, h, w: of the window in pixels.
            rest: label of pixels outside of all polygons.

        Returns:
            uint8 [h,w]; where polygons overlap, the smaller one counts.
        """
        labels = np.full((h, w), rest, np.uint8)
        low, high = np.array([col0, row0]), np.array([col0 + w, row0 + h])
        touched = (self._boxes[:, 2:] > low).all(1) & (self._boxes[:, :2] < high).all(1)
        for number in np.flatnonzero(touched).tolist():
            labels[is_inside(self._edges[number] - (col0, row0, col0, row0), h, w)] = self.labels[number]
        return labels


def is_inside(edges: np.ndarray, h: int, w: int) -> np.ndarray:
    """Finds the pixels whose centres lie in a polygon, by counting the edges to their left (even-odd rule).

    Args:
        edges: float64 [n,4] of (x0, y0, x1, y1) of all rings, in pixels of the window.
        h, w: of the window.

    Returns:
        bool [h,w].
    """
    x0, y0, x1, y1 = edges.T
    # rows whose centres y + 0.5 lie in [lower end, upper end): an end belongs to one of the two edges that meet there
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, h).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, h).astype(np.int64)
    counts = last - first
    edge = np.repeat(np.arange(len(edges)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    crossing = x0[edge] + (rows + 0.5 - y0[edge]) * slope
    columns = np.clip(np.ceil(crossing - 0.5), 0, w).astype(np.int64)
    crossings = np.bincount(rows * (w + 1) + columns, minlength=h * (w + 1)).reshape(h, w + 1)
    return np.cumsum(crossings[:, :w], axis=1) % 2 == 1


def _features(content: Any, path: str | Path) -> list[dict]:
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise DataError(f"{path}: no FeatureCollection of GeoJSON; export the polygons as GeoJSON (RFC 7946)")
    return features


def _crs(content: dict, path: str | Path) -> str:
    member = content.get("crs")
    if member is None:
        return LON_LAT
    name = (member.get("properties") or {}).get("name") if isinstance(member, dict) else None
    text = str(name)
    if re.search(r"CRS:?84$", text, re.I):
        return LON_LAT
    number = re.search(r"EPSG:+(?:[\d.]*:)?(\d+)$", text, re.I)
    if number is None:
        raise DataError(f"{path}: crs = {brief(name)}: must name a number of EPSG; export it in longitude and latitude")
    return f"EPSG:{number[1]}"


def _to_pixels(crs: str, place: Georeference, path: str | Path, image: str) -> Callable[[np.ndarray], np.ndarray]:
    if place.affine is None or not place.crs:
        lacking = "no place on the ground" if place.affine is None else "no reference system"
        raise DataError(
            f"{image}: states {lacking}, so that the polygons of {path} cannot be placed; write it into the image "
            "(gdal_edit.py -a_srs EPSG:... -a_ullr ...), or export the labels as a TIFF of the image's size"
        )
    if crs == place.crs:
        return place.in_image
    rasterio = import_rasterio(
        f"{path}: its coordinates are in {crs}, those of {image} in {place.crs}: taking them over"
    )
    from rasterio.warp import transform as reproject

    try:
        target = rasterio.crs.CRS.from_user_input(place.crs)
    except rasterio.errors.CRSError as error:
        raise DataError(
            f"{image}: its reference system {brief(place.crs)} is not known; export the polygons in the image's system"
        ) from error

    def transform(points: np.ndarray) -> np.ndarray:
        x, y = reproject(crs, target, points[:, 0].tolist(), points[:, 1].tolist())[:2]
        return place.in_image(np.stack([x, y], 1))

    return transform


def _polygons(feature: dict, at: str) -> list[list[list]]:
    """The rings of each polygon; [] for an empty geometry."""
    geometry = feature.get("geometry")
    if geometry is None:
        return []
    kind, coordinates = (
        (geometry.get("type"), geometry.get("coordinates")) if isinstance(geometry, dict) else ("", None)
    )
    polygons = [coordinates] if kind == "Polygon" else coordinates if kind == "MultiPolygon" else None
    if not isinstance(polygons, list) or not all(
        isinstance(rings, list) and all(isinstance(ring, list) for ring in rings) for rings in polygons
    ):
        raise DataError(f"{at}: geometry {brief(kind)}: must be a Polygon or MultiPolygon; export areas alone")
    return [rings for rings in polygons if rings]


def _property(feature: dict, key: str, at: str) -> object:
    properties = feature.get("properties")
    names = list(properties) if isinstance(properties, Mapping) else []
    if not isinstance(properties, Mapping) or key not in properties:
        raise DataError(
            f"{at}: has no property '{key}', which names the class{did_you_mean(key, map(str, names))}; set "
            f"class_property to one of {', '.join(map(str, names)) or 'its properties'}"
        )
    return properties[key]

"""What an evaluation found in each image, as a file that intervals and comparisons are computed from. N images."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from segkit.analysis.click_table import ClickTable
from segkit.analysis.label_table import LabelTable, RegionTable
from segkit.analysis.match_table import AREAS, MatchTable
from segkit.analysis.regions import BAND_NAMES, SIZE_NAMES
from segkit.files import DataError
from segkit.readers.arrays import read_npz, write_npz

FORMAT = "segkit images 1"
"""First entry of the files, by which they are known."""

Table = LabelTable | ClickTable | MatchTable


@dataclass(frozen=True)
class ImageRecord:
    """What an evaluation found in each image.

    Attributes:
        table: its counts.
        paths: N paths of the images, "" where they are not known.
        bands: int64 [N,bands,3,K] of label maps, as of band_counts; None for others.
        regions: int64 [N,sizes,4] of label maps, as of region_counts; None for others.
    """

    table: Table
    paths: tuple[str, ...]
    bands: np.ndarray | None = None
    regions: np.ndarray | None = None

    def band_tables(self) -> dict[str, LabelTable]:
        """Returns the counts within each band of distance from true outlines, by its name; {} where there are none."""
        if self.bands is None or not isinstance(self.table, LabelTable):
            return {}
        return {name: replace(self.table, counts=self.bands[:, k]) for k, name in enumerate(BAND_NAMES)}

    def region_table(self) -> RegionTable | None:
        """Returns the counts of regions by their size; None where there are none."""
        if self.regions is None:
            return None
        return RegionTable(self.table.images, SIZE_NAMES, self.regions, self.table.strata)


def save(record: ImageRecord, path: Path) -> Path:
    """Writes a record as a .npz file; returns its path."""
    kind = next(name for name, known in KINDS.items() if isinstance(record.table, known.table))
    arrays = {"format": np.array(FORMAT), "kind": np.array(kind), "paths": _as_array(record.paths)}
    for entry in fields(record.table):
        if entry.init:
            arrays[f"table.{entry.name}"] = _as_array(getattr(record.table, entry.name))
    for name, values in (("bands", record.bands), ("regions", record.regions)):
        if values is not None:
            arrays[name] = values
    return write_npz(path, arrays)


def load(path: Path) -> ImageRecord:
    """Reads a record.

    Raises:
        DataError: the file is none, or its parts do not fit one another.
    """
    arrays = read_npz(path)
    if str(arrays.get("format", "")) != FORMAT or str(arrays.get("kind", "")) not in KINDS:
        raise DataError(f"{path}: holds no counts of images; give the *_images.npz that segkit test --intervals writes")
    known = KINDS[str(arrays["kind"])]
    try:
        table = known.read({name.removeprefix("table."): array for name, array in arrays.items()})
        record = ImageRecord(table, _texts(arrays["paths"]), arrays.get("bands"), arrays.get("regions"))
        is_whole = known.fits(table) and _fits(record)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: is damaged ({type(error).__name__}: {error}); test the model again") from error
    if not is_whole:
        raise DataError(f"{path}: its arrays do not fit one another; test the model again")
    return record


@dataclass(frozen=True)
class _Kind:
    """How a table is read, and whether its arrays fit one another."""

    table: type
    read: Callable[[dict[str, np.ndarray]], Any]
    fits: Callable[[Any], bool]


def _as_array(value: Any) -> np.ndarray:
    is_text = isinstance(value, str) or (isinstance(value, tuple) and all(isinstance(entry, str) for entry in value))
    return np.array(value, np.str_) if is_text else np.asarray(value)


def _texts(array: np.ndarray) -> tuple[str, ...]:
    if array.ndim != 1 or (array.size and array.dtype.kind != "U"):
        raise ValueError("text is missing")
    return tuple(str(text) for text in array)


def _labels(arrays: dict[str, np.ndarray]) -> LabelTable:
    names = (_texts(arrays["images"]), _texts(arrays["classes"]))
    counts, kept = arrays["counts"], arrays["kept"]
    if counts.shape != (len(names[0]), 3, len(names[1])) or counts.dtype != np.int64 or (counts < 0).any():
        raise ValueError("the counts are not those of the images and classes")
    return LabelTable(*names, counts, kept.astype(bool), str(arrays["absent"]))


def _clicks(arrays: dict[str, np.ndarray]) -> ClickTable:
    texts = [_texts(arrays[name]) for name in ("images", "strata", "items")]
    thresholds = tuple(float(value) for value in arrays["thresholds"])
    numbers = (arrays["image_of"], arrays["ious"], arrays["areas"])
    return ClickTable(texts[0], texts[1], texts[2], *numbers, thresholds, int(arrays["limit"]))


def _matches(arrays: dict[str, np.ndarray]) -> MatchTable:
    texts = [_texts(arrays[name]) for name in ("images", "strata", "classes")]
    low, high = (int(value) for value in arrays["most"])
    return MatchTable(
        images=texts[0],
        strata=texts[1],
        classes=texts[2],
        ious=arrays["ious"],
        image_of=arrays["image_of"],
        category_of=arrays["category_of"],
        rank=arrays["rank"],
        confidences=arrays["confidences"],
        is_match=arrays["is_match"],
        is_ignored=arrays["is_ignored"],
        objects=arrays["objects"],
        most=(low, high),
    )


def _labels_fit(table: LabelTable) -> bool:
    return table.kept.shape == (len(table.classes),) and table.absent in ("skip", "skip_without_truth", "zero", "one")


def _clicks_fit(table: ClickTable) -> bool:
    count = len(table.items)
    shapes = table.image_of.shape == table.areas.shape == (count,) and table.ious.shape[:1] == (count,)
    return shapes and table.ious.ndim == 2 and _indexes(table.image_of, len(table.images)) and table.limit > 0


def _matches_fit(table: MatchTable) -> bool:
    count, shape = len(table.confidences), (len(AREAS), len(table.ious), len(table.confidences))
    flat = all(values.shape == (count,) for values in (table.image_of, table.category_of, table.rank))
    cubes = table.is_match.shape == table.is_ignored.shape == shape
    is_bool = table.is_match.dtype == table.is_ignored.dtype == np.bool_
    sizes = table.objects.shape == (len(AREAS), len(table.images), len(table.classes))
    indexes = _indexes(table.image_of, len(table.images)) and _indexes(table.category_of, len(table.classes))
    return flat and cubes and is_bool and sizes and indexes


def _indexes(values: np.ndarray, count: int) -> bool:
    return values.dtype == np.int64 and (not len(values) or (values.min() >= 0 and values.max() < count))


def _fits(record: ImageRecord) -> bool:
    count = len(record.table.images)
    is_long = len(record.paths) == len(record.table.strata) == count > 0
    bands = record.bands is None or record.bands.shape[:3] == (count, len(BAND_NAMES), 3)
    regions = record.regions is None or record.regions.shape == (count, len(SIZE_NAMES), 4)
    return is_long and bands and regions


KINDS = {
    "labels": _Kind(LabelTable, _labels, _labels_fit),
    "clicks": _Kind(ClickTable, _clicks, _clicks_fit),
    "instances": _Kind(MatchTable, _matches, _matches_fit),
}
"""Tables by the name that files have for them."""


def matched(first: ImageRecord, second: ImageRecord, names: tuple[str, str]) -> tuple[Any, Any]:
    """Returns the tables of the images that two records share, in the same order.

    Args:
        first, second: records of one kind, with the same classes or limits.
        names: what they are called, for errors.

    Raises:
        DataError: they share fewer than two images, or cannot be compared; the message says why.
    """
    a, b = first.table, second.table
    if type(a) is not type(b):
        raise DataError(f"{names[0]} and {names[1]}: are of different tasks, and have no scores in common")
    for what, one, other in _options(a, b):
        if one != other:
            raise DataError(f"{names[0]} and {names[1]}: {what} differ ({one} and {other}); test both alike")
    place = {name: number for number, name in enumerate(b.images)}
    shared = [number for number, name in enumerate(a.images) if name in place]
    if len(place) < len(b.images) or len(set(a.images)) < len(a.images):
        raise DataError(
            f"{names[0]} and {names[1]}: hold an image twice, so that it cannot be paired; test a set without"
        )
    if len(shared) < 2:
        raise DataError(
            f"{names[0]} and {names[1]}: share {len(shared)} images ({a.images[0]} ... and {b.images[0]} ...); test "
            "both on the same set"
        )
    others = np.array([place[a.images[number]] for number in shared], np.int64)
    return a.take(np.array(shared, np.int64)), b.take(others)


def _options(a: Table, b: Table) -> list[tuple[str, Any, Any]]:
    """What must be the same in both tables, by its name."""
    if isinstance(a, ClickTable) and isinstance(b, ClickTable):
        return [("thresholds", a.thresholds, b.thresholds), ("limits", a.limit, b.limit)]
    if isinstance(a, LabelTable) and isinstance(b, LabelTable):
        kept = (a.kept.tolist(), b.kept.tolist())
        return [
            ("classes", a.classes, b.classes),
            ("left-out classes", *kept),
            ("rules for absent", a.absent, b.absent),
        ]
    assert isinstance(a, MatchTable) and isinstance(b, MatchTable)
    return [("classes", a.classes, b.classes), ("numbers of detections", a.most, b.most)]

"""How often each class occurs in the masks of a data set, and the class weights that follow from it. K classes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from segkit.data.dataset import Dataset
from segkit.data.files.mask_scan import scan
from segkit.files import DataError
from segkit.ops.class_balance import balanced_alpha, effective_number, enet_log, median_frequency
from segkit.registry import LOSSES, ConfigError, did_you_mean
from segkit.schema import CLASS_WEIGHTS


@dataclass(frozen=True)
class ClassStatistics:
    """Counts over all masks of a data set of n images.

    Attributes:
        classes: K names.
        pixels: int64 [K], pixels of each class.
        images: int64 [K], images that hold each class.
        pixels_of_images: int64 [K], all pixels, ignored ones too, of the images that hold each class.
        ignored: pixels without a class.
        images_with_ignored: images that hold such pixels.
        num_images: images with a mask.
        present: for each image of the data set the classes it holds, n arrays int64.
    """

    classes: tuple[str, ...]
    pixels: np.ndarray
    images: np.ndarray
    pixels_of_images: np.ndarray
    ignored: int
    images_with_ignored: int
    num_images: int
    present: list[np.ndarray]

    def pixel_frequency(self) -> np.ndarray:
        """Returns the share of each class in the pixels that have a class, float64 [K]."""
        return self.pixels / max(self.pixels.sum(), 1)

    def image_frequency(self) -> np.ndarray:
        """Returns the share of the images that hold each class, float64 [K]."""
        return self.images / max(self.num_images, 1)

    def weights(self, law: str) -> list[float]:
        """Computes class weights.

        Args:
            law: a name of LAWS.

        Returns:
            K weights, rounded to six digits; 0 for a class that never occurs, except under "enet".
        """
        return [float(f"{weight:.6g}") for weight in LAWS[law](self).tolist()]


LAWS: dict[str, Callable[[ClassStatistics], Tensor]] = {
    "inverse": lambda s: balanced_alpha(s.pixels),
    "median_frequency": lambda s: median_frequency(s.pixels, s.pixels_of_images),
    "enet": lambda s: enet_log(s.pixels),
    "effective_number": lambda s: effective_number(s.pixels),
    "effective_number_images": lambda s: effective_number(s.images),
}
"""Laws of class weights by name; segkit.ops.class_balance has their formulas. "effective_number" counts pixels, as a
loss over pixels does, and "effective_number_images" the images that hold the class."""

SYNONYMS = {"balanced": "inverse"}
"""Other names of laws."""


class CountClasses:
    """Counts the classes of a mask, as rows that a cache file can hold.

    Args:
        num_classes: K.
        ignore: label of pixels without a class.
    """

    def __init__(self, num_classes: int, ignore: int):
        self.num_classes, self.ignore = num_classes, ignore

    def __call__(self, mask: np.ndarray) -> list:
        """Counts one mask.

        Args:
            mask: integer [H,W], or [H,W,K] of overlapping classes.

        Returns:
            [classes present, pixels of each, ignored pixels]: two lists of int and an int.

        Raises:
            DataError: for a label that is neither a class nor `ignore`.
        """
        if mask.ndim == 3:
            count = count_masks(mask, self.num_classes, self.ignore)
            ignored = int((mask == self.ignore).any(axis=2).sum())
        else:
            count = count_labels(mask, self.num_classes, self.ignore)
            ignored = int(mask.size - count.sum())
        present = np.flatnonzero(count)
        return [present.tolist(), count[present].tolist(), ignored]


def count_labels(mask: np.ndarray, num_classes: int, ignore: int) -> np.ndarray:
    """Counts the pixels of each class.

    Args:
        mask: integer [H,W].
        num_classes: K.
        ignore: label that is not counted.

    Returns:
        int64 [K].

    Raises:
        DataError: for a label that is neither a class nor `ignore`, and for masks of other than whole numbers.
    """
    if mask.dtype.kind not in "ui":
        raise DataError(f"{mask.dtype} values; class statistics need masks of whole numbers")
    labels = mask.ravel()
    if mask.dtype.kind == "i" and labels.size and labels.min() < 0:
        labels = labels[labels != ignore]
        if labels.size and labels.min() < 0:
            raise DataError(f"label {labels.min()}, and classes are 0..{num_classes - 1}; map it or ignore it")
    count = np.bincount(labels, minlength=max(num_classes, ignore + 1))
    if 0 <= ignore < len(count):
        count[ignore] = 0
    beyond = np.flatnonzero(count[num_classes:])
    if len(beyond):
        raise DataError(
            f"label {num_classes + beyond[0]}, and classes are 0..{num_classes - 1} and {ignore} is ignored; "
            "map it with label_map, or set ignore"
        )
    return count[:num_classes]


def count_masks(masks: np.ndarray, num_classes: int, ignore: int) -> np.ndarray:
    """Counts the pixels of each class where classes overlap.

    Args:
        masks: integer [H,W,K] of 0, 1 and `ignore`.
        num_classes: K.
        ignore: value of pixels of which it is not known whether they are of a class.

    Returns:
        int64 [K].

    Raises:
        DataError: there is another number of masks, or another value.
    """
    if masks.shape[2] != num_classes:
        raise DataError(f"{masks.shape[2]} masks for {num_classes} classes")
    is_known = (masks == 0) | (masks == 1) | (masks == ignore)
    if not is_known.all():
        raise DataError(f"value {masks[~is_known][0]} in a mask of overlapping classes, which holds 0, 1 and {ignore}")
    return (masks == 1).sum(axis=(0, 1))


def class_statistics(dataset: Dataset, *, workers: int = 0, refresh: bool = False) -> ClassStatistics:
    """Counts the classes of a data set.

    The counts come from a cache file where no label changed since the last pass; see mask_scan.scan.

    Args:
        dataset: a set with class masks.
        workers: processes that read the masks; 0 reads in this one.
        refresh: reads the masks in any case.

    Raises:
        DataError: where the data set has no classes, or a mask cannot be counted.
    """
    num_classes = len(dataset.classes)
    if num_classes == 0:
        raise DataError(f"{type(dataset).__name__} names no classes: there is nothing to count")
    rows = scan(dataset, CountClasses(num_classes, dataset.ignore), "classes", workers=workers, refresh=refresh)
    pixels = np.zeros(num_classes, np.int64)
    images = np.zeros(num_classes, np.int64)
    pixels_of_images = np.zeros(num_classes, np.int64)
    present = []
    for row in rows:
        labels, counts, ignored = row or ([], [], 0)
        labels = np.array(labels, np.int64)
        pixels[labels] += np.array(counts, np.int64)
        images[labels] += 1
        pixels_of_images[labels] += sum(counts) + ignored
        present.append(labels)
    ignored_pixels = [row[2] for row in rows if row]
    return ClassStatistics(
        classes=tuple(dataset.classes),
        pixels=pixels,
        images=images,
        pixels_of_images=pixels_of_images,
        ignored=sum(ignored_pixels),
        images_with_ignored=sum(number > 0 for number in ignored_pixels),
        num_images=len(ignored_pixels),
        present=present,
    )


def asks_for_statistics(rows: list, at: str = "losses") -> bool:
    """Whether a class weight of the losses is the name of a law, so that the masks have to be counted.

    Args:
        rows: the section `losses` of a config.
        at: its config path, for errors.

    Raises:
        ConfigError: for a name that is no law, and for a loss that takes one number there and not one per class.
    """
    named = [(row, path) for row, path in _weights(rows, at) if isinstance(row[path.rpartition(".")[2]], str)]
    for row, path in named:
        _check_law(row, path)
    return bool(named)


def resolve_class_weights(rows: list, dataset: Dataset, at: str = "losses") -> list:
    """Replaces the names of laws in the losses by class weights.

    Losses inside losses (OHEM's) are resolved too. The masks are read only where a name stands in the rows.

    Args:
        rows: the section `losses` of a config.
        dataset: the training set, whose masks are counted.
        at: config path of the rows, for errors.

    Returns:
        The rows with lists of K weights in place of names.

    Raises:
        ConfigError: as `asks_for_statistics`, and for a list of another length than the classes.
        DataError: as `class_statistics`.
    """
    _check_lengths(rows, at, len(dataset.classes))
    if not asks_for_statistics(rows, at):
        return rows
    statistics = class_statistics(dataset)

    def resolved(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: resolved(inner, key) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [resolved(inner) for inner in value]
        return statistics.weights(_law(value)) if name in CLASS_WEIGHTS and isinstance(value, str) else value

    return resolved(rows)


def _weights(value: Any, at: str) -> list[tuple[dict, str]]:
    """Every class_weight and alpha at any depth: the row that holds it and its config path."""
    if isinstance(value, list | tuple):
        return [weight for i, inner in enumerate(value) for weight in _weights(inner, f"{at}.{i}")]
    if not isinstance(value, dict):
        return []
    weights = [(value, f"{at}.{name}") for name in CLASS_WEIGHTS if name in value]
    return weights + [weight for name, inner in value.items() for weight in _weights(inner, f"{at}.{name}")]


def _check_lengths(rows: list, at: str, num_classes: int) -> None:
    """ConfigError for a list of class weights that is no list of one number per class."""
    for row, path in _weights(rows, at):
        value = row[path.rpartition(".")[2]]
        is_single = (
            num_classes == 2 and isinstance(value, list | tuple) and len(value) == 1
        )  # of a model of one channel
        if isinstance(value, list | tuple) and len(value) != num_classes and not is_single:
            raise ConfigError(f"{path}: {len(value)} numbers for {num_classes} classes of the data; give one for each")


def _law(name: str) -> str:
    return SYNONYMS.get(name, name)


def _check_law(row: dict, at: str) -> None:
    """row: a loss of a config; at: the path of its weight, which is a text."""
    name = at.rpartition(".")[2]
    law, known = row[name], [*LAWS, *SYNONYMS]
    if _law(law) not in LAWS:
        raise ConfigError(f"{at} = '{law}': no such law{did_you_mean(law, known)}; available: {', '.join(known)}")
    parameter = inspect.signature(LOSSES.get(row.get("type"), f"{at.rpartition('.')[0]}.type")).parameters.get(name)
    annotation = inspect.Parameter.empty if parameter is None else parameter.annotation
    if annotation is not inspect.Parameter.empty and "list" not in str(annotation):
        raise ConfigError(f"{at} = '{law}': {row['type']} takes one number here, not one per class")

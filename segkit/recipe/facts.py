"""What a recipe is chosen from: the sizes, classes, objects and values of a data set."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

import cv2
import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.image_advice import Advice, advice
from segkit.data.files.image_facts import Collection, facts_of
from segkit.data.files.mask_scan import scan
from segkit.data.formats.common import background_of
from segkit.data.instances.base import InstanceDataset
from segkit.data.interactive.objects import object_areas
from segkit.data.splits.subset import Subset
from segkit.data.statistics import class_statistics
from segkit.files import DataError

Task: TypeAlias = Literal["semantic", "instances", "clicks"]
"""What a model learns: a class for each pixel, objects with masks, or masks from clicks."""

MOST_MASKS = 200
"""Images whose labels are measured, evenly spread."""

MOST_IMAGES = 12
"""Images whose values are looked at, evenly spread."""

LEAST_REGION = 9
"""Pixels below which a connected region is no object, but a slip of a brush."""


@dataclass(frozen=True)
class DataFacts:
    """What a data set holds.

    Args:
        task: what is learned.
        images: number of images by split, "train", "val", "test".
        sizes: (H, W) in pixels of the training images looked at.
        classes: K names.
        pixel_share: share of each class in the pixels that have a class, K numbers; empty where unknown.
        image_share: share of the images that hold each class, K numbers; empty where unknown.
        class_sides: side of the typical object of each class in pixels, the square root of its area: the median over
            connected regions, K numbers, 0 for a class that never occurs. Of objects and clicks one number for all.
        channels: of the images as they are stored.
        is_grey: whether all channels are equal in every image looked at.
        has_masks: whether objects have masks, and not boxes alone.
        reading: keys that the data sets need to read these files rightly, "exif", "nodata", "channels", "scale".
    """

    task: Task
    images: Mapping[str, int]
    sizes: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    pixel_share: tuple[float, ...] = ()
    image_share: tuple[float, ...] = ()
    class_sides: tuple[float, ...] = ()
    channels: int = 3
    is_grey: bool = False
    has_masks: bool = True
    reading: tuple[Advice, ...] = field(default=(), compare=False)

    @property
    def typical_size(self) -> tuple[int, int]:
        """The median height and the median width."""
        height, width = np.median(np.asarray(self.sizes), axis=0)
        return int(height), int(width)

    @property
    def smallest_side(self) -> float:
        """The typical side of the objects of the class with the smallest ones; 0 where nothing is known.

        The background does not count: what is left of it between objects is no object.
        """
        background = background_of(self.classes) if self.task == "semantic" else None
        sides = [side for number, side in enumerate(self.class_sides) if number != background]
        return min((side for side in sides if side > 0), default=0.0)


def measure(task: Task, datasets: Mapping[str, Dataset]) -> DataFacts:
    """Measures data sets; of large ones evenly spread images.

    Args:
        task: what is learned.
        datasets: by split; "train" is measured, the others are counted.

    Raises:
        DataError: a label cannot be read, or no label holds a class.
    """
    train = datasets["train"]
    images = {split: len(dataset) for split, dataset in datasets.items()}
    channels, is_grey, found = _values(train)
    some = train if len(train) <= MOST_MASKS else Subset(train, spread(len(train), MOST_MASKS))
    if task == "semantic":
        sizes, sides = _regions(some)
        statistics = class_statistics(some)
        return DataFacts(
            task,
            images,
            sizes,
            tuple(train.classes),
            tuple(statistics.pixel_frequency().tolist()),
            tuple(statistics.image_frequency().tolist()),
            sides,
            channels,
            is_grey,
            reading=found,
        )
    sizes, sides, has_masks = _objects(train)
    return DataFacts(
        task,
        images,
        sizes,
        tuple(train.classes),
        class_sides=sides,
        channels=channels,
        is_grey=is_grey,
        has_masks=has_masks,
        reading=found,
    )


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` of the numbers 0 to count - 1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


class RegionSides:
    """Measures the connected regions of each class in a mask, as rows that a cache file can hold.

    Args:
        ignore: label of pixels without a class.
    """

    def __init__(self, ignore: int):
        self.ignore = ignore

    def __call__(self, mask: np.ndarray) -> list:
        """Measures one mask.

        Args:
            mask: integer [H,W], or [H,W,K] of overlapping classes.

        Returns:
            [H, W, rows]: a row [class, median side] for each class, regions of a few pixels left out.
        """
        rows = []
        if mask.ndim == 3:
            pieces = [(number, mask[..., number] == 1) for number in range(mask.shape[2])]
        else:
            pieces = [(int(number), mask == number) for number in np.unique(mask) if number != self.ignore]
        for number, region in pieces:
            _, _, table, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
            areas = table[1:, cv2.CC_STAT_AREA]
            areas = areas[areas >= LEAST_REGION]
            if len(areas):
                rows.append([number, round(float(np.median(np.sqrt(areas))), 2)])
        return [mask.shape[0], mask.shape[1], rows]


def _regions(dataset: Dataset) -> tuple[tuple[tuple[int, int], ...], tuple[float, ...]]:
    """Sizes of the masks, and the typical side of each class's regions."""
    rows = [row for row in scan(dataset, RegionSides(dataset.ignore), "region sides") if row]
    sides: list[list[float]] = [[] for _ in dataset.classes]
    for _, _, found in rows:
        for number, side in found:
            if number < len(sides):  # class_statistics says so of the others
                sides[number].append(side)
    typical = tuple(round(float(np.median(values)), 2) if values else 0.0 for values in sides)
    return tuple((height, width) for height, width, _ in rows), typical


def _objects(dataset: Dataset) -> tuple[tuple[tuple[int, int], ...], tuple[float, ...], bool]:
    """Sizes of the images, the typical side of all objects, and whether they have masks."""
    sizes: list[tuple[int, int]] = []
    areas: list[float] = []
    has_masks = True
    rng = np.random.default_rng(0)
    for index in spread(len(dataset), MOST_MASKS // 2):
        sample = dataset.sample(index, rng)
        sizes.append((int(sample["image"].shape[0]), int(sample["image"].shape[1])))
        if not isinstance(_whole(dataset), InstanceDataset):
            areas += object_areas(sample).values()
    if isinstance(dataset, InstanceDataset | Subset) and isinstance(_whole(dataset), InstanceDataset):
        rows = dataset.annotations["annotations"]
        areas = [row["area"] for row in rows if not row.get("iscrowd")]
        has_masks = all(row.get("segmentation") for row in rows)
    if not areas:
        raise DataError(f"{type(dataset).__name__}: none of {len(sizes)} images looked at has an object; check labels")
    return tuple(sizes), (round(float(np.median(np.sqrt(areas))), 2),), has_masks


def _whole(dataset: Dataset) -> Dataset:
    """The data set that a part is of, else the data set itself."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _values(dataset: Dataset) -> tuple[int, bool, tuple[Advice, ...]]:
    """Channels of the files, whether they are grey, and the keys that reading them needs."""
    files, is_grey = Collection(), True
    for index in spread(len(dataset), MOST_IMAGES):
        path = dataset.path(index)
        if os.path.isfile(path):
            with contextlib.suppress(DataError):  # volumes; what cannot be read is named by the check before training
                files.add(facts_of(path))
    found = [item for item in advice(files) if item.is_sure]
    stored = cast(int, next((item.value for item in found if item.key == "channels"), 3))
    channels = stored
    for index in spread(len(dataset), MOST_IMAGES):
        with contextlib.suppress(DataError):
            image = dataset.image(index)
            channels = image.shape[2] if stored == 3 else stored
            is_grey = is_grey and bool((image == image[..., :1]).all())
    return channels, is_grey, tuple(found)


def names_sides(classes: Sequence[str]) -> list[str]:
    """Returns the classes whose names say left or right, which a mirror image would swap."""
    words = ("left", "right")
    return [name for name in classes if any(word in _words(name) for word in words)]


def _words(name: str) -> list[str]:
    """The words of a class's name in lower case: "leftLung", "lung_left" and "left lung" alike."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in name)
    return "".join(letter if letter.isalpha() else " " for letter in spaced).lower().split()

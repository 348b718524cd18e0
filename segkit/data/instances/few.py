"""A few images of a set of instances, to see whether a network can learn them by heart."""

import numpy as np

from segkit.constraints.named import NonNegativeFloat, PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.instances.base import InstanceDataset
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import Sample


@DATASETS.register
class FewInstances(Dataset):
    """The first images of a data set that show a large enough object and not too many objects.

    Smaller objects become crowds: they neither teach nor count in scores.

    Args:
        dataset: the whole data set.
        count: number of images.
        min_area: an image has an object of at least this area in pixels; 1024 is COCO's limit of a medium object.
        max_objects: an image has no more objects.

    Raises:
        DataError: fewer images have such objects.
    """

    parts = {"dataset": DATASETS}

    def __init__(
        self,
        dataset: InstanceDataset,
        count: PositiveInt = 8,
        *,
        min_area: NonNegativeFloat = 1024.0,
        max_objects: PositiveInt = 10,
    ):
        truth = dataset.annotations
        self._areas: dict[str, list[float]] = {str(image["id"]): [] for image in truth["images"]}
        for entry in truth["annotations"]:
            self._areas[str(entry["image_id"])].append(entry["area"])
        kept = [
            index
            for index, name in enumerate(dataset.ids)
            if len(self._areas[name]) <= max_objects and max(self._areas[name], default=0) >= min_area
        ][:count]
        if len(kept) < count:
            raise DataError(
                f"FewInstances.count = {count}: {len(kept)} images have such objects; lower count or min_area"
            )
        self._dataset, self._kept, self._min_area = dataset, kept, min_area
        self.classes, self.palette = dataset.classes, dataset.palette
        self.read_like(dataset)
        self.ids = [dataset.ids[index] for index in kept]
        self.sizes = None if dataset.sizes is None else dataset.sizes[kept]

    def path(self, index: int) -> str:
        return self._dataset.path(self._kept[index])

    def image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 [H,W,3] RGB."""
        return self._dataset.image(self._kept[index])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads the sample of the whole set and marks small objects as crowds."""
        number = self._kept[index]
        sample = self._dataset.sample(number, rng)
        areas = np.array(self._dataset.areas(number), np.float64)
        return Sample(**{**sample, "crowd": sample["crowd"] | (areas < self._min_area)})

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """Ground truth of these images in COCO's format."""
        truth, names = self._dataset.annotations, set(self.ids)
        entries = [entry for entry in truth["annotations"] if str(entry["image_id"]) in names]
        return {
            **truth,
            "images": [image for image in truth["images"] if str(image["id"]) in names],
            "annotations": [
                {**entry, "iscrowd": int(entry["iscrowd"] or entry["area"] < self._min_area)} for entry in entries
            ],
        }

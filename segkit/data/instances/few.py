"""A handful of images of a set of instances, to see whether a network can learn them by heart."""

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.instances.base import Instances
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import Sample


@DATASETS.register
class FewInstances(Dataset):
    """The first `count` images of `dataset` that have an object of `min_area` pixels (1024 is COCO's medium) and at
    most `max_objects` objects. Smaller objects become crowds: they neither teach nor count in scores."""

    parts = {"dataset": DATASETS}

    def __init__(self, dataset: Instances, count: int = 8, *, min_area: float = 1024.0, max_objects: int = 10):
        truth = dataset.annotations
        self._areas: dict[str, list[float]] = {str(image["id"]): [] for image in truth["images"]}
        for one in truth["annotations"]:
            self._areas[str(one["image_id"])].append(one["area"])
        kept = [
            index
            for index, name in enumerate(dataset.ids)
            if len(self._areas[name]) <= max_objects and max(self._areas[name], default=0) >= min_area
        ][:count]
        if len(kept) < count:
            raise DataError(f"FewInstances: {len(kept)} images have such objects; ask for no more, or for smaller ones")
        self._dataset, self._kept, self._least = dataset, kept, min_area
        self.classes, self.palette = dataset.classes, dataset.palette
        self.ids, self.sizes = [dataset.ids[index] for index in kept], dataset.sizes[kept]

    def path(self, index: int) -> str:
        return self._dataset.path(self._kept[index])

    def image(self, index: int) -> np.ndarray:
        """-> uint8 [H,W,3] RGB."""
        return self._dataset.image(self._kept[index])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> the sample of the whole set with small objects marked as crowds."""
        place = self._kept[index]
        sample = self._dataset.sample(place, rng)
        areas = np.array(self._dataset.areas(place), np.float64)
        return Sample(**{**sample, "crowd": sample["crowd"] | (areas < self._least)})

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """The truth of these images in COCO form."""
        truth, names = self._dataset.annotations, set(self.ids)
        entries = [one for one in truth["annotations"] if str(one["image_id"]) in names]
        return {
            **truth,
            "images": [one for one in truth["images"] if str(one["id"]) in names],
            "annotations": [{**one, "iscrowd": int(one["iscrowd"] or one["area"] < self._least)} for one in entries],
        }

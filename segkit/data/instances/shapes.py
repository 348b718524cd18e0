"""The embedded data set as instances: boxes to learn from, masks to be scored by. n objects, H W image."""

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.coco_json import row_of
from segkit.data.semantic.shapes import Shapes
from segkit.registry import DATASETS
from segkit.types import Sample


@DATASETS.register
class ShapesInstances(Dataset):
    """Arguments as of Shapes; classes are its five kinds of objects, labels 0..4.

    boxes_only: samples hold no masks, as those of Instances. `annotations` always have them.
    """

    folder = "shapes"

    def __init__(
        self,
        split: str = "train",
        length: int | None = None,
        *,
        size: tuple[int, int] = (96, 96),
        seed: int = 0,
        cache: bool = False,
        boxes_only: bool = True,
    ):
        self.shapes = Shapes(split, length, size=size, seed=seed, background=False, cache=cache)
        self.ids, self.classes, self.palette = self.shapes.ids, self.shapes.classes, self.shapes.palette
        self.boxes_only = boxes_only
        self.sizes = np.tile(np.array(size, np.int32), (len(self.ids), 1))

    def path(self, index: int) -> str:
        return self.shapes.path(index)

    def image(self, index: int) -> np.ndarray:
        """-> uint8 [H,W,3] RGB."""
        return self.shapes.image(index)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """-> image, meta, boxes float32 [n,4], labels int64 [n], crowd bool [n] and, unless boxes_only, masks uint8
        [n,H,W]. rng is not used."""
        drawn = self.shapes.sample(index)
        keys = ("image", "meta", "boxes", "labels", "crowd", *(() if self.boxes_only else ("masks",)))
        return Sample(**{key: drawn[key] for key in keys})

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """The truth in COCO form, with outlines."""
        height, width = self.shapes.size
        entries = []
        for index, name in enumerate(self.ids):
            drawn = self.shapes.sample(index)
            for mask, label in zip(drawn["masks"], drawn["labels"]):
                entries.append({"image_id": name, "category_id": int(label) + 1, "iscrowd": 0, **row_of(mask)})
        return dict(
            images=[dict(id=name, height=height, width=width) for name in self.ids],
            categories=[dict(id=label, name=name) for label, name in enumerate(self.classes, 1)],
            annotations=[{"id": number, **one} for number, one in enumerate(entries, 1)],
        )

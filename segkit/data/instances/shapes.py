"""The embedded data set Shapes as instances: boxes to learn from, masks to be scored by. n objects, H W image."""

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.files.coco_json import row_of
from segkit.data.semantic.shapes import Shapes
from segkit.registry import DATASETS
from segkit.types import Sample


@DATASETS.register
class ShapesInstances(Dataset):
    """The objects of `Shapes`; classes are its five kinds of objects, labels 0..4.

    Args:
        split: "train", "val" or "test".
        length: number of images; by default that of Shapes.
        size: (H, W) in pixels, each at least 32.
        seed: another seed is another data set.
        cache: keeps drawn images in memory.
        boxes_only: samples hold no masks, as in InstanceDataset. `annotations` always have them.
    """

    folder = "shapes"

    def __init__(
        self,
        split: str = "train",
        length: PositiveInt | None = None,
        *,
        size: tuple[PositiveInt, PositiveInt] = (96, 96),
        seed: NonNegativeInt = 0,
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
        """Draws an image, uint8 [H,W,3] RGB."""
        return self.shapes.image(index)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Draws an item; rng is not used.

        Returns:
            image, meta, boxes float32 [n,4], labels int64 [n], crowd bool [n] and, unless boxes_only, masks uint8
            [n,H,W].
        """
        drawn = self.shapes.sample(index)
        sample = Sample(
            image=drawn["image"],
            meta=drawn["meta"],
            boxes=drawn["boxes"],
            labels=drawn["labels"],
            crowd=drawn["crowd"],
        )
        if not self.boxes_only:
            sample["masks"] = drawn["masks"]
        return sample

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """Ground truth in COCO's format, with outlines."""
        height, width = self.shapes.size
        entries = []
        for index, name in enumerate(self.ids):
            drawn = self.shapes.sample(index)
            for mask, label in zip(drawn["masks"], drawn["labels"]):
                entries.append({"image_id": name, "category_id": int(label) + 1, "iscrowd": 0, **row_of(mask)})
        return dict(
            images=[dict(id=name, height=height, width=width) for name in self.ids],
            categories=[dict(id=label, name=name) for label, name in enumerate(self.classes, 1)],
            annotations=[{"id": number, **entry} for number, entry in enumerate(entries, 1)],
        )

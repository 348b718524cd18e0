"""The objects of the embedded data set Shapes, for training and evaluation with clicks."""

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.semantic.shapes import Shapes
from segkit.registry import DATASETS
from segkit.types import ClickObject, Sample

CLASSES, PALETTE = ("background", "object"), ((0, 0, 0), (230, 159, 0))


@DATASETS.register
class ShapesClicks(Dataset):
    """The objects of `Shapes` as targets of clicks.

    Of split "train" a sample holds all objects of an image (layers, objects and ignored). Of "val" and "test" it is one
    object of an image: object i mod n of image i, as mask.

    Args:
        split: "train", "val" or "test".
        length: number of images; by default that of Shapes.
        size: (H, W) in pixels, each at least 32.
        seed: another seed is another data set.
        cache: keeps drawn images in memory.
    """

    folder, classes, palette, ignore = "shapes", CLASSES, PALETTE, -1

    def __init__(
        self,
        split: str = "train",
        length: PositiveInt | None = None,
        *,
        size: tuple[PositiveInt, PositiveInt] = (96, 96),
        seed: NonNegativeInt = 0,
        cache: bool = False,
    ):
        self.shapes = Shapes(split, length, size=size, seed=seed, cache=cache)
        self.ids = self.shapes.ids
        self.is_training = split == "train"

    def path(self, index: int) -> str:
        return self.shapes.path(index)

    def image(self, index: int) -> np.ndarray:
        """Draws an image, uint8 [H,W,3] RGB."""
        return self.shapes.image(index)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Draws an item; rng is not used.

        Returns:
            image and meta, and in training layers uint8 [H,W,1], objects and ignored, otherwise mask int8 [H,W] of 0
            and 1.
        """
        drawn = self.shapes.sample(index)
        masks, sample = np.asarray(drawn["masks"]), Sample(image=drawn["image"], meta=drawn["meta"])
        if not self.is_training:
            return Sample(**sample, mask=masks[index % len(masks)].astype(np.int8))
        layer = np.zeros(masks.shape[1:], np.uint8)
        for value, mask in enumerate(masks, start=1):
            layer[mask > 0] = value
        objects = {value: ClickObject(0, value) for value in range(1, len(masks) + 1)}
        return Sample(**sample, layers=layer[..., None], objects=objects, ignored=[])

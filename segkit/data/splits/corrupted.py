"""A data set whose images are corrupted as they are read, to measure how robust a model is."""

import zlib
from typing import Annotated

import numpy as np

from segkit.constraints.named import NonNegativeInt, OneOf, Range
from segkit.data.dataset import Dataset
from segkit.data.splits.subset import Subset
from segkit.data.transforms import corruptions, weather
from segkit.data.transforms.base import ImageFacts
from segkit.data.transforms.color_operations import check_range, need_rgb
from segkit.data.transforms.corruptions import Corruption
from segkit.data.transforms.geometry import image_size
from segkit.data.transforms.warps import affine, rotation
from segkit.registry import DATASETS
from segkit.types import Sample

RECOLORING: dict[str, Corruption] = {
    "gaussian_noise": corruptions.gaussian_noise,
    "shot_noise": corruptions.shot_noise,
    "impulse_noise": corruptions.impulse_noise,
    "speckle_noise": corruptions.speckle_noise,
    "gaussian_blur": corruptions.gaussian_blur,
    "defocus_blur": corruptions.defocus_blur,
    "glass_blur": corruptions.glass_blur,
    "motion_blur": corruptions.motion_blur,
    "fog": weather.fog,
    "frost": weather.frost,
    "snow": weather.snow,
    "spatter": weather.spatter,
    "brightness": corruptions.brightness,
    "contrast": corruptions.contrast,
    "saturate": corruptions.saturate,
    "jpeg": corruptions.jpeg,
    "zoom_blur": corruptions.zoom_blur,
    "pixelate": corruptions.pixelate,
}
"""Corruptions that leave labels where they are."""

NEED_RGB = ("frost", "snow", "spatter", "brightness", "saturate", "jpeg")

ROTATION = "rotation"

DEGREES = (5, 10, 15, 20, 30)
"""Of the five strengths of the rotation, to either side."""

NAMES = (*RECOLORING, ROTATION)


@DATASETS.register
class Corrupted(Subset):
    """A data set with corrupted images: noise, blur, weather, digital faults, or rotation.

    In a config: test.dataset = dict(type="Corrupted", dataset=dict(type=...), corruption="fog", strength=3). An image
    gets the same noise in every run, on any number of processes.

    Args:
        dataset: the whole set, of any task; a rotation moves label maps, boxes and masks of samples, but no annotations
            in COCO form.
        corruption: its name; see docs/evaluation.md.
        strength: 1 to 5.
        seed: of the noise.
    """

    parts = {"dataset": DATASETS}

    def __init__(
        self,
        dataset: Dataset,
        corruption: Annotated[str, OneOf(NAMES)],
        strength: Annotated[int, Range(1, 5)] = 3,
        *,
        seed: NonNegativeInt = 0,
    ):
        super().__init__(dataset, np.arange(len(dataset)))
        self.corruption, self.strength, self.seed = corruption, strength, seed
        self.facts = (*self.facts, f"corrupted by {corruption}, strength {strength} of 5")

    def content(self, index: int) -> None:
        """Returns None: no file holds these images."""

    def image(self, index: int) -> np.ndarray:
        """Reads an image and corrupts it."""
        image = self.dataset.image(index)
        return self._changed(Sample(image=image), index)["image"]

    def mask(self, index: int) -> np.ndarray:
        """Reads a label map, rotated where the images are."""
        mask = self.dataset.mask(index)
        if self.corruption != ROTATION or mask.ndim != 2:
            return mask
        blank = np.zeros((*mask.shape, 1), np.uint8)
        return self._changed(Sample(image=blank, mask=mask), index)["mask"]

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads a sample and corrupts its image."""
        return self._changed(self.dataset.sample(index, rng), index)

    def _changed(self, sample: Sample, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, zlib.crc32(self.corruption.encode()), index])
        if self.corruption == ROTATION:
            degrees = DEGREES[self.strength - 1] * (1 if rng.random() < 0.5 else -1)
            return affine(sample, rotation(image_size(sample), degrees), ignore=self.ignore)
        changed = Sample(**sample)
        changed["image"] = corrupted(sample["image"], self.corruption, self.strength, rng)
        return changed


def corrupted(image: np.ndarray, name: str, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a corrupted image of the same shape and dtype.

    Args:
        image: uint8, or float32 of values in 0..255, [H,W,C].
        name: of RECOLORING.
        strength: 1 to 5.
        rng: of the noise.

    Raises:
        ConfigError: the corruption works on colors, and the image has not 3 channels; or values are out of range.
    """
    at = f"Corrupted.corruption = '{name}'"
    if name in NEED_RGB:
        need_rgb(image.shape[2], at, "leave this corruption out")
    if image.dtype != np.uint8:
        check_range(ImageFacts(image.shape[2], False, float(image.min()), float(image.max())), at)
    found = RECOLORING[name](image.astype(np.float32) / np.float32(255), strength, rng)
    levels = 255 * np.clip(found, 0, 1)
    return (np.rint(levels) if image.dtype == np.uint8 else levels).astype(image.dtype)

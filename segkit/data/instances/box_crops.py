"""Crops around boxes, as MAL cuts them: what lies outside of the image comes from its other side.

Lan et al., MAL, CVPR 2023, https://arxiv.org/abs/2301.03992. H W image, h w crop.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from segkit.constraints.named import PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.instances.base import BoxAnnotation, InstanceDataset
from segkit.data.transforms.operations import nearest_index, take
from segkit.files import DataError
from segkit.registry import DATASETS, ConfigError
from segkit.types import Meta, Sample, default_palette

LEAST_AREA, LEAST_SIDE = 2048.0, 2.0
"""Boxes that are not larger teach nothing."""

MARGIN = 0.3
"""Of each side at test, as a share of half the box."""

MOST_MARGIN = 1.2
"""Upper end of the random factor of margins in training."""


def random_margins(rng: np.random.Generator | np.random.RandomState) -> tuple[float, float, float, float]:
    """Draws the margins of a crop in training: left, top, right, bottom, each as a share of half the box.

    Opposite margins share a random number g: u g and u (1 - g), u uniform in 0..1.2 for each side.
    """
    factors = rng.uniform(0, MOST_MARGIN, 4)
    across, down = rng.uniform(size=2)
    shares = (across, down, 1 - across, 1 - down)
    left, top, right, bottom = (float(factor * share) for factor, share in zip(factors, shares))
    return left, top, right, bottom


def extended_box(box: Sequence[float], margins: Sequence[float] = (MARGIN,) * 4) -> tuple[int, int, int, int]:
    """Extends a box by margins to whole pixels.

    Args:
        box: x0, y0, x1, y1 in pixels.
        margins: left, top, right, bottom, as shares of half the box.

    Returns:
        x0, y0, x1, y1, x1 and y1 exclusive; it may reach outside of the image.
    """
    x0, y0, x1, y1 = (float(side) for side in box)
    center_x, center_y, half_w, half_h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    left, top, right, bottom = margins
    return (
        math.floor(center_x - half_w * (1 + left)),
        math.floor(center_y - half_h * (1 + top)),
        math.ceil(center_x + half_w * (1 + right)) + 1,
        math.ceil(center_y + half_h * (1 + bottom)) + 1,
    )


def wrapped_crop(image: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """Crops a rectangle; what lies outside of the image comes from its other side.

    Args:
        image: [H,W,...].
        box: x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive.

    Returns:
        [h,w,...].
    """
    x0, y0, x1, y1 = box
    rows, columns = np.arange(y0, y1) % image.shape[0], np.arange(x0, x1) % image.shape[1]
    return image[rows[:, None], columns]


def box_crop(box: Sequence[float], crop: Sequence[int], size: tuple[int, int], *, is_wrapped: bool) -> np.ndarray:
    """Crops the filled box as a mask: corners lose their fraction, the last pixel is included.

    Args:
        box: x0, y0, x1, y1 in pixels.
        crop: x0, y0, x1, y1 in whole pixels, see extended_box.
        size: (H, W) of the image.
        is_wrapped: as wrapped_crop, else 0 outside of the image.

    Returns:
        uint8 [h,w], 1 inside.
    """
    x0, y0, x1, y1 = (int(side) for side in box)
    inside = []
    for first, last, (start, end), length in ((y0, y1, crop[1::2], size[0]), (x0, x1, crop[::2], size[1])):
        places = np.arange(start, end)
        is_seen = np.ones(len(places), bool) if is_wrapped else (places >= 0) & (places < length)
        places = places % length
        inside.append(is_seen & (places >= first) & (places <= last))
    return (inside[0][:, None] & inside[1]).astype(np.uint8)


def resized_crop(crop: np.ndarray, side: int) -> np.ndarray:
    """Resizes a crop to a square, bicubic with averaging where it shrinks, as PIL does: uint8 [h,w,C] to [side,side,C].

    Float images stay float.
    """
    maps = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]
    resized = F.interpolate(maps, size=(side, side), mode="bicubic", align_corners=False, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


@DATASETS.register
class BoxCrops(Dataset):
    """One sample for each box of a set of instances: the image around it, and the box as a mask. Runner MaskLabelling.

    In a config: dict(type="BoxCrops", dataset=dict(type="COCOInstances", ...)). The crop is the box with random
    margins, resized to a square without regard to its aspect; what lies outside of the image comes from its other side,
    in the mask too. Boxes of at most 2,048 pixels or with a side of at most 2 are left out, as are crowds.

    Args:
        dataset: images and boxes.
        side: of the square in pixels.

    Raises:
        ConfigError: the data set inside is none of instances.
        DataError: no box is large enough.
    """

    parts = {"dataset": DATASETS}
    classes = ("background", "object")
    palette = default_palette(2)

    def __init__(self, dataset: InstanceDataset, side: PositiveInt = 512):
        if not isinstance(dataset, InstanceDataset):
            raise ConfigError(
                f"BoxCrops.dataset: {type(dataset).__name__} says nothing of boxes; use a set of instances such as "
                "COCOInstances"
            )
        self.dataset, self.side = dataset, side
        self.read_like(dataset)
        objects = list(dataset.objects())
        self.objects = [(i, row) for i, row in objects if _teaches(row)]
        if not self.objects:
            raise DataError(
                f"{dataset.mask_path(0)}: BoxCrops needs boxes of more than {LEAST_AREA:.0f} pixels, and none of the "
                f"{len(objects)} boxes of this set has so many"
            )
        if len(self.objects) < len(objects):
            self.notes = (
                f"{len(objects) - len(self.objects)} of {len(objects)} boxes are left out: crowds, and those of "
                f"{LEAST_AREA:.0f} pixels or fewer",
            )
        self.ids = [f"{dataset.ids[i]}_{row.number}" for i, row in self.objects]

    def path(self, index: int) -> str:
        return self.dataset.path(self.objects[index][0])

    def image(self, index: int) -> np.ndarray:
        """Reads the whole image around a box, uint8 or float32 [H,W,3] RGB."""
        return self.dataset.image(self.objects[index][0])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Cuts a crop; rng draws the margins.

        Returns:
            image uint8 [side,side,3], mask uint8 [side,side], 1 inside of the box, and meta, with the box in its image
            and the crop (x0, y0, x1, y1, x1 and y1 exclusive).
        """
        number, row = self.objects[index]
        image, _ = self.dataset.filled(number)
        height, width = image.shape[:2]
        box = (row.x, row.y, row.x + row.w, row.y + row.h)
        crop = extended_box(box, random_margins(rng))
        mask = box_crop(box, crop, (height, width), is_wrapped=True)
        meta = Meta(id=self.ids[index], path=self.path(index), size=(self.side, self.side), box=box, crop=crop)
        return Sample(
            image=resized_crop(wrapped_crop(image, crop), self.side),
            mask=take(mask, *(nearest_index(length, self.side) for length in mask.shape)),
            meta=meta,
        )


def _teaches(row: BoxAnnotation) -> bool:
    return not row.crowd and row.w * row.h > LEAST_AREA and min(row.w, row.h) > LEAST_SIDE

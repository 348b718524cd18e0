"""The embedded data set: textured objects of five classes on textured backgrounds, drawn from a seed.

Color tells nothing, since all surfaces draw theirs from one distribution; and since disks as well as stars are striped
or checked, neither shape nor texture alone tells those four apart. Lengths are shares of an image's short side,
so that pictures look alike at every size.
"""

from copy import copy
from typing import cast

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.semantic.textures import (
    Outline,
    Texture,
    checks,
    clouds,
    disk,
    dots,
    square,
    star,
    stripes,
    turned,
    two_colors,
)
from segkit.data.transforms.geometry import boxes_of
from segkit.files import DataError
from segkit.registry import DATASETS, did_you_mean
from segkit.types import IGNORE, Meta, Sample

OBJECTS: dict[str, tuple[Outline, Texture]] = {
    "striped disk": (disk, stripes),
    "checked disk": (disk, checks),
    "striped star": (star, stripes),
    "checked star": (star, checks),
    "dotted square": (square, dots),
}
"""Outline and texture of each class."""

LENGTHS = {"train": 2000, "val": 200, "test": 200}
"""Images per split where `length` is not given. The position is the second number of each image's seed."""

OBJECTS_PER_IMAGE = (2, 5)
"""Range of the number of objects drawn; those that would cover others too much are left out."""

RADIUS = (0.16, 0.27)
"""Range of the objects' radii, as shares of the image's short side."""

LARGEST_REACH = 1.6
"""No outline reaches farther from its centre, in radii: a star's tips lie at 1.55 and a pixel's half more."""

PERIOD = (0.085, 0.125)
"""Range of the textures' periods, as shares of the image's short side."""

SMALLEST_VISIBLE = 0.75
"""Share of an object that others may not cover: what is left still shows its shape."""


@DATASETS.register
class Shapes(Dataset):
    """Textured objects of 5 classes on textured backgrounds, with exact semantic, instance and box labels.

    An image has 1 to 5 objects, so that few show all classes. Image i depends on (seed, split, i) and size only.

    Args:
        split: "train", "val" or "test"; their images are different.
        length: number of images; None for 2000, 200 and 200.
        size: (H, W) in pixels, each at least 32.
        seed: another seed is another data set.
        instances: whether samples hold boxes, labels, masks and crowd.
        background: whether the background is class 0 and objects are 1..5. Without it objects are 0..4 and the
            background is ignored in the mask, as instance models need it.
        cache: keeps drawn images in memory.

    Raises:
        DataError: for another split, a side below 32 pixels, or a negative seed.
    """

    folder = "shapes"

    def __init__(
        self,
        split: str = "train",
        length: int | None = None,
        *,
        size: tuple[PositiveInt, PositiveInt] = (96, 96),
        seed: NonNegativeInt = 0,
        instances: bool = True,
        background: bool = True,
        cache: bool = False,
    ):
        if split not in LENGTHS:
            raise DataError(
                f"Shapes has no split '{split}'{did_you_mean(split, LENGTHS)}; available: {', '.join(LENGTHS)}"
            )
        if min(size) < 32:
            raise DataError(f"Shapes of size {tuple(size)}: textures need at least 32 pixels a side")
        if seed < 0:
            raise DataError(f"Shapes with seed {seed}: a seed is 0 or larger")
        height, width = size
        self.split, self.length, self.size = split, LENGTHS[split] if length is None else length, (height, width)
        self.seed, self.instances, self.background = seed, instances, background
        self.ids = [f"{split}_{index:06d}" for index in range(self.length)]
        self.classes = (("background",) if background else ()) + tuple(OBJECTS)
        self.palette = PALETTE if background else PALETTE[1:]
        self._cache: dict[int, Sample] | None = {} if cache else None

    def path(self, index: int) -> str:
        return f"Shapes(split='{self.split}', seed={self.seed})[{index}]"

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 [H,W,3] RGB."""
        return self.sample(index)["image"]

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices; without `background` 255 where no object is."""
        return self.sample(index)["mask"]

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Draws one item.

        Args:
            index: the item.
            rng: not used.

        Returns:
            A sample with image uint8 [H,W,3], mask uint8 [H,W] and meta; with `instances` also boxes float32 [n,4],
            labels int64 [n] (indices into `classes`), masks uint8 [n,H,W] (visible parts, disjoint) and crowd bool [n].
        """
        if self._cache is None:
            return self._draw(index)
        if index not in self._cache:
            self._cache[index] = self._draw(index)
        # copies, since transforms may write into what they are given
        return cast(Sample, {key: copy(value) for key, value in self._cache[index].items()})

    def _draw(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, list(LENGTHS).index(self.split), range(len(self))[index]))
        canvas = _ground(self.size, rng)
        labels, visible = _paint_objects(canvas, rng)
        labels += 1 if self.background else 0
        masks = np.stack(visible)
        mask = np.full(self.size, 0 if self.background else IGNORE, np.uint8)
        for label, pixels in zip(labels, masks):
            mask[pixels > 0] = label
        meta = Meta(id=self.ids[index], path=self.path(index), size=self.size)
        sample = Sample(image=_developed(canvas, rng), mask=mask, meta=meta)
        if self.instances:
            sample |= Sample(boxes=boxes_of(masks), labels=labels, masks=masks, crowd=np.zeros(len(labels), bool))
        return sample


PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))
"""Colors that color-blind people tell apart (Okabe and Ito, Color Universal Design, 2008), after black."""


def _colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colors float32 [3] of clearly different brightness; the same distribution for every surface."""
    while True:
        first, second = rng.uniform(20, 235, (2, 3)).astype(np.float32)
        if abs(first.mean() - second.mean()) > 50:
            return first, second


def _ground(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The background, float32 [H,W,3]: clouds of two colors."""
    short = min(size)
    first, second = _colors(rng)
    pattern = clouds(*size, cell=short * rng.uniform(0.12, 0.3), rng=rng)
    return two_colors(pattern, first, second, sharpness=rng.uniform(0.5, 1.5))


def _paint_objects(canvas: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paints up to 5 objects into canvas float32 [H,W,3]. Returns labels int64 [n] in 0..4 and n masks uint8 [H,W].

    A later object lies over the earlier ones; one that would cover too much of another is left out.
    """
    labels: list[int] = []
    masks: list[np.ndarray] = []
    areas: list[int] = []
    short, appearances = min(canvas.shape[:2]), list(OBJECTS.values())
    for label in rng.integers(0, len(appearances), rng.integers(*OBJECTS_PER_IMAGE, endpoint=True)):
        outline, texture = appearances[label]
        radius = short * rng.uniform(*RADIUS)
        center = rng.uniform(0.7 * radius, np.array(canvas.shape[:2]) - 0.7 * radius)
        window, center = _window(canvas.shape, center, LARGEST_REACH * radius)
        view = canvas[window]
        height, width = view.shape[:2]
        v, u = turned(height, width, center, rng.uniform(0, 2 * np.pi))
        distance = outline(v, u, radius)
        inside = np.zeros(canvas.shape[:2], np.uint8)
        inside[window] = distance < 0
        left = [mask * (1 - inside) for mask in masks]
        if any(np.count_nonzero(mask) < SMALLEST_VISIBLE * area for mask, area in zip(left, areas)):
            continue
        v, u = turned(height, width, center, rng.uniform(0, 2 * np.pi))
        pattern = texture(v, u, short * rng.uniform(*PERIOD))
        first, second = _colors(rng)
        surface = two_colors(pattern, first, second, sharpness=2.5)
        # a pixel on the border is mixed by its covered share, as a camera does
        view += np.clip(0.5 - distance, 0, 1)[..., None] * (surface - view)
        masks = [*left, inside]
        labels.append(int(label))
        areas.append(int(np.count_nonzero(inside)))
    return np.array(labels, np.int64), masks


def _window(shape: tuple[int, ...], center: np.ndarray, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """The rows and columns of an image [H,W,...] within `reach` pixels of center (y, x), and the centre in them."""
    first = np.maximum(np.floor(center - reach), 0).astype(int)
    last = np.minimum(np.ceil(center + reach), shape[:2]).astype(int)
    return (slice(first[0], last[0]), slice(first[1], last[1])), center - first


def _developed(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture uint8 [H,W,3] of a canvas float32 [H,W,3]: lit from one side, with a sensor's noise."""
    height, width = canvas.shape[:2]
    v, _ = turned(height, width, (height / 2, width / 2), rng.uniform(0, 2 * np.pi))
    canvas *= (1 + v * np.float32(rng.uniform(0, 0.3) / max(height, width)))[..., None]
    canvas += np.float32(6) * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)

"""The embedded data set: textured objects of five classes on textured grounds, drawn from a seed.

Color tells nothing, since all surfaces draw theirs from one distribution; and since disks as well as stars are striped
or checked, neither shape nor texture alone tells those four apart. Lengths are shares of an image's short side,
so that pictures look alike at every size.
"""

import numpy as np

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
from segkit.files import DataError
from segkit.registry import DATASETS, did_you_mean
from segkit.types import IGNORE, Sample

OBJECTS: dict[str, tuple[Outline, Texture]] = {
    "striped disk": (disk, stripes),
    "checked disk": (disk, checks),
    "striped star": (star, stripes),
    "checked star": (star, checks),
    "dotted square": (square, dots),
}
LENGTHS = {"train": 2000, "val": 200, "test": 200}
"""Images per split where `length` is not given. The position is the second number of each image's seed."""

OBJECTS_PER_IMAGE = (2, 5)
RADIUS = (0.16, 0.27)
LARGEST_REACH = 1.6
"""No outline reaches farther from its centre, in radii: a star's tips lie at 1.55 and a pixel's half more."""
PERIOD = (0.085, 0.125)
SMALLEST_VISIBLE = 0.75
"""Share of an object that others may not cover: what is left still shows its shape."""


@DATASETS.register
class Shapes(Dataset):
    """Textured objects of 5 classes on textured grounds with exact semantic, instance and box labels.

    split: "train", "val" or "test", disjoint streams; length: number of images (2000, 200 and 200 where not given);
    size: (H, W) in pixels, each at least 32; seed: another seed is another data set; instances: whether samples hold
    boxes, labels, masks and crowd; background: whether the ground is class 0 and objects are 1..5; without it objects
    are 0..4 and the ground is ignored in the mask, as instance models want it; cache: keep drawn images in memory.
    One image has 1 to 5 objects, so that few show all classes. Image i depends on (seed, split, i) and size only.
    """

    folder = "shapes"

    def __init__(
        self,
        split: str = "train",
        length: int | None = None,
        *,
        size: tuple[int, int] = (96, 96),
        seed: int = 0,
        instances: bool = True,
        background: bool = True,
        cache: bool = False,
    ):
        if split not in LENGTHS:
            raise DataError(f"Shapes has no split '{split}'{did_you_mean(split, LENGTHS)}; there are {list(LENGTHS)}")
        if min(size) < 32:
            raise DataError(f"Shapes of size {tuple(size)}: textures need at least 32 pixels a side")
        if seed < 0:
            raise DataError(f"Shapes with seed {seed}: a seed is 0 or larger")
        length = LENGTHS[split] if length is None else length
        self.ids = [f"{split}_{index:06d}" for index in range(length)]
        self.split, self.size, self.seed, self.instances = split, tuple(size), seed, instances
        self.ground = 0 if background else IGNORE
        self.first = 1 if background else 0
        self.classes = (("background",) if background else ()) + tuple(OBJECTS)
        self.palette = PALETTE[1 - self.first :]
        self._cache: dict[int, Sample] | None = {} if cache else None

    def path(self, index: int) -> str:
        return f"Shapes(split='{self.split}', seed={self.seed})[{index}]"

    def image(self, index: int) -> np.ndarray:
        """-> uint8 [H,W,3] RGB."""
        return self.sample(index)["image"]

    def mask(self, index: int) -> np.ndarray:
        """-> uint8 [H,W]: class indices; without `background` the ground is 255."""
        return self.sample(index)["mask"]

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """-> image uint8 [H,W,3], mask uint8 [H,W], meta; with `instances` also boxes float32 [n,4], labels int64 [n]
        (indices into `classes`), masks uint8 [n,H,W] (visible parts, disjoint) and crowd bool [n]. rng is not used."""
        if self._cache is None:
            return self._draw(index)
        if index not in self._cache:
            self._cache[index] = self._draw(index)
        # copies, since transforms may write into what they are given
        return Sample({k: v.copy() for k, v in self._cache[index].items()})

    def _draw(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, list(LENGTHS).index(self.split), range(len(self))[index]))
        canvas = _ground(self.size, rng)
        labels, masks = _paint_objects(canvas, rng)
        labels += self.first
        masks, boxes = np.stack(masks), np.stack([_tight_box(mask) for mask in masks])
        mask = np.full(self.size, self.ground, np.uint8)
        for label, visible in zip(labels, masks):
            mask[visible > 0] = label
        meta = dict(id=self.ids[index], path=self.path(index), size=self.size)
        sample = Sample(image=_developed(canvas, rng), mask=mask, meta=meta)
        if self.instances:
            sample |= Sample(boxes=boxes, labels=labels, masks=masks, crowd=np.zeros(len(labels), bool))
        return sample


PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))
"""Colors that color-blind people tell apart (Okabe and Ito, Color Universal Design, 2008), after black."""


def _colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """-> two colors float32 [3] of clearly different brightness; the same distribution for every surface."""
    while True:
        first, second = rng.uniform(20, 235, (2, 3)).astype(np.float32)
        if abs(first.mean() - second.mean()) > 50:
            return first, second


def _ground(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """-> float32 [H,W,3]: clouds of two colors."""
    short = min(size)
    first, second = _colors(rng)
    pattern = clouds(*size, cell=short * rng.uniform(0.12, 0.3), rng=rng)
    return two_colors(pattern, first, second, sharpness=rng.uniform(0.5, 1.5))


def _paint_objects(canvas: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paints up to 5 objects into canvas float32 [H,W,3] -> labels int64 [n] in 0..4, masks n of uint8 [H,W].

    A later object lies over the earlier ones; one that would cover too much of another is left out.
    """
    labels, masks, areas = [], [], []
    short, kinds = min(canvas.shape[:2]), list(OBJECTS.values())
    for label in rng.integers(0, len(kinds), rng.integers(*OBJECTS_PER_IMAGE, endpoint=True)):
        outline, texture = kinds[label]
        radius = short * rng.uniform(*RADIUS)
        center = rng.uniform(0.7 * radius, np.array(canvas.shape[:2]) - 0.7 * radius)
        window, center = _window(canvas.shape, center, LARGEST_REACH * radius)
        part = canvas[window]
        distance = outline(*turned(*part.shape[:2], center, rng.uniform(0, 2 * np.pi)), radius)
        inside = np.zeros(canvas.shape[:2], np.uint8)
        inside[window] = distance < 0
        left = [mask * (1 - inside) for mask in masks]
        if any(np.count_nonzero(mask) < SMALLEST_VISIBLE * area for mask, area in zip(left, areas)):
            continue
        pattern = texture(*turned(*part.shape[:2], center, rng.uniform(0, 2 * np.pi)), short * rng.uniform(*PERIOD))
        surface = two_colors(pattern, *_colors(rng), sharpness=2.5)
        # a pixel on the border is mixed by its covered share, as a camera does
        part += np.clip(0.5 - distance, 0, 1)[..., None] * (surface - part)
        masks = [*left, inside]
        labels.append(label)
        areas.append(np.count_nonzero(inside))
    return np.array(labels, np.int64), masks


def _window(shape: tuple[int, ...], center: np.ndarray, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """-> the part of an image [H,W,...] within `reach` pixels of center (y, x), and the centre as seen in that part."""
    first = np.maximum(np.floor(center - reach), 0).astype(int)
    last = np.minimum(np.ceil(center + reach), shape[:2]).astype(int)
    return (slice(first[0], last[0]), slice(first[1], last[1])), center - first


def _tight_box(mask: np.ndarray) -> np.ndarray:
    """mask: uint8 [H,W] with a pixel set -> float32 [4] x0, y0, x1, y1; x1 and y1 exclusive."""
    x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([x[0], y[0], x[-1] + 1, y[-1] + 1], np.float32)


def _developed(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """canvas: float32 [H,W,3] -> uint8 [H,W,3]: lit from one side, with a sensor's noise."""
    height, width = canvas.shape[:2]
    v, _ = turned(height, width, (height / 2, width / 2), rng.uniform(0, 2 * np.pi))
    canvas *= (1 + v * np.float32(rng.uniform(0, 0.3) / max(height, width)))[..., None]
    canvas += np.float32(6) * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)

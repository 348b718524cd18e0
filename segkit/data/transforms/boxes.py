"""Transforms of instance samples: boxes as masks, boxes around what is left of masks, crops that keep an object. n
objects, H W image."""

from collections.abc import Callable, Sequence

import numpy as np

from segkit.data.transforms.geometry import boxes_of, dense_masks, image_size
from segkit.data.transforms.sizes import apply
from segkit.ops.instances.box_masks import box_masks
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample


@TRANSFORMS.register
class BoxMasks:
    """Sets masks to the filled boxes where the sample has no masks: the one supervision of box-supervised methods.
    Samples have masks where train.dataset.boxes_only = False asks for them: then masks teach.

    Corners are rounded, half to even, and both ends belong to the box (BoxLevelSet and Box2Mask). It stands first in
    the list: the published masks are made at the size of the file, and then resized, flipped and cropped.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """sample: boxes float [n,4] -> the sample with masks uint8 [n,H,W]; rng is not used."""
        if sample.get("boxes") is None or sample.get("masks") is not None:
            return sample
        return Sample(**{**sample, "masks": box_masks(sample["boxes"], image_size(sample))})


@TRANSFORMS.register
class BoxesOfMasks:
    """Sets boxes to the tight ones around the masks, and drops objects whose box is not larger than min_size pixels in
    both directions, as Box2Mask does after its crop. Samples without masks stay as they are."""

    def __init__(self, min_size: float = 1e-5):
        self.min_size = min_size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """sample: masks [n,H,W] or n RLE -> the sample with boxes float32 [n,4]; rng is not used."""
        if sample.get("masks") is None:
            return sample
        masks = dense_masks(sample["masks"], image_size(sample))
        boxes = boxes_of(masks)
        keep = (boxes[:, 2:] - boxes[:, :2] > self.min_size).all(axis=1)
        others = {key: np.asarray(sample[key])[keep] for key in ("labels", "crowd") if sample.get(key) is not None}
        return Sample(**{**sample, **others, "boxes": boxes[keep], "masks": masks[keep]})


@TRANSFORMS.register
class UntilBox:
    """Applies transforms, from the start again and again until an object is left, `tries` times at most: the last
    outcome may have none. The published code takes another image instead of another crop; here the position in the
    stream decides which image it is. A sample without a box is transformed once."""

    parts = {"transforms": TRANSFORMS}

    def __init__(self, transforms: Sequence[Callable], tries: int = 20):
        if tries < 1:
            raise ConfigError(f"UntilBox.tries = {tries}: at least one is needed")
        self.transforms, self.tries = tuple(transforms), tries

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the transformed sample."""
        changed = apply(self.transforms, sample, rng)
        for _ in range(self.tries - 1):
            if not len(sample.get("boxes", ())) or len(changed["boxes"]):
                break
            changed = apply(self.transforms, sample, rng)
        return changed

"""Transforms of instance samples: boxes as masks, boxes around masks, crops that keep an object.

n objects, H W image.
"""

from collections.abc import Callable, Sequence

import numpy as np

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.data.files.object_masks import each_mask
from segkit.data.transforms.base import ImageFacts, Transform, check_all
from segkit.data.transforms.geometry import boxes_of, image_size, kept
from segkit.data.transforms.sizes import apply
from segkit.ops.instances.box_masks import box_masks
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample


@TRANSFORMS.register
class BoxMasks(Transform):
    """Fills the boxes as masks, the one supervision of box-supervised methods.

    Reads boxes and the size of image; sets masks, uint8 [n,H,W], where the sample has none. Samples have masks where
    train.dataset.boxes_only = False asks for them: then masks teach.

    Corners are rounded, half to even, and both ends belong to the box (BoxLevelSet and Box2Mask). It stands first in
    the list: the published masks are made at the size of the file, and then resized, flipped and cropped.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with masks; rng is not used."""
        if sample.get("boxes") is None or sample.get("masks") is not None:
            return sample
        changed = Sample(**sample)
        changed["masks"] = box_masks(sample["boxes"], image_size(sample))
        return changed


@TRANSFORMS.register
class BoxesOfMasks(Transform):
    """Sets boxes to the tight ones around the masks, and drops objects whose box is too small.

    Reads masks, [n,H,W] or n RLE; changes boxes and masks, and drops rows of labels, crowd and mask_quality. Samples
    without masks stay as they are. Box2Mask does this after its crop.

    Args:
        min_size: in pixels; boxes with a side that is not longer are dropped.
    """

    def __init__(self, min_size: PositiveFloat = 1e-5):
        self.min_size = min_size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with boxes float32 [n,4] and masks uint8 [n,H,W] or packed; rng is not used."""
        if sample.get("masks") is None:
            return sample
        masks, size = sample["masks"], image_size(sample)
        if not isinstance(masks, np.ndarray | PackedMasks):
            masks = PackedMasks.of(each_mask(masks, size), size)
        boxes = boxes_of(masks)
        keep = (boxes[:, 2:] - boxes[:, :2] > self.min_size).all(axis=1)
        changed = Sample(**sample)
        changed["boxes"], changed["masks"] = boxes[keep], kept(masks, keep)
        for key in ("labels", "crowd", "mask_quality", "points", "point_labels"):
            if sample.get(key) is not None:
                changed[key] = np.asarray(sample[key])[keep]
        return changed


@TRANSFORMS.register
class UntilBox(Transform):
    """Applies transforms, starting over until an object is left in the image.

    Reads boxes; changes what its transforms change. After `tries` attempts the last outcome is taken, which may hold no
    object. A sample without a box is transformed once. The published code takes another image instead of another crop;
    here the position in the stream decides which image it is.

    Args:
        transforms: applied in order.
        tries: most attempts, at least 1.
    """

    parts = {"transforms": TRANSFORMS}

    def __init__(self, transforms: Sequence[Callable], tries: PositiveInt = 20):
        if tries < 1:
            raise ConfigError(f"UntilBox.tries = {tries}: must be at least 1")
        self.transforms, self.tries = tuple(transforms), tries

    def check(self, images: ImageFacts) -> None:
        check_all(self.transforms, images)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the transformed sample."""
        changed = apply(self.transforms, sample, rng)
        for _ in range(self.tries - 1):
            if not len(sample.get("boxes", ())) or len(changed["boxes"]):
                break
            changed = apply(self.transforms, sample, rng)
        return changed

"""Augmentation of samples to click on: what must hold for a crop to be trained on."""

from collections.abc import Callable, Sequence

import numpy as np

from segkit.data.interactive.objects import histograms, object_areas, only_listed, used_layers, without_objects
from segkit.data.transforms.sizes import apply
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample


@TRANSFORMS.register
class UntilObject:
    """Applies transforms, from the start again and again until an object is in the image. RITM, section 4.1 and its
    published code.

    An outcome without an object is kept with probability keep_background (below 0: always), and after `tries` of them
    (the published code goes on for ever); a sample that holds no object at all is transformed once. Then objects of
    fewer than min_area pixels are taken out, which may leave none; their pixels do not count as background.
    """

    parts = {"transforms": TRANSFORMS}

    def __init__(
        self,
        transforms: Sequence[Callable],
        keep_background: float = 0.05,
        min_area: int = 1000,
        tries: int = 100,
    ):
        if tries < 1:
            raise ConfigError(f"UntilObject.tries = {tries}: at least one is needed")
        self.transforms = tuple(transforms)
        self.keep_background, self.min_area, self.tries = keep_background, min_area, tries

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """sample: image, layers, objects, ignored -> the transformed sample with the objects that are left."""
        sample = used_layers(sample)
        for attempt in range(self.tries):
            changed = apply(self.transforms, sample, rng)
            counts = histograms(changed["layers"])
            areas = object_areas(changed, counts)
            if any(areas.values()) or self._is_kept(rng):
                break
            if attempt == 0 and not any(object_areas(sample).values()):
                break
        # removed after the labels of nothing, so that their own labels stay
        changed = only_listed(changed, counts)
        least = max(self.min_area, 1)
        gone = [number for number, area in areas.items() if area < least]
        return Sample(**{**changed, "objects": without_objects(changed["objects"], gone)})

    def _is_kept(self, rng: np.random.Generator) -> bool:
        return self.keep_background < 0 or rng.random() < self.keep_background

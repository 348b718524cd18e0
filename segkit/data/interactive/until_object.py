"""Repeats an augmentation until an object to click on is in the crop."""

from collections.abc import Callable, Sequence

import numpy as np

from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt
from segkit.data.interactive.objects import histograms, object_areas, only_listed, used_layers, without_objects
from segkit.data.transforms.base import ImageFacts, Transform, check_all
from segkit.data.transforms.sizes import apply
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample


@TRANSFORMS.register
class UntilObject(Transform):
    """Applies transforms to the original sample again and again until the result shows an object.

    Reads layers, objects and ignored, and changes them beside what the transforms change. A sample that holds no
    object at all is transformed once. At the end objects of fewer than `min_area` pixels are removed, which may leave
    none; their pixels do not count as background.

    RITM, section 4.1 and its published code (which goes on without a limit).

    Args:
        transforms: applied in order.
        keep_background: probability of keeping a result without an object; below 0 it is always kept.
        min_area: least pixels of an object in the result.
        max_share: largest share of the result that an object may fill; larger ones are removed as small ones are.
        tries: results at most, 1 or more; the last one is kept in any case.

    Raises:
        ConfigError: `tries` is below 1.
    """

    parts = {"transforms": TRANSFORMS}

    def __init__(
        self,
        transforms: Sequence[Callable[[Sample, np.random.Generator], Sample]],
        keep_background: Fraction = 0.05,
        min_area: NonNegativeInt = 1000,
        tries: PositiveInt = 100,
        *,
        max_share: Fraction = 1.0,
    ):
        if tries < 1:
            raise ConfigError(f"UntilObject.tries = {tries}: must be at least 1")
        self.transforms = tuple(transforms)
        self.keep_background, self.min_area, self.tries = keep_background, min_area, tries
        self.max_share = max_share

    def check(self, images: ImageFacts) -> None:
        check_all(self.transforms, images)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transforms a sample.

        Args:
            sample: with image, layers, objects and ignored.
            rng: source of randomness.

        Returns:
            The transformed sample with the objects that are left.
        """
        sample = used_layers(sample)
        for attempt in range(self.tries):
            changed = apply(self.transforms, sample, rng)
            counts = histograms(changed["layers"])
            areas = object_areas(changed, counts)
            if any(areas.values()) or self._is_kept(rng):
                break
            if attempt == 0 and not any(object_areas(sample).values()):
                break
        # small objects go after unlisted labels, so that their own labels stay in the layers
        changed = only_listed(changed, counts)
        least, height_width = max(self.min_area, 1), changed["layers"].shape[:2]
        most = self.max_share * height_width[0] * height_width[1]
        gone = [object_id for object_id, area in areas.items() if not least <= area <= most]
        return Sample(**{**changed, "objects": without_objects(changed["objects"], gone)})

    def _is_kept(self, rng: np.random.Generator) -> bool:
        return self.keep_background < 0 or rng.random() < self.keep_background

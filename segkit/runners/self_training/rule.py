"""What a labelling is given: the images, and the rule by which pixels keep their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from segkit.constraints.named import Fraction
from segkit.data.dataset import Reading
from segkit.registry import ConfigError


@dataclass(frozen=True)
class Rule:
    """Which pixels keep their label.

    Attributes:
        threshold: least confidence, one for all classes or one for each.
        share: share of each class's pixels, the surest, that are kept; None keeps by `threshold` alone.
        agree: whether all models must give the pixel the same class.
        unseen: whether an image is labelled by those models alone that were not trained on it.
        scores: whether the confidences are written too.
    """

    threshold: float | tuple[float, ...] = 0.0
    share: Fraction | None = None
    agree: bool = False
    unseen: bool = False
    scores: bool = False

    def check(self, classes: Sequence[str], models: int, at: str = "") -> None:
        """Raises a ConfigError where the rule does not fit the classes or the number of models; at: config path."""
        values = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        if isinstance(self.threshold, tuple) and len(values) != len(classes):
            raise ConfigError(
                f"{at}threshold: {len(values)} numbers for {len(classes)} classes ({', '.join(classes[:4])}, ...); "
                "give one for all, or one for each class"
            )
        for name, value in [*(("threshold", value) for value in values), ("share", self.share)]:
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{at}{name} = {value}: must lie between 0 and 1")
        if self.agree and models < 2:
            raise ConfigError("agree: one model agrees with itself; give two checkpoints or more")


class Images(NamedTuple):
    """The images to label.

    Attributes:
        names: of the label files, without suffix.
        paths: of the image files, or names of images that are none.
        read: returns the image of a number, uint8 or float32 [H,W,C].
        reading: how the files are read: channels, exif, nodata, scale, bands.
    """

    names: Sequence[str]
    paths: Sequence[str]
    read: Callable[[int], np.ndarray]
    reading: dict[str, Any]


def reading_of(channels: int, reading: Reading) -> dict[str, Any]:
    """Returns how image files are read, as JSON holds it: NaN, which equals nothing, as text."""
    nodata, scale, bands = reading.nodata, reading.scale, reading.bands
    is_nan = isinstance(nodata, float) and nodata != nodata
    return {
        "channels": channels,
        "exif": reading.exif,
        "nodata": "nan" if is_nan else list(nodata) if isinstance(nodata, tuple) else nodata,
        "scale": None if scale is None else [list(end) if isinstance(end, tuple) else end for end in scale],
        "bands": None if bands is None else list(bands),
    }

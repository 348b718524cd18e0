"""The image sizes that an encoder takes, found by running it on images without content."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from segkit.backbones.timm_create import BUILD_ERRORS
from segkit.registry import ConfigError

Size = tuple[int, int]


@dataclass(frozen=True)
class ImageSizes:
    """The image sizes that an encoder takes.

    Attributes:
        divisor: of which height and width must be multiples.
        largest: the one size that the encoder takes, for encoders built for it; None where the divisor is all.
        tried: a size at which the encoder ran.
    """

    divisor: Size
    largest: Size | None
    tried: Size

    def padding(self, size: Size) -> Size:
        """Returns the rows and columns to add to an image; raises ConfigError where it is too large."""
        height, width = size
        if self.largest and (height > self.largest[0] or width > self.largest[1]):
            raise ConfigError(
                f"backbone: an image of {height} x {width} pixels, but this encoder is built for {self.largest[0]} x "
                f"{self.largest[1]}; set backbone.img_size to the training crop where the encoder has that argument, "
                "and predict in windows of that size (inference.crop)"
            )
        return -height % self.divisor[0], -width % self.divisor[1]


def find_sizes(
    name: str,
    strides: tuple[int, ...],
    built_for: Size,
    run: Callable[[Size], list[Tensor]],
    pad_divisor: int | None = None,
) -> ImageSizes:
    """Finds the smallest divisor of image sizes that an encoder takes.

    A map may be rounded up or down: both stand in published encoders.

    Args:
        name: of the encoder, for errors.
        strides: of its feature maps.
        built_for: (H, W) of the images it is built for.
        run: computes the feature maps of an image of a size.
        pad_divisor: tries this divisor alone.

    Returns:
        The sizes.

    Raises:
        ConfigError: the encoder gives no feature maps of the stated strides at any size tried.
    """
    deepest = max(strides)
    units = (1, strides[0], deepest, 2 * deepest) if pad_divisor is None else (pad_divisor,)
    for unit in dict.fromkeys(units):
        tried = None
        for tried in _probes(unit, deepest):
            found = _rounding(tried, strides, run)
            if found is None:
                break
            if found == "up" and tried[0] % 2:
                return ImageSizes((unit, unit), None, tried)
        else:
            assert tried is not None
            return ImageSizes((unit, unit), None, tried)
    if pad_divisor is not None:
        raise ConfigError(
            f"backbone.pad_divisor = {pad_divisor}: {name} does not take all multiples of it as image size; leave it "
            f"out, or give a multiple of {deepest}"
        )
    if _rounding((2 * built_for[0], 2 * built_for[1]), strides, run) and _rounding(built_for, strides, run):
        return ImageSizes(built_for, None, built_for)
    if _rounding(built_for, strides, run):
        return ImageSizes(built_for, built_for, built_for)
    raise ConfigError(
        f"backbone.name = '{name}': gives no feature maps of its strides {strides}, neither for images of multiples of "
        f"{deepest} pixels nor of {built_for[0]} x {built_for[1]}; take another encoder"
    )


def _probes(unit: int, deepest: int) -> Iterator[Size]:
    """Image sizes that are multiples of a unit and leave each possible remainder at the deeper strides."""
    double = 2 * max(-(-deepest // unit), 1)
    yield unit * (double + 1), unit * (double + double // 2 + 1 + double // 2 % 2)
    step = 2
    while step < double:
        yield unit * (double + step), unit * (double + step // 2)
        step *= 2


def _rounding(size: Size, strides: tuple[int, ...], run: Callable[[Size], list[Tensor]]) -> str | None:
    """ "up" where all maps have their sizes rounded up, "down" where some are rounded down, None where others fit."""
    try:
        shapes = [tuple(feature.shape[-2:]) for feature in run(size)]
    except BUILD_ERRORS:
        return None
    up = [tuple(-(-side // stride) for side in size) for stride in strides]
    if shapes == up:
        return "up"
    pairs = [(found, side, stride) for shape, stride in zip(shapes, strides) for found, side in zip(shape, size)]
    fits = all(side // stride <= found <= -(-side // stride) for found, side, stride in pairs)
    return "down" if fits and len(shapes) == len(strides) else None

"""What a training sees of the images: crops, sizes, augmentation, and how often the rare classes."""

import math
from typing import Any

from segkit.config import ref
from segkit.recipe.bases import Recipe
from segkit.recipe.choice import Choice
from segkit.recipe.facts import DataFacts, names_sides

DIVISOR = 32
"""Sides of crops are multiples of the encoders' stride."""

LEAST_SIDE = 16.0
"""Pixels that the typical object of the smallest class keeps where images are shrunk: two cells of a stride of 8."""

SHRINKS = 0.8
"""Images are shrunk where that saves more than a third of their pixels."""

RARE_IMAGES = 0.1
"""Share of the images below which a class is shown more often."""

RARE_PIXELS = 0.01
"""Share of the pixels below which large images are cropped around a class."""

LARGE_IMAGE = 4
"""Crops that an image holds from which on it is large."""


def crop_of(facts: DataFacts, recipe: Recipe) -> tuple[tuple[int, int], int, str]:
    """Chooses the training crop, and the size that images are shrunk to before.

    Args:
        facts: of the data.
        recipe: limits the crop's pixels.

    Returns:
        (height, width) of the crop; the longer side to which larger images are shrunk, 0 for images as they are; and
        the reason.
    """
    height, width = facts.typical_size
    factor = min(1.0, math.sqrt(recipe.crop_pixels / (height * width)))
    smallest = facts.smallest_side
    if smallest:
        factor = min(1.0, max(factor, LEAST_SIDE / smallest))
    reason = f"images of {width}x{height}"
    long_side = 0
    if factor < SHRINKS:
        long_side = _multiple(max(height, width) * factor, 8)
        factor = long_side / max(height, width)
        height, width = round(height * factor), round(width * factor)
        reason += f", shrunk to {width}x{height}: the smallest class's objects keep {smallest * factor:.0f} pixels"
    crop = _within(height, width, recipe.crop_pixels)
    if crop[0] * crop[1] < 0.7 * height * width:
        reason += f"; a crop holds {recipe.crop_pixels / 1e6:.2f} million pixels at most"
    elif not long_side:
        reason += ", nearly whole"
    return crop, long_side, reason


def _multiple(value: float, divisor: int) -> int:
    return max(divisor, int(value) // divisor * divisor)


def _within(height: int, width: int, most: int) -> tuple[int, int]:
    """The crop of an image: all of it where it fits, else as square as it may be."""
    if height * width <= 1.15 * most:
        return _multiple(height, DIVISOR), _multiple(width, DIVISOR)
    side = _multiple(math.sqrt(most), DIVISOR)
    if height < side:
        return _multiple(height, DIVISOR), _multiple(min(width, most / _multiple(height, DIVISOR)), DIVISOR)
    if width < side:
        return _multiple(min(height, most / _multiple(width, DIVISOR)), DIVISOR), _multiple(width, DIVISOR)
    return side, side


def sampler_of(facts: DataFacts, crop: tuple[int, int], long_side: int) -> list[Choice]:
    """Chooses how rare classes are shown more often; [] for every image once per epoch."""
    if is_focused(facts, crop, long_side):
        rarest = min((i for i in range(len(facts.classes)) if facts.pixel_share[i]), key=lambda i: facts.pixel_share[i])
        name, share = facts.classes[rarest], 100 * facts.pixel_share[rarest]
        reason = f"{name} is {share:.2g} % of the pixels of large images: half of the crops go where a class is"
        return [Choice("train.sampler", dict(type="ClassUniform", fraction=0.5, tile=min(crop)), reason)]
    seldom = [i for i, share in enumerate(facts.image_share) if 0 < share < RARE_IMAGES]
    if not seldom or facts.images["train"] < 2 / RARE_IMAGES:
        return []
    least = min(seldom, key=lambda i: facts.image_share[i])
    reason = f"{facts.classes[least]} is in {100 * facts.image_share[least]:.2g} % of the images"
    return [Choice("train.sampler", dict(type="RepeatFactor", threshold=RARE_IMAGES), reason)]


def is_focused(facts: DataFacts, crop: tuple[int, int], long_side: int) -> bool:
    """Whether crops are drawn around classes: images are many times as large, and a class has few of their pixels."""
    height, width = working_size(facts, long_side)
    is_rare = any(0 < share < RARE_PIXELS for share in facts.pixel_share)
    return is_rare and not long_side and height * width >= LARGE_IMAGE * crop[0] * crop[1]


def working_size(facts: DataFacts, long_side: int) -> tuple[float, float]:
    """Returns the typical (height, width) of the images as the network sees them."""
    height, width = facts.typical_size
    factor = long_side / max(height, width) if long_side else 1.0
    return height * factor, width * factor


def transforms_of(facts: DataFacts, recipe: Recipe, crop: tuple[int, int], long_side: int) -> list[Choice]:
    """The augmentation, and what the images of validation need."""
    if facts.task == "instances":
        return _instance_transforms(facts, recipe)
    shrink: list[dict[str, Any]] = [dict(type="Resize", long=long_side, area=True)] if long_side else []
    low, high = (0.6, 1.6) if facts.task == "semantic" else (0.75, 1.4)
    kind = "FocusCrop" if is_focused(facts, crop, long_side) else "RandomScaleCrop"
    cropping: dict[str, Any] = dict(type=kind, size=ref("crop_size"), low=low, high=high)
    if facts.task == "clicks":
        cropping["centred"] = True
    rows, reasons = [*shrink, cropping], []
    sided = names_sides(facts.classes)
    if sided:
        reasons.append(f"no mirror images: {sided[0]} says its side")
    else:
        rows.append(dict(type="Flip"))
        reasons.append(
            "mirrored left to right: no class's name says its side; not upside down, which the data cannot tell"
        )
    rows.append(photometric(facts))
    if facts.channels == 3 and facts.is_grey:
        reasons.append("brightness and contrast alone: the images are grey, and are read as three equal channels")
    elif facts.channels != 3:
        reasons.append("brightness and contrast alone: no colors")
    if facts.task == "clicks":
        inner = dict(type="UntilObject", keep_background=0.05, min_area=_least_area(facts), transforms=rows)
        rows = [inner, dict(type="SampleClicks")]
    found = [Choice("train.transforms", rows, "; ".join(reasons))]
    if shrink and facts.task == "semantic" and "val" in facts.images:
        found.append(
            Choice("val.transforms", shrink, "as in training; predictions are brought back to the image's size")
        )
    return found


def photometric(facts: DataFacts) -> dict[str, Any]:
    """Returns the change of colors that fits the images' channels."""
    if facts.channels == 3 and not facts.is_grey:
        return dict(type="Photometric")
    return dict(type="Photometric", saturation=(1, 1), hue=0)


def _least_area(facts: DataFacts) -> int:
    """The least area of an object in a crop: a quarter of the typical one, 80 (RITM) to 500 pixels."""
    return int(min(500, max(80, facts.smallest_side**2 / 4)))


def _instance_transforms(facts: DataFacts, recipe: Recipe) -> list[Choice]:
    height, width = facts.typical_size
    factor = min(1.0, math.sqrt(recipe.crop_pixels / (height * width)))
    short = _nearest(min(height, width) * factor)
    long = 2 * short
    sides = tuple(dict.fromkeys(_nearest(short * scale) for scale in (0.8, 0.9, 1.0, 1.1, 1.2)))
    rows: list[dict[str, Any]] = [] if facts.has_masks else [dict(type="BoxMasks")]
    rows.append(dict(type="RandomShortSide", sides=sides, long=long))
    sided = names_sides(facts.classes)
    if not sided:
        rows.append(dict(type="Flip"))
    rows.append(dict(type="Pad", divisor=DIVISOR))
    reason = f"a short side of about {short}" + (f"; no mirror images: {sided[0]} says its side" if sided else "")
    scored = [dict(type="Resize", short=short, long=long), dict(type="Pad", divisor=DIVISOR)]
    found = [Choice("train.transforms", rows, reason)]
    return [*found, Choice("val.transforms", scored, "as in training")] if "val" in facts.images else found


def _nearest(value: float) -> int:
    return max(DIVISOR, round(value / DIVISOR) * DIVISOR)

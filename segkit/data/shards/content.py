"""What the files of a sample mean: images, masks, and what shards.json says of them all."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segkit.data.dataset import Bands, NoData, Reading, ScaleRange, check_reading
from segkit.files import DataError, brief, check_plain
from segkit.types import Color

FORMAT = "segkit shards 1"
TASKS = {"semantic": "Shards", "instances": "ShardInstances", "clicks": "ShardClicks"}
"""Tasks, and the data set that reads the shards of each."""

MASK = "mask.png"
"""Kind of a label map."""

LAYERS = "layers.png"
"""Kind of a grey picture of L planes [H,W], one below the other: overlapping classes, or objects to click on."""

OBJECTS = "json"
"""Kind of the objects of an image."""

IMAGE_WORDS, MASK_WORDS = ("image", "img", "input"), ("mask", "seg", "label", "labels", "target", "annotation")
"""Words of a suffix, such as mask.png, that tell what a file is."""


class Contents(NamedTuple):
    """What shards.json says of the samples; None and defaults where it says nothing.

    Attributes:
        classes: K names.
        palette: K colors.
        ignore: the label that is left out.
        channels: of the images.
        reading: how images are read.
        categories: of instances, in COCO's form.
    """

    classes: tuple[str, ...] | None = None
    palette: tuple[Color, ...] | None = None
    ignore: int = 255
    channels: int = 3
    reading: Reading = Reading()
    categories: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, about: Mapping[str, Any], task: str, source: str) -> "Contents":
        """Reads a list of shards.

        Args:
            about: content of shards.json, empty where there is none.
            task: that the samples must be of.
            source: the first shard, for errors.

        Raises:
            DataError: the shards are of another task, or the list holds something else than it should.
        """
        if not about or about.get("format") != FORMAT:
            return cls()
        check_plain({key: value for key, value in about.items() if key != "shards"}, f"{source}: shards.json")
        stated = about.get("task")
        if stated != task:
            other = TASKS.get(str(stated), "")
            raise DataError(f"{source}: shards of the task {brief(stated)}; read them by type='{other}'")
        reading, palette, categories = (about.get(name) for name in ("reading", "palette", "categories"))
        try:
            stated_reading = dict(reading or {})
            return cls(
                tuple(map(str, about["classes"])),
                None if palette is None else tuple((int(r), int(g), int(b)) for r, g, b in palette),
                int(about.get("ignore", 255)),
                int(about.get("channels", 3)),
                check_reading(
                    bool(stated_reading.get("exif", False)),
                    stated_reading.get("nodata"),
                    stated_reading.get("scale"),
                    stated_reading.get("bands"),
                ),
                tuple(dict(row) for row in categories or ()),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{source}: its shards.json cannot be used ({brief(str(error))}); write it again"
            ) from error

    def need_classes(self, classes: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Returns the names of the classes: those given, else those of the list.

        Raises:
            DataError: there are none.
        """
        if classes is None and self.classes is None:
            raise DataError(f"{source}: no shards.json beside it says which classes there are; give classes=[...]")
        return tuple(classes) if classes is not None else self.classes or ()

    def reading_or(self, exif: bool | None, nodata: NoData, scale: ScaleRange, bands: Bands) -> Reading:
        """Returns how images are read: what is given, else what the list says."""
        stated = self.reading
        return check_reading(
            stated.exif if exif is None else exif,
            stated.nodata if nodata is None else nodata,
            stated.scale if scale is None else scale,
            stated.bands if bands is None else bands,
        )


def image_kinds(
    kinds: Sequence[str], image: str | Sequence[str] | None, mask: str | Sequence[str] | None, suffixes: Sequence[str]
) -> tuple[str, ...]:
    """Returns the kinds of files that are images.

    Args:
        kinds: all that there are.
        image: suffixes that the user names; None to find them out.
        mask: suffixes of masks that the user names.
        suffixes: of image files, with their dots.
    """
    if image is not None:
        return _named(image)
    masks = () if mask is None else _named(mask)
    found = [kind for kind in kinds if kind not in masks and _is_of(kind, IMAGE_WORDS, suffixes)]
    if (
        mask is None
        and not any(_is_of(kind, MASK_WORDS, suffixes, plain=False) for kind in kinds)
        and LAYERS not in kinds
    ):
        others = [kind for kind in found if kind != "png"]
        found = others or found
    return tuple(found)


def mask_kinds(
    kinds: Sequence[str], images: Sequence[str], mask: str | Sequence[str] | None, suffixes: Sequence[str]
) -> tuple[str, ...]:
    """Returns the kinds of files that are masks, see image_kinds; images: kinds of images."""
    if mask is not None:
        return _named(mask)
    others = [kind for kind in kinds if kind not in images]
    found = [kind for kind in others if _is_of(kind, MASK_WORDS, suffixes, plain=False) or kind == LAYERS]
    return tuple(found or [kind for kind in others if kind == "png"])


def _named(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(text.lower().lstrip(".") for text in ([value] if isinstance(value, str) else value))


def _is_of(kind: str, words: Sequence[str], suffixes: Sequence[str], *, plain: bool = True) -> bool:
    """Whether a kind is a word and the suffix of a file, or, if `plain`, such a suffix alone."""
    word, _, last = kind.rpartition(".")
    return f".{last}" in suffixes and (word in words or (plain and not word))


def planes_of(picture: np.ndarray, count: int, name: str) -> np.ndarray:
    """Takes the planes of a picture apart.

    Args:
        picture: [count * H, W].
        count: of planes.
        name: of the file, for the error.

    Returns:
        [H, W, count].

    Raises:
        DataError: the rows are no multiple of the count.
    """
    if not count or picture.shape[0] % count:
        raise DataError(f"{name}: {picture.shape[0]} rows are no {count} planes, one below the other")
    return picture.reshape(count, -1, picture.shape[1]).transpose(1, 2, 0)


def in_planes(planes: np.ndarray) -> np.ndarray:
    """Puts planes [H, W, count] below each other, [count * H, W]."""
    return np.ascontiguousarray(planes.transpose(2, 0, 1)).reshape(-1, planes.shape[1])

"""COCO's panoptic annotations, Kirillov et al., CVPR 2019, https://cocodataset.org/#format-data, for clicks."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import cached_index
from segkit.data.files.images import AS_COLOR, decode, read_bytes
from segkit.data.files.pairs import some
from segkit.data.interactive.base import ClickTraining, Packed, check_share, in_layers
from segkit.data.interactive.coco import Names
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject

LAYOUT = "COCO panoptic expects annotations/panoptic_SPLIT.json, annotations/panoptic_SPLIT/*.png and SPLIT/*.jpg"


def read_ids(path: str | Path) -> np.ndarray:
    """A panoptic PNG -> int32 [H,W]: R + 256 G + 65536 B."""
    picture = decode(read_bytes(path), AS_COLOR, path).astype(np.int32)
    return picture[..., 2] + (picture[..., 1] << 8) + (picture[..., 0] << 16)


def read_panoptic(path: Path) -> tuple[list[dict], dict[int, bool]]:
    """-> (entries of images, category id -> whether it is a thing); DataError where the file is no such one."""
    try:
        content = json.loads(read_bytes(path))
        things = {entry["id"]: bool(entry["isthing"]) for entry in content["categories"]}
        return content["annotations"], things
    except DataError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no panoptic annotations ({error!r}); {LAYOUT}") from error


def records(path: Path) -> Iterator[bytes]:
    """-> per image a line of JSON: name of the PNG, ids of the things that are no crowd, ids of the stuff."""
    entries, things = read_panoptic(path)
    for entry in entries:
        segments = entry.get("segments_info", [])
        unknown = [one["category_id"] for one in segments if one["category_id"] not in things]
        if unknown:
            raise DataError(f"{path}: {entry['file_name']} has category {unknown[0]}, which is not listed")
        own = [one["id"] for one in segments if things[one["category_id"]] and not one.get("iscrowd", 0)]
        stuff = [one["id"] for one in segments if not things[one["category_id"]]]
        yield json.dumps([entry["file_name"], own, stuff]).encode()


@DATASETS.register
class COCOPanopticClicks(ClickTraining):
    """The things of COCO's panoptic annotations, 118,287 train2017 or 5,000 val2017 images.

    Files: annotations/panoptic_<split>.json, annotations/panoptic_<split>/NAME.png, <split>/NAME.jpg. Crowds are
    background. stuff_prob: how often a sample keeps the regions of stuff as objects, which are otherwise background.
    Images that could have no object are left out.
    """

    folder = "coco"

    def __init__(self, root: str | None = None, split: str = "train2017", *, stuff_prob: float = 0.0):
        self.stuff_prob = check_share(stuff_prob, "stuff_prob")
        place = resolve_root(root, self.folder)
        path = place / "annotations" / f"panoptic_{split}.json"
        self._labels, self._images = path.with_suffix(""), place / split
        self._index = cached_index([path], "coco panoptic", partial(records, path))
        rows = [json.loads(record) for record in self._index]
        self._rows = np.array([row for row, (_, own, stuff) in enumerate(rows) if own or (stuff_prob > 0 and stuff)])
        if not len(self._rows):
            raise DataError(f"{path}: no image has an object")
        names = [Path(rows[row][0]).stem for row in self._rows]
        self.ids = Names(np.array(names))
        missing = [name for name in names if not (self._labels / f"{name}.png").is_file()]
        if missing:
            raise DataError(
                f"{self._labels}: {len(missing)} of {len(names)} PNGs are missing: {some(missing)}; {LAYOUT}"
            )

    def path(self, index: int) -> str:
        return str(self._images / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._labels / f"{self.ids[index]}.png")

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the image's objects, by the ids of the file."""
        _, own, stuff = json.loads(self._index[int(self._rows[index])])
        kept = own + stuff if self.stuff_prob > 0 and rng.random() < self.stuff_prob else own
        layers, places = in_layers(read_ids(self.mask_path(index)), kept)
        objects = {one: ClickObject(*place) for one, place in zip(kept, places)}
        return Packed(layers, objects, [])

"""COCO+LVIS: the objects of both data sets with their part hierarchy, packed in layers, for training with clicks.

Sofiiuk, Petrov, Konushin, ICIP 2022, https://arxiv.org/abs/2102.06583, section 5.1; the format is that of the published
annotations.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segkit.constraints.named import Fraction
from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import FlatIndex, LazySequence, cached_index
from segkit.data.files.images import AS_STORED, decode
from segkit.data.files.packed_pickle import load_layers, load_published
from segkit.data.interactive.base import ClickTraining, Packed, check_share
from segkit.files import DataError, brief, inside, parse_json, read_bytes
from segkit.registry import DATASETS
from segkit.types import ClickObject

NO_PARENT, ABSENT = -1, -2
"""Stand for a parent's number: of a root, and of a number that the hierarchy does not list."""


MOST_OBJECTS = 1_000_000
"""Objects of an image at most; the published file has less than 1,000."""


def records(path: Path, allowed: Path | None) -> Iterator[bytes]:
    """Reads hannotation.pickle and yields one record per image, sorted by name.

    Args:
        path: the annotation file.
        allowed: JSON list of the image names to take, None for all.

    Yields:
        Name of the image, a zero byte, and int32 values: how many objects are instances, then the number of each
        instance's parent.

    Raises:
        DataError: a file has another format, or a hierarchy contradicts itself.
    """
    content = load_published(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; expected a dict of images by name")
    names = sorted(content, key=str)
    if allowed is not None:
        wanted = _allowed(allowed)
        names = [name for name in names if name in wanted]
    for name in names:
        inside(path.parent / "images", name, path)
        yield name.encode() + b"\0" + _parents(content[name], f"{path}, image {name}").tobytes()


def _allowed(path: Path) -> set[str]:
    try:
        return {str(name) for name in parse_json(read_bytes(path), path)}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: no JSON list of image names ({error})") from error


def _parents(entry: dict, source: str) -> np.ndarray:
    """Number of instances and the parent of each, int32 [1+n]."""
    try:
        count, hierarchy = int(entry["num_instance_masks"]), entry["hierarchy"]
        if not 0 <= count <= MOST_OBJECTS:
            raise ValueError(f"{count} objects")
        parents = np.full(1 + count, ABSENT, np.int32)
        parents[0] = count
        for number, node in hierarchy.items():
            if not 0 <= number < count:
                raise ValueError(f"object {number} of {count} instances")
            parent = None if node is None else node["parent"]
            parents[1 + number] = NO_PARENT if parent is None else parent
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = brief(error)
        raise DataError(f"{source}: expected num_instance_masks and hierarchy ({reason})") from error
    parent = parents[1:]
    if (parent >= count).any() or (parent[parent[parent >= 0]] == ABSENT).any():
        raise DataError(f"{source}: an object's parent is not in the hierarchy")
    return parents


def _family(parents: np.ndarray) -> dict[int, tuple[int | None, tuple[int, ...]]]:
    """Parent and children of each number that the hierarchy lists; parents: int32 [n]."""
    children: dict[int, list[int]] = {}
    for number in np.flatnonzero(parents >= 0).tolist():
        children.setdefault(int(parents[number]), []).append(number)
    return {
        number: (None if parents[number] < 0 else int(parents[number]), tuple(children.get(number, ())))
        for number in np.flatnonzero(parents != ABSENT).tolist()
    }


class _Ids(LazySequence[str]):
    """Image names, read from the index."""

    def __init__(self, index: FlatIndex):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def item(self, index: int) -> str:
        return self._index[index].partition(b"\0")[0].decode()


@DATASETS.register
class COCOLVISClicks(ClickTraining):
    """COCO+LVIS: about 104,000 images with 1.6 million objects and their part hierarchy.

    Files below root: <split>/images/NAME.jpg, <split>/masks/NAME.pickle and <split>/hannotation.pickle, as published or
    made by `segkit prepare coco_lvis`. The index lies in flat arrays, and of the layers only those are decoded that
    hold an object of the sample.

    Args:
        root: folder of the data set.
        split: "train" or "val".
        stuff_prob: probability that a sample keeps the regions of stuff as objects; otherwise they are background.
        allow_list: name of a JSON file beside the annotations with the image names to take.
        annotations: name of the annotation file.

    Raises:
        DataError: a file is missing or damaged, no image is left, or stuff_prob is no probability.
    """

    folder = "COCO_LVIS"

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        stuff_prob: Fraction = 0.0,
        allow_list: str | None = None,
        annotations: str = "hannotation.pickle",
    ):
        self.stuff_prob = check_share(stuff_prob, "stuff_prob")
        self._root = resolve_root(root, self.folder) / split
        path = self._root / annotations
        listed = None if allow_list is None else self._root / allow_list
        sources = [path] if listed is None else [path, listed]
        self._index = cached_index(sources, "coco lvis hierarchy", partial(records, path, listed))
        self.ids = _Ids(self._index)
        if not len(self.ids):
            raise DataError(f"{path}: no images" + (f" of those in {listed}" if listed else ""))
        for needed in (Path(self.mask_path(0)), Path(self.path(0))):
            if not needed.is_file():
                raise DataError(f"{needed}: missing; unpack masks/ and images/ beside {annotations}")

    def path(self, index: int) -> str:
        return str(self._root / "images" / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._root / "masks" / f"{self.ids[index]}.pickle")

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the image's objects: instances with their hierarchy, and stuff as roots where the sample keeps it."""
        path = self.mask_path(index)
        pictures, slots = load_layers(path)
        parents = np.frombuffer(self._index[index].partition(b"\0")[2], np.int32)
        count = int(parents[0])
        if count > len(slots):
            raise DataError(f"{path}: {len(slots)} objects, but the hierarchy has {count} instances")
        objects = {
            number: ClickObject(*slots[number], parent, children)
            for number, (parent, children) in _family(parents[1:]).items()
        }
        if self.stuff_prob > 0 and rng.random() < self.stuff_prob:
            objects |= {number: ClickObject(*slots[number]) for number in range(count, len(slots))}
        return _decoded(pictures, slots, objects, path)


def _decoded(pictures: list[bytes], slots: list[tuple[int, int]], objects: dict[int, ClickObject], path: str) -> Packed:
    """Decodes the layers that hold one of `objects` and removes everything else from them."""
    used = sorted({item.layer for item in objects.values()})
    new_index = {layer: index for index, layer in enumerate(used)}
    kept = {(item.layer, item.value) for item in objects.values()}
    layers: list[np.ndarray] = []
    for layer in used or [0]:
        values = decode(pictures[layer], AS_STORED, f"{path}, layer {layer}")
        if values.ndim != 2 or values.dtype != np.uint8 or (layers and values.shape != layers[0].shape):
            raise DataError(
                f"{path}, layer {layer}: {values.dtype} array of {values.shape}; layers are grey pictures of one size"
            )
        gone = [slot[1] for slot in slots if slot[0] == layer and slot not in kept]
        if gone:
            table = np.arange(256, dtype=np.uint8)
            table[gone] = 0
            values = cv2.LUT(values, table)
        layers.append(values)
    objects = {number: item._replace(layer=new_index[item.layer]) for number, item in objects.items()}
    # planes one after the other: transforms take them one by one
    planes = np.stack(layers) if len(layers) > 1 else layers[0][None]
    return Packed(planes.transpose(1, 2, 0), objects, [])

"""COCO+LVIS: the objects of both with their hierarchy, packed in layers. Sofiiuk, Petrov, Konushin, ICIP 2022,
https://arxiv.org/abs/2102.06583, section 5.1; the format is that of the published annotations."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import FlatIndex, cached_index
from segkit.data.files.images import AS_STORED, decode
from segkit.data.files.packed_pickle import load_layers, load_published
from segkit.data.interactive.base import ClickTraining, Packed, check_share
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject

NO_PARENT, ABSENT = -1, -2
"""In place of a parent's number: a root, and a number that the hierarchy does not list."""


def records(path: Path, allowed: Path | None) -> Iterator[bytes]:
    """hannotation.pickle -> per image, sorted by name: its name, 0, and int32 values: how many objects are instances,
    then the parent of each instance by number."""
    content = load_published(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not images by their names")
    names = sorted(content)
    if allowed is not None:
        wanted = _allowed(allowed)
        names = [name for name in names if name in wanted]
    for name in names:
        yield str(name).encode() + b"\0" + _parents(content[name], f"{path}, image {name}").tobytes()


def _allowed(path: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no JSON list of image names ({error})") from error


def _parents(entry: dict, place: str) -> np.ndarray:
    """-> int32 [1+n]: number of instances, parents."""
    try:
        count, hierarchy = int(entry["num_instance_masks"]), entry["hierarchy"]
        parents = np.full(1 + count, ABSENT, np.int32)
        parents[0] = count
        for number, node in hierarchy.items():
            if not 0 <= number < count:
                raise ValueError(f"object {number} of {count} instances")
            parent = None if node is None else node["parent"]
            parents[1 + number] = NO_PARENT if parent is None else parent
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place}: expected num_instance_masks and hierarchy ({error!r})") from error
    parent = parents[1:]
    if (parent >= count).any() or (parent[parent[parent >= 0]] == ABSENT).any():
        raise DataError(f"{place}: an object's parent is not in the hierarchy")
    return parents


def _family(parents: np.ndarray) -> dict[int, tuple[int | None, tuple[int, ...]]]:
    """parents: int32 [n] -> {number: (its parent, its children)} of the numbers the hierarchy lists."""
    children: dict[int, list[int]] = {}
    for number in np.flatnonzero(parents >= 0).tolist():
        children.setdefault(int(parents[number]), []).append(number)
    return {
        number: (None if parents[number] < 0 else int(parents[number]), tuple(children.get(number, ())))
        for number in np.flatnonzero(parents != ABSENT).tolist()
    }


class _Ids(Sequence):
    """Image names, read from the index."""

    def __init__(self, index: FlatIndex):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, place: int) -> str:
        return self._index[place].partition(b"\0")[0].decode()


@DATASETS.register
class COCOLVISClicks(ClickTraining):
    """About 104,000 images with 1.6 million objects: root/<split>/images/NAME.jpg, masks/NAME.pickle and
    hannotation.pickle, as published or made by `prepare_data.py coco_lvis`; split "train" or "val".

    stuff_prob: how often a sample keeps the regions of stuff as objects, which are otherwise background.
    allow_list: name of a JSON file beside the annotations with the image names to take.
    The index lies in flat arrays, and of the layers only those are decoded that hold an object of the sample.
    """

    folder = "COCO_LVIS"

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        stuff_prob: float = 0.0,
        allow_list: str | None = None,
        annotations: str = "hannotation.pickle",
    ):
        self.stuff_prob = check_share(stuff_prob, "stuff_prob")
        self._place = resolve_root(root, self.folder) / split
        path = self._place / annotations
        listed = None if allow_list is None else self._place / allow_list
        sources = [path] if listed is None else [path, listed]
        self._index = cached_index(sources, "coco lvis hierarchy", partial(records, path, listed))
        self.ids = _Ids(self._index)
        if not len(self.ids):
            raise DataError(f"{path}: no images" + (f" of those in {listed}" if listed else ""))
        for needed in (Path(self.mask_path(0)), Path(self.path(0))):
            if not needed.is_file():
                raise DataError(f"{needed}: missing; unpack masks/ and images/ beside {annotations}")

    def path(self, index: int) -> str:
        return str(self._place / "images" / f"{self.ids[index]}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._place / "masks" / f"{self.ids[index]}.pickle")

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the image's objects; instances with their hierarchy, stuff as roots where the sample keeps it."""
        path = self.mask_path(index)
        pictures, places = load_layers(path)
        parents = np.frombuffer(self._index[index].partition(b"\0")[2], np.int32)
        count = int(parents[0])
        if count > len(places):
            raise DataError(f"{path}: {len(places)} objects, but the hierarchy has {count} instances")
        objects = {
            number: ClickObject(*places[number], parent, children)
            for number, (parent, children) in _family(parents[1:]).items()
        }
        if self.stuff_prob > 0 and rng.random() < self.stuff_prob:
            objects |= {n: ClickObject(*places[n]) for n in range(count, len(places))}
        return _decoded(pictures, places, objects, path)


def _decoded(
    pictures: list[bytes], places: list[tuple[int, int]], objects: dict[int, ClickObject], path: str
) -> Packed:
    """Decodes the layers that hold one of `objects`, and takes everything else out of them."""
    used = sorted({own.layer for own in objects.values()})
    moved = {layer: place for place, layer in enumerate(used)}
    kept = {(own.layer, own.value) for own in objects.values()}
    layers = []
    for layer in used or [0]:
        values = decode(pictures[layer], AS_STORED, f"{path}, layer {layer}")
        if values.ndim != 2 or values.dtype != np.uint8 or (layers and values.shape != layers[0].shape):
            raise DataError(
                f"{path}, layer {layer}: {values.dtype} array of {values.shape}; layers are grey pictures of one size"
            )
        gone = [value for where, value in places if where == layer and (where, value) not in kept]
        if gone:
            table = np.arange(256, dtype=np.uint8)
            table[gone] = 0
            values = cv2.LUT(values, table)
        layers.append(values)
    objects = {number: own._replace(layer=moved[own.layer]) for number, own in objects.items()}
    # planes one after the other: transforms take them one by one
    planes = np.stack(layers) if len(layers) > 1 else layers[0][None]
    return Packed(planes.transpose(1, 2, 0), objects, [])

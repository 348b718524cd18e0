"""Objects and parts of the full ADE20K for training with clicks.

Zhou et al., IJCV 2019, https://groups.csail.mit.edu/vision/datasets/ADE20K. (The reader ADE20K is for the scene parsing
challenge, which has classes alone.)
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from segkit.constraints.named import Fraction
from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import cached_index
from segkit.data.files.masks import values_of
from segkit.data.files.packed_pickle import load_published
from segkit.data.files.pairs import choose_split
from segkit.data.interactive.base import ClickTraining, Packed, check_share, in_layers
from segkit.data.interactive.grabcut import channels
from segkit.data.interactive.open_images import JsonIds
from segkit.files import DataError, brief, inside
from segkit.registry import DATASETS
from segkit.types import ClickObject


def records(path: Path) -> Iterator[bytes]:
    """Reads the annotation pickle and yields one JSON record per image.

    Yields:
        [name, folder, [[mask file, ids of stuff] per layer]].

    Raises:
        DataError: the file does not hold the folder and layers of every image.
    """
    content = load_published(path)
    try:
        for name, entry in content.items():
            layers = [[str(layer["mask_name"]), list(map(int, layer["stuff_instances"]))] for layer in entry["layers"]]
            if not layers:
                raise ValueError(f"image {name} has no layers")
            for file in (str(name), str(entry["folder"]), *(mask for mask, _ in layers)):
                inside(path.parent, file, path)
            yield json.dumps([str(name), str(entry["folder"]), layers]).encode()
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(f"{path}: expected folder and layers of every image ({brief(error)})") from error


@DATASETS.register
class ADE20KClicks(ClickTraining):
    """Objects and parts of the full ADE20K: 20,210 train or 2,000 val images.

    Files below root: <folder>/NAME.jpg, NAME_seg.png, NAME_parts_1.png ... and
    <split>-annotations-object-segmentation.pkl, made by `segkit prepare ade20k`. A sample has one random layer: the
    objects, or one level of their parts. Instance numbers are the blue channel of the layer's file.

    Args:
        root: folder of the data set.
        split: "train" or "val".
        stuff_prob: probability that a sample keeps instances of stuff classes as objects; otherwise they are
            background.

    Raises:
        DataError: the annotation file is missing, damaged or empty, or an argument is wrong.
    """

    folder = "ADE20K_2016_07_26"

    def __init__(self, root: str | None = None, split: str = "train", *, stuff_prob: Fraction = 0.0):
        choose_split(split, ("train", "val"), "ADE20KClicks")
        self.stuff_prob = check_share(stuff_prob, "stuff_prob")
        self._root = resolve_root(root, self.folder)
        path = self._root / f"{split}-annotations-object-segmentation.pkl"
        if not path.is_file():
            raise DataError(f"{path}: no such file; make it: segkit prepare ade20k")
        self._index = cached_index([path], "ade20k layers", partial(records, path))
        self.ids = JsonIds(self._index)
        if not len(self.ids):
            raise DataError(f"{path}: no images")

    def path(self, index: int) -> str:
        name, folder, _ = json.loads(self._index[index])
        return str(self._root / folder / f"{name}.jpg")

    def mask_path(self, index: int) -> str:
        _, folder, layers = json.loads(self._index[index])
        return str(self._root / folder / layers[0][0])

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the objects of a random layer; their ids, and those of stuff, are the instance numbers of the file."""
        _, folder, layers = json.loads(self._index[index])
        name, stuff = layers[int(rng.integers(len(layers)))]
        path = str(self._root / folder / name)
        labels = channels(path)[:, :, 0]
        keeps_stuff = self.stuff_prob > 0 and rng.random() < self.stuff_prob
        values = [value for value in values_of(labels, path) if keeps_stuff or value not in stuff]
        packed, slots = in_layers(labels, values)
        objects = {value: ClickObject(*slot) for value, slot in zip(values, slots)}
        return Packed(packed, objects, [])

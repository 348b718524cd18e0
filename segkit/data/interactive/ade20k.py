"""Objects and parts of the full ADE20K, Zhou et al., IJCV 2019, https://groups.csail.mit.edu/vision/datasets/ADE20K:
training with clicks. (The reader ADE20K is of the scene parsing challenge, which has classes alone.)"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.flat_index import cached_index
from segkit.data.files.masks import values_of
from segkit.data.files.packed_pickle import load_published
from segkit.data.files.pairs import choose_split
from segkit.data.interactive.base import ClickTraining, Packed, check_share, in_layers
from segkit.data.interactive.grabcut import channels
from segkit.data.interactive.open_images import JsonIds
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject


def records(path: Path) -> Iterator[bytes]:
    """The annotation pickle -> per image: [name, folder, [[mask file, ids of stuff] per layer]] as JSON."""
    content = load_published(path)
    try:
        for name, entry in content.items():
            layers = [[str(layer["mask_name"]), list(map(int, layer["stuff_instances"]))] for layer in entry["layers"]]
            if not layers:
                raise ValueError(f"image {name} has no layers")
            yield json.dumps([str(name), str(entry["folder"]), layers]).encode()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: expected folder and layers of every image ({error!r})") from error


@DATASETS.register
class ADE20KClicks(ClickTraining):
    """20,210 train or 2,000 val images: <folder>/NAME.jpg, NAME_seg.png, NAME_parts_1.png ... and
    <split>-annotations-object-segmentation.pkl, made by `prepare_data.py ade20k`.

    A sample has one random layer, the objects or a level of their parts; instance numbers are the blue channel.
    stuff_prob: how often it keeps instances of stuff classes as objects, which are otherwise background.
    """

    folder = "ADE20K_2016_07_26"

    def __init__(self, root: str | None = None, split: str = "train", *, stuff_prob: float = 0.0):
        choose_split(split, ("train", "val"), "ADE20KClicks")
        self.stuff_prob = check_share(stuff_prob, "stuff_prob")
        self._place = resolve_root(root, self.folder)
        path = self._place / f"{split}-annotations-object-segmentation.pkl"
        if not path.is_file():
            raise DataError(f"{path}: no such file; python tools/prepare_data.py ade20k makes it")
        self._index = cached_index([path], "ade20k layers", partial(records, path))
        self.ids = JsonIds(self._index)
        if not len(self.ids):
            raise DataError(f"{path}: no images")

    def path(self, index: int) -> str:
        name, folder, _ = json.loads(self._index[index])
        return str(self._place / folder / f"{name}.jpg")

    def mask_path(self, index: int) -> str:
        _, folder, layers = json.loads(self._index[index])
        return str(self._place / folder / layers[0][0])

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the objects of a random layer, by their numbers; stuff is told by the same numbers."""
        _, folder, layers = json.loads(self._index[index])
        name, stuff = layers[int(rng.integers(len(layers)))]
        path = str(self._place / folder / name)
        labels = channels(path)[:, :, 0]
        keeps_stuff = self.stuff_prob > 0 and rng.random() < self.stuff_prob
        values = [value for value in values_of(labels, path) if keeps_stuff or value not in stuff]
        packed, places = in_layers(labels, values)
        objects = {v: ClickObject(*place) for v, place in zip(values, places)}
        return Packed(packed, objects, [])

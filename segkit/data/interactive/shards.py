"""Objects to click on in shards: an image, layers of objects and a JSON file of their parts for each sample."""

from collections.abc import Sequence

import numpy as np

from segkit.constraints.named import PositiveFloat
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.masks import read_mask
from segkit.data.interactive.base import ClickTraining, Packed
from segkit.data.shards.cache import ShardCache
from segkit.data.shards.content import LAYERS, OBJECTS, Contents, image_kinds, planes_of
from segkit.data.shards.reader import ShardSet
from segkit.files import DataError, brief, parse_json
from segkit.registry import DATASETS
from segkit.types import ClickObject


@DATASETS.register
class ShardClicks(ClickTraining):
    """Images with objects to click on in shards, as `segkit shard` writes them of a training set for clicks.

    KEY.layers.png holds the layers of the objects below each other, KEY.json which object is where. What the written
    set leaves to chance (stuff that is kept at times) was drawn once.

    Args:
        urls: as for Shards.
        image: suffixes of the images; None for any of an image file.
        skip_damaged: passes over shards that are missing or damaged at the start.
        cache, cache_gb: as for Shards.

    Raises:
        DataError: shards are missing or damaged; of a sample, that its files do not fit each other.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        image: str | Sequence[str] | None = None,
        skip_damaged: bool = False,
        cache: str | None = None,
        cache_gb: PositiveFloat | None = None,
    ):
        self.urls = urls
        self.shards = ShardSet(urls, skip_damaged=skip_damaged, cache=ShardCache(cache, cache_gb))
        contents = Contents.of(self.shards.about, "clicks", self.shards.names[0])
        self.read_by(contents.reading)
        self._image = image_kinds(self.shards.kinds, image, None, IMAGE_SUFFIXES)
        self.ids, self.blocks = self.shards.keys, self.shards.starts
        self.facts = (f"{len(self.shards.names):,} shards, {len(self):,} samples",)
        for kinds in (self._image, (LAYERS,), (OBJECTS,)):
            if self.shards.count(kinds) < len(self):
                wanted = " or ".join(f".{kind}" for kind in kinds) or "image"
                raise DataError(
                    f"{self.shards.names[0]}: {len(self) - self.shards.count(kinds)} of {len(self)} samples have no "
                    f"{wanted}; write shards of a training set for clicks by segkit shard"
                )
        if self.shards.skipped:
            first = self.shards.skipped[0]
            self.notes = (f"{len(self.shards.skipped)} shards are passed over, the first: {first}",)

    def read_ahead(self, indices: Sequence[int]) -> None:
        self.shards.read_ahead(indices)

    def path(self, index: int) -> str:
        return self.shards.name(index, self.shards.kind_of(index, self._image))

    def mask_path(self, index: int) -> str:
        return self.shards.name(index, LAYERS)

    def content(self, index: int) -> bytes:
        """Returns the bytes of the image file."""
        return self.shards.need(index, self._image).content

    def stored(self, index: int) -> np.ndarray:
        """Reads an image as it is stored, uint8 or float32 [H,W,3]."""
        file = self.shards.need(index, self._image)
        return read_image(file.name, **self.reading._asdict(), content=file.content)

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the objects of an image; rng is not used."""
        name, content = self.shards.need(index, (OBJECTS,))
        about = parse_json(content, name)
        try:
            count = int(about["layers"])
            objects = {
                int(key): ClickObject(int(layer), int(value), parent, tuple(map(int, children)))
                for key, (layer, value, parent, children) in about["objects"].items()
            }
            ignored = [(int(layer), int(value)) for layer, value in about["ignored"]]
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DataError(f"{name}: {brief(about)} is no list of objects; write the shard again") from error
        slots = [*(item[:2] for item in objects.values()), *ignored]
        if not all(0 <= layer < count and 0 < value < 256 for layer, value in slots):
            raise DataError(f"{name}: an object beyond its {count} layers; write the shard again")
        parents = [item.parent for item in objects.values() if item.parent is not None]
        if not all(isinstance(parent, int) and parent in objects for parent in parents):
            raise DataError(f"{name}: an object is part of one that is not there; write the shard again")
        file = self.shards.need(index, (LAYERS,))
        layers = read_mask(file.name, content=file.content)
        if layers.dtype != np.uint8:
            raise DataError(f"{file.name}: layers of {layers.dtype}; they have 8 bits")
        return Packed(planes_of(layers, count, file.name), objects, ignored)

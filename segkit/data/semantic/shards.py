"""Images and masks in shards, tar files in WebDataset's form, on this disk or anywhere else."""

import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.data.dataset import Bands, Dataset, NoData, ScaleRange
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.labels import LabelError, LabelTable
from segkit.data.files.masks import MASK_SUFFIXES, read_mask
from segkit.data.semantic.folder import as_palette
from segkit.data.shards.cache import ShardCache
from segkit.data.shards.content import LAYERS, Contents, image_kinds, mask_kinds, planes_of
from segkit.data.shards.reader import ShardSet
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import IGNORE, Sample, default_palette

NEXT_SAMPLES, NEXT_SHARDS = 4, 16
"""Samples of the same shard, and first samples of the following shards, that may stand in for a damaged one."""


@DATASETS.register
class Shards(Dataset):
    """Images and masks in shards: tar files with KEY.jpg and KEY.png or KEY.mask.png for each sample, as WebDataset has
    them and `segkit shard` writes them.

    A sample is read by one seek, so that every sampler, exact resume and an epoch in which each image comes once hold
    as they do for folders. Shards elsewhere (s3://, gs://, https://) are copied here when they are first read.

    Args:
        urls: a shard, a folder of shards, a list shards.json, or several; "a-{000..127}.tar" counts.
        classes: K names; None for those of shards.json.
        image: suffixes of the images; None for any of an image file.
        mask: suffixes of the masks; None for "mask.png" and the like, else "png" beside images of another suffix.
        palette: K colors (r, g, b) or "#rrggbb"; None for those of shards.json, or the default ones.
        label_map: {raw label: class index, class name or "ignore"}; labels it does not name stay as they are.
        reduce_zero_label: label 0 is ignored, n becomes class n - 1.
        ignore: raw label(s) left out, None for none.
        channels: of the images; None for those of shards.json, or 3.
        unlabelled: takes samples without a mask, which otherwise are an error.
        skip_damaged: passes over shards that are missing or damaged at the start. What breaks later is replaced by the
            sample after it; both are told once.
        exif, nodata, scale, bands: as for Folder; None for what shards.json says.
        cache: folder of the copies of shards that lie elsewhere; None for $SEGKIT_CACHE/shards.
        cache_gb: of these copies at most, 10^9 bytes; the ones not used for the longest time make room.

    Raises:
        DataError: shards are missing, damaged or hold no image, or no classes are given.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        classes: Sequence[str] | None = None,
        *,
        image: str | Sequence[str] | None = None,
        mask: str | Sequence[str] | None = None,
        palette: Sequence[Sequence[int] | str] | None = None,
        label_map: Mapping | None = None,
        reduce_zero_label: bool = False,
        ignore: int | Iterable[int] | None = IGNORE,
        channels: PositiveInt | None = None,
        unlabelled: bool = False,
        skip_damaged: bool = False,
        exif: bool | None = None,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
        cache: str | None = None,
        cache_gb: PositiveFloat | None = None,
    ):
        self.urls, self.skip_damaged = urls, skip_damaged
        self.shards = ShardSet(urls, skip_damaged=skip_damaged, cache=ShardCache(cache, cache_gb))
        contents = Contents.of(self.shards.about, "semantic", self.shards.names[0])
        self.classes = contents.need_classes(classes, self.shards.names[0])
        colors = contents.palette if palette is None else palette
        self.palette = default_palette(len(self.classes)) if colors is None else as_palette(colors, len(self.classes))
        self.read_by(contents.reading_or(exif, nodata, scale, bands))
        stated = contents.channels if channels is None else channels
        self.channels = stated if self.bands is None else len(self.bands)
        self.label_table = LabelTable(
            self.classes, label_map=label_map, reduce_zero_label=reduce_zero_label, ignore=ignore
        )
        self._image = image_kinds(self.shards.kinds, image, mask, IMAGE_SUFFIXES)
        self._mask = mask_kinds(self.shards.kinds, self._image, mask, MASK_SUFFIXES)
        self.ids = self.shards.keys
        self._need_files(unlabelled=unlabelled)
        self.blocks = self.shards.starts
        self.facts = (f"{len(self.shards.names):,} shards, {len(self):,} samples",)
        if self.shards.skipped:
            self.notes = (f"{len(self.shards.skipped)} shards are passed over, the first: {self.shards.skipped[0]}",)
        self._cache: set[int] = set()

    def read_ahead(self, indices: Sequence[int]) -> None:
        self.shards.read_ahead(indices)

    def _need_files(self, *, unlabelled: bool) -> None:
        """DataError where samples lack an image, or a mask that they shall have."""
        where, total = self.shards.names[0], len(self)
        for count, kinds, what in (
            (self.shards.count(self._image), self._image, "image"),
            (self.shards.count(self._mask), self._mask, "mask"),
        ):
            if count < total and not (unlabelled and what == "mask"):
                there = ", ".join(f".{kind}" for kind in self.shards.kinds[:8]) or "none"
                looked = ", ".join(f".{kind}" for kind in kinds) or "none"
                way_out = ", or set unlabelled=True to take them" if what == "mask" else ""
                raise DataError(
                    f"{where}: {total - count} of {total} samples have no {what} (suffixes: {there}; taken for "
                    f"{what}s: {looked}); name its suffix by {what}='...'{way_out}"
                )

    def path(self, index: int) -> str:
        return self.shards.name(index, self.shards.kind_of(index, self._image))

    def mask_path(self, index: int) -> str:
        return self.shards.name(index, self.shards.kind_of(index, self._mask or self._image))

    def has_mask(self, index: int) -> bool:
        return self.shards.kind_of(index, self._mask) is not None

    def count_masks(self) -> int:
        return self.shards.count(self._mask)

    def content(self, index: int) -> bytes:
        """Returns the bytes of the image file."""
        return self.shards.need(index, self._image).content

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 or float32 [H,W,channels]; see read_image."""
        file = self.shards.need(index, self._image)
        return read_image(file.name, self.channels, **self.reading._asdict(), content=file.content)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices and IGNORE; of overlapping classes [H,W,K].

        Args:
            index: the item.

        Raises:
            DataError: where the sample has no mask, or its mask cannot be used.
        """
        file = self.shards.need(index, self._mask)
        raw = read_mask(file.name, self.label_table.color_remedy, content=file.content)
        if file.name.endswith(f".{LAYERS}"):
            return planes_of(raw, len(self.classes), file.name)
        return self.label_table.apply(raw, file.name)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads one item, see Dataset.sample; with skip_damaged the next one that can be read where it is damaged."""
        if not self.skip_damaged:
            return super().sample(index, rng)
        reason: DataError | None = None
        for other in self._after(index):
            try:
                return super().sample(other, rng)
            except LabelError:
                raise  # a fault of the config, and not of the shard
            except DataError as error:
                self._tell(other, error)
                reason = reason or error
        raise DataError(f"{reason}; the samples after it are damaged, too")

    def _after(self, index: int) -> Iterable[int]:
        number, _ = self.shards.locate(index)
        yield from ((index + step) % len(self) for step in range(NEXT_SAMPLES))
        count = len(self.shards.names)
        for step in range(1, min(count, NEXT_SHARDS + 1)):
            yield int(self.shards.starts[(number + step) % count])

    def _tell(self, index: int, error: DataError) -> None:
        """Says once for each shard that samples of it are replaced."""
        number, _ = self.shards.locate(index)
        if number not in self._cache:
            self._cache.add(number)
            print(
                f"warning: damaged samples of a shard are replaced by the ones after them (shard {len(self._cache)} of "
                f"this process): {error}",
                file=sys.stderr,
                flush=True,
            )

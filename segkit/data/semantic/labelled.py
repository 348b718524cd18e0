"""Labels of any known format as a semantic data set, without converting them."""

from collections.abc import Sequence

import numpy as np

from segkit.constraints.named import PositiveInt
from segkit.data.dataset import Bands, Dataset, NoData, ScaleRange, check_reading
from segkit.data.files.images import read_image
from segkit.data.files.value_range import with_scale
from segkit.data.formats.chosen import chosen_classes, chosen_items
from segkit.data.formats.common import background_of
from segkit.data.formats.draw import draw_classes, pixel_classes
from segkit.data.formats.known import open_labels
from segkit.data.semantic.folder import as_palette
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import IGNORE, default_palette


@DATASETS.register
class Labelled(Dataset):
    """Images with labels in any known format (COCO, YOLO, Pascal VOC, folders of masks ...), as maps of classes.

    Objects are drawn in the order of the file where it says that this counts, else the larger ones first, so that small
    ones stay visible; crowds are ignored. What no object covers
    is "background", class 0, unless a class of the labels is called so. Files are read when an item is asked for.

    Args:
        root: folder or file of the labels, with the images.
        format: name of the format; None to find it out.
        split: name of a split of the data; None for all images. "valid" and "validation" mean "val".
        classes: names to keep, in the order of their numbers; pixels of others become background, and are ignored where
            there is no background. None keeps all.
        channels: of the images; other than 3 reads .npy [H,W,C], TIFF and volumes.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others, and their labels are ignored.
        scale, bands: as for Folder.
        palette: K colors (r, g, b) or "#rrggbb", for pictures; None for the default ones.
        skip_unlabelled: passes over images that nobody has labelled, which otherwise cannot be trained on.

    Raises:
        DataError: the format is unknown or not clear, there is no such split or class, or files are missing; of an
            item, that a label cannot be read, or that an object is a box alone.
    """

    def __init__(
        self,
        root: str,
        format: str | None = None,
        *,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        channels: PositiveInt = 3,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
        palette: Sequence[Sequence[int] | str] | None = None,
        skip_unlabelled: bool = False,
    ):
        self.root, self.format, self.split, self.channels = (
            root,
            format,
            split,
            channels if bands is None else len(bands),
        )
        self.read_by(check_reading(exif, nodata, scale, bands))
        self._reader = open_labels(root, format)
        self._items, self.ids = chosen_items(self._reader, split, root)
        if skip_unlabelled:
            labelled = [number for number, item in enumerate(self._items) if self._reader.is_labelled(item)]
            if not labelled:
                raise DataError(f"{root}: none of {len(self._items)} images is labelled; check root, format and split")
            self._items = [self._items[number] for number in labelled]
            self.ids = [self.ids[number] for number in labelled]
        self._all = pixel_classes(self._reader)
        kept = chosen_classes(self._all, classes, root)
        background = background_of(self._all)
        if background is not None and self._all[background] not in kept:
            kept = (self._all[background], *kept)
        self.classes = kept
        self.palette = default_palette(len(kept)) if palette is None else as_palette(palette, len(kept))
        rest = IGNORE if background is None else kept.index(self._all[background])
        self._table = np.full(256, IGNORE, np.uint8)
        self._table[: len(self._all)] = [kept.index(name) if name in kept else rest for name in self._all]
        self.notes = self._reader.notes
        self._cache: dict[int, tuple[int, int]] = {}

    def path(self, index: int) -> str:
        return str(self._reader.images[self._items[index]])

    def mask_path(self, index: int) -> str:
        return str(self._reader.label_file(self._items[index]) or self.path(index))

    def has_mask(self, index: int) -> bool:
        """Whether the image is labelled."""
        return self._reader.is_labelled(self._items[index])

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 or float32 [H,W,channels]; see read_image."""
        pixels = self._reader.pixels(self._items[index], self.channels)
        if pixels is not None:
            return with_scale(pixels, self.scale, self.path(index))
        return read_image(self.path(index), self.channels, **self.reading._asdict())

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices and IGNORE.

        Args:
            index: the item.

        Raises:
            DataError: a label cannot be read or drawn, or is a box alone.
        """
        drawn = draw_classes(self._reader.item(self._items[index]), self._all)
        if drawn.boxes:
            raise DataError(
                f"{self.path(index)}: {drawn.boxes} objects are boxes without an outline, which are no map of classes; "
                "outline them, or learn from boxes by type='LabelledInstances'"
            )
        if drawn.overlapped_pixels and index not in self._cache:
            self._cache[index] = drawn.overlapped_objects, drawn.overlapped_pixels
            objects, pixels = (sum(counts) for counts in zip(*self._cache.values()))
            self.facts = (
                f"overlaps in the {len(self._cache)} images read that have any: {objects} objects gave {pixels} pixels "
                "to one above them of another class",
            )
        return self._table[drawn.label_map]

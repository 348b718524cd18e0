"""Images that are larger than memory, as windows: satellite and aerial images, slides of microscopes."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from segkit.constraints.named import AnySize, Fraction, PositiveInt
from segkit.data.dataset import Bands, Dataset, NoData, ScaleRange, check_reading, resolve_root
from segkit.data.files.flat_index import cached_index
from segkit.data.files.labels import LabelTable, class_index
from segkit.data.files.listing import same_text
from segkit.data.files.name_list import Finder, find_entries, find_masks, read_lines
from segkit.data.files.pairs import list_files, need_masks, pair
from segkit.data.large.grid import window_starts
from segkit.data.large.labelled import CELL, VECTORS, WindowedImage
from segkit.data.large.open_large import LARGE_SUFFIXES
from segkit.data.semantic.folder import as_palette, find_split
from segkit.data.transforms.crops import draw_origin
from segkit.data.transforms.sizes import as_size
from segkit.files import DataError, brief
from segkit.registry import DATASETS, did_you_mean
from segkit.types import IGNORE, Meta, Sample, default_palette

LAYOUT = "LargeImages expects images/NAME.tif and masks/NAME.tif (or NAME.geojson) below root"
TRIES = 20
"""How often a random window is drawn until it holds a labelled pixel; then it is drawn around one."""


@DATASETS.register
class LargeImages(Dataset):
    """Windows of images that are never read as a whole, with labels in rasters or polygons.

    root/images/NAME.tif goes with root/masks/NAME.tif, a raster of the image's size and place, or with
    root/masks/NAME.geojson. Only windows with a labelled pixel are items. Pixels without data are filled with the mean
    of the window's others, and their labels ignored.

    Args:
        root: the folder.
        classes: K names.
        window: (height, width) of the windows in pixels; one number is a square. Where it is larger than an image, the
            whole image is a window.
        stride: from one window to the next in the grid; by default the windows lie side by side.
        random: windows at random places, drawn anew each time, for training. An image is drawn as often as windows of
            its grid have labels. Without it the items are the windows of the grid, for validation.
        focus: classes to which focus_share refers; all by default.
        focus_share: share of random windows that are drawn around a labelled pixel of `focus`.
        split: as for Folder.
        images: name of the folder of images.
        masks: name of the folder of labels.
        mask_suffix: what the name of labels has after the image's, such as "_mask".
        pieces: each folder in `images` (and in `masks`, where no file has its name) is one image in pieces.
        class_property: the property of GeoJSON that holds the class: its name, its number or a key of label_map.
        rest: class outside of all polygons, "ignore" for none.
        palette: K colors (r, g, b) or "#rrggbb".
        label_map: {raw label: class index, class name or "ignore"}.
        reduce_zero_label: label 0 is ignored, n becomes class n - 1.
        ignore: raw label(s) left out, None for none. The no-data value that a raster states is left out too, unless
            label_map names it.
        channels: of the images.
        nodata: value of pixels without data, "nan", or a list of one value per channel; by default what each file
            states, in all channels together.
        scale, bands: as for Folder; percentiles are of whole images and not taken here.

    Raises:
        DataError: files are missing, labels do not fit their image, or nothing is labelled.
    """

    def __init__(
        self,
        root: str,
        classes: Sequence[str],
        *,
        window: AnySize = 512,
        stride: AnySize | None = None,
        random: bool = False,
        focus: Sequence[str] = (),
        focus_share: Fraction = 0.0,
        split: str | None = None,
        images: str = "images",
        masks: str = "masks",
        mask_suffix: str = "",
        pieces: bool = False,
        class_property: str = "class",
        rest: int | str = 0,
        palette: Sequence[Sequence[int] | str] | None = None,
        label_map: Mapping | None = None,
        reduce_zero_label: bool = False,
        ignore: int | Iterable[int] | None = IGNORE,
        channels: PositiveInt = 3,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.classes, self.channels = tuple(classes), channels if bands is None else len(bands)
        self.read_by(check_reading(False, nodata, scale, bands))
        if self.reading.has_percentiles:
            raise DataError(
                f"scale = {scale}: percentiles are of whole images, which are never read here; give two numbers "
                "(segkit analyze values proposes them)"
            )
        self.palette = default_palette(len(classes)) if palette is None else as_palette(palette, len(classes))
        self.window, self.random, self.focus_share = as_size(window, "window"), random, focus_share
        self.stride = self.window if stride is None else as_size(stride, "stride")
        if self.stride[0] > self.window[0] or self.stride[1] > self.window[1]:
            raise DataError(
                f"stride = {stride}: must lie between 1 and window = {window}, so that no pixel is left out"
            )
        self.focus = [self._class_of(name, "focus") for name in focus] or list(range(len(classes)))
        self.label_map, self.reduce_zero_label = label_map, reduce_zero_label
        self.ignored = () if ignore is None else (ignore,) if isinstance(ignore, int) else tuple(ignore)
        self._table_of(())  # what is wrong with the arguments is said before any file is opened
        self._rest = class_index(rest, self.classes, "rest")
        self.class_property = class_property
        folder, mask_folder, listed = find_split(resolve_root(root, ""), split, images, masks)
        pairs = _pairs(folder, mask_folder or folder, listed, mask_suffix, pieces=pieces)
        self._images = [self._labelled(image, mask) for image, mask in pairs.values()]
        self.notes = tuple(note for image in self._images for note in image.notes)
        options = [
            self.window,
            self.stride,
            self.classes,
            str(label_map),
            reduce_zero_label,
            self.ignored,
            self.channels,
        ]
        options += [class_property, rest, str(self.reading), CELL]
        sources = [Path(path) for image in self._images for path in (image.path, image.mask_path)]
        about = "large images 1: " + json.dumps(options)
        self._index = cached_index(sources, about, self._counted)
        self._keep(list(pairs))

    def _labelled(self, image: str, mask: str) -> WindowedImage:
        return WindowedImage(
            image,
            mask,
            channels=self.channels,
            reading=self.reading,
            table_of=self._table_of,
            polygons=(self.class_property, self._class_of_property, self._rest),
        )

    def _table_of(self, missing: Sequence[int]) -> LabelTable:
        return _table(
            self.classes,
            None if self.label_map is None else tuple(self.label_map.items()),
            self.reduce_zero_label,
            (*self.ignored, *missing),
        )

    def _class_of(self, name: object, at: str) -> int:
        if name not in self.classes:
            raise DataError(f"{at} = {brief(name)}: no such class{did_you_mean(name, self.classes)}")
        return self.classes.index(str(name))

    def _class_of_property(self, value: object, at: str) -> int:
        for key, target in (self.label_map or {}).items():
            if str(key) == str(value):
                return class_index(target, self.classes, key)
        if value in self.classes:
            return self.classes.index(str(value))
        if type(value) is int and 0 <= value < len(self.classes):
            return value
        raise DataError(
            f"{at} = {brief(value)}: no class{did_you_mean(value, self.classes)}; map it with "
            f"label_map={{{brief(value)}: ...}}"
        )

    def _counted(self) -> Iterator[bytes]:
        """Of each image, the labelled pixels in cells, and the windows of the grid that have some."""
        for image in self._images:
            counts = image.count(len(self.classes))
            h, w = self._size(image)
            kept = [
                (y, x)
                for y in window_starts(image.size[0], h, self.stride[0])
                for x in window_starts(image.size[1], w, self.stride[1])
                if image.has_labels(counts, y, x, h, w)
            ]
            image.close()
            yield counts.tobytes()
            yield np.array(kept, np.int64).reshape(-1, 2).tobytes()

    def _size(self, image: WindowedImage) -> tuple[int, int]:
        """(h, w) of the windows of an image."""
        return min(self.window[0], image.size[0]), min(self.window[1], image.size[1])

    def _keep(self, keys: list[str]) -> None:
        of_image = [np.frombuffer(self._index[2 * n + 1], np.int64).reshape(-1, 2) for n in range(len(keys))]
        empty = [self._images[n].mask_path for n, windows in enumerate(of_image) if not len(windows)]
        if len(empty) == len(keys):
            raise DataError(f"{empty[0]}: none of {len(keys)} images has a labelled pixel; check ignore and label_map")
        if empty:
            self.notes = (*self.notes, f"{len(empty)} images have no labelled pixel ({empty[0]}); they are left out")
        self._numbers = np.repeat(np.arange(len(keys)), [len(windows) for windows in of_image])
        self._places = np.concatenate(of_image)
        self.sizes = np.array([self._size(self._images[number]) for number in self._numbers.tolist()])
        if self.random:
            self.ids = [f"{keys[number]}#{item}" for item, number in enumerate(self._numbers.tolist())]
        else:
            places = zip(self._numbers.tolist(), self._places.tolist())
            self.ids = [f"{keys[number]}@{y},{x}" for number, (y, x) in places]

    def path(self, index: int) -> str:
        """Returns the image's file and the window, for messages."""
        return f"{self._images[self._numbers[index]].path} ({self._words(index)})"

    def mask_path(self, index: int) -> str:
        """Returns the label's file and the window, for messages."""
        return f"{self._images[self._numbers[index]].mask_path} ({self._words(index)})"

    def _words(self, index: int) -> str:
        y, x = self._places[index].tolist()
        return f"random window {index}" if self.random else f"window at row {y}, column {x}"

    def image(self, index: int) -> np.ndarray:
        """Returns a window, uint8 or float32 [h,w,C]; of random windows that of a seed of its own."""
        return self.sample(index, np.random.default_rng(index))["image"]

    def mask(self, index: int) -> np.ndarray:
        """Returns the labels of the window of `image`, uint8 [h,w] of class indices and IGNORE."""
        return self.sample(index, np.random.default_rng(index))["mask"]

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads a window.

        Args:
            index: the item.
            rng: draws the place of a random window.

        Returns:
            A sample with image, mask and meta, whose size is the window's.

        Raises:
            DataError: a file cannot be used.
        """
        image = self._images[self._numbers[index]]
        h, w = self._size(image)
        y, x = self._draw(index, image, (h, w), rng) if self.random else self._places[index].tolist()
        pixels, is_missing = image.image(y, x, h, w)
        mask = image.labels(y, x, h, w)
        if is_missing is not None:
            mask = np.where(is_missing, np.uint8(IGNORE), mask)
        meta = Meta(id=self.ids[index], path=self.path(index), size=(h, w))
        return Sample(image=pixels, mask=mask, meta=meta)

    def _draw(
        self, index: int, image: WindowedImage, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[int, int]:
        """(y, x) of a random window with a labelled pixel."""
        number = int(self._numbers[index])
        shape = (-(-image.size[0] // CELL), -(-image.size[1] // CELL), len(self.classes))
        counts = np.frombuffer(self._index[2 * number], np.uint16).reshape(shape)
        if rng.random() < self.focus_share and counts[:, :, self.focus].any():
            return self._around(image, counts, self.focus, size, rng)
        for _ in range(TRIES):
            y, x = draw_origin(rng, image.size, size)
            if image.has_labels(counts, y, x, *size):
                return y, x
        return self._around(image, counts, list(range(len(self.classes))), size, rng)

    def _around(
        self,
        image: WindowedImage,
        counts: np.ndarray,
        classes: list[int],
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> tuple[int, int]:
        """(y, x) of a window that holds a pixel of these classes, each pixel of them as likely as any other."""
        cells = counts[:, :, classes].sum(2, dtype=np.int64)
        totals = np.cumsum(cells)
        cell = int(np.searchsorted(totals, rng.integers(totals[-1]), side="right"))
        row, column = (int(place) * CELL for place in np.unravel_index(cell, cells.shape))
        h, w = min(CELL, image.size[0] - row), min(CELL, image.size[1] - column)
        rows, columns = np.nonzero(np.isin(image.seen_labels(row, column, h, w), classes))
        chosen = int(rng.integers(len(rows)))
        center = row + int(rows[chosen]), column + int(columns[chosen])
        starts = []
        for axis in (0, 1):
            low = max(0, center[axis] - size[axis] + 1)
            high = min(center[axis], image.size[axis] - size[axis])
            starts.append(int(rng.integers(low, high + 1)))
        return starts[0], starts[1]


@lru_cache(maxsize=16)
def _table(classes: tuple[str, ...], label_map: tuple | None, reduce_zero_label: bool, ignored: tuple) -> LabelTable:
    numbers = None if label_map is None else {key: target for key, target in label_map if _is_number(key)}
    return LabelTable(classes, label_map=numbers, reduce_zero_label=reduce_zero_label, ignore=ignored)


def _is_number(key: object) -> bool:
    """Whether a key of label_map is a raw label of a raster, and no value of a property."""
    return isinstance(key, int) or (isinstance(key, str) and key.strip("-").isdecimal())


def _pairs(
    folder: Path, mask_folder: Path, listed: Path | None, suffix: str, *, pieces: bool
) -> dict[str, tuple[str, str]]:
    """(image, labels) by key."""
    rasters = (".tif", ".tiff", ".png")
    if pieces:
        files, masks = _folders(folder), {**_folders(mask_folder), **_flat_files(mask_folder, (*rasters, *VECTORS))}
    else:
        files = list_files(folder, LARGE_SUFFIXES, LAYOUT)
        masks = list_files(mask_folder, (*rasters, *VECTORS), LAYOUT)
    if not files:
        raise DataError(f"{folder}: holds no images; {LAYOUT}")
    named: dict[str, str] = {}
    if listed is not None:
        entries = find_entries(read_lines(listed, LAYOUT), Finder(files), listed, str(folder))
        files = {entry.image: files[entry.image] for entry in entries}
        named = find_masks(entries, masks, listed, mask_folder)
    end = same_text(os.path.splitext(suffix)[0])
    pairs = {**pair(files, masks, (end,)), **named}
    need_masks(pairs, files, mask_folder, f"labels are named NAME{end}.tif or NAME{end}.geojson; see mask_suffix")
    return {key: (files[key], mask) for key, mask in pairs.items() if mask is not None}


def _folders(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {LAYOUT}, each a folder of pieces")
    return {same_text(path.name): str(path) for path in sorted(folder.iterdir()) if path.is_dir()}


def _flat_files(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    return {same_text(path.stem): str(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}

"""The user's own images and masks in two folders."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from segkit.constraints.named import PositiveInt, Range
from segkit.data.dataset import Bands, NoData, ScaleRange, check_reading, resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.labels import ColorTable, LabelTable, as_color
from segkit.data.files.listing import same_text
from segkit.data.files.masks import MASK_SUFFIXES, read_colors
from segkit.data.files.name_list import Entry, Finder, find_entries, find_masks, read_lines
from segkit.data.files.pairs import FilePairs, list_files, need_masks, pair, some
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import IGNORE, Color, default_palette

LAYOUT = "Folder expects images/NAME.jpg and masks/NAME.png below root"


@DATASETS.register
class Folder(FilePairs):
    """The user's own images and masks: root/images/NAME.* and root/masks/NAME.*, paired by name.

    Labels that reach the model are 0..K-1 and 255, which is ignored, whatever the files hold.

    Args:
        root: the folder.
        classes: K names.
        split: None for all files; "train" for root/train.txt or root/splits/train.txt (a line is the path of an image,
            with or without folders and suffix, and its mask after it or nothing), else root/images/train and
            root/masks/train, else root/train/images and root/train/masks; or the path of a list ending in .txt.
        images: name of the folder of images.
        masks: name of the folder of masks; None for images alone, to predict.
        mask_suffix: what a mask's name has after the image's, such as "_mask".
        palette: K colors (r, g, b) or "#rrggbb", for pictures, and for masks where `color_masks` is set.
        label_map: {raw label or color: class index, class name or "ignore"}; labels it does not name stay as they are.
        reduce_zero_label: label 0 is ignored, n becomes class n - 1.
        ignore: raw label(s) left out, None for none.
        color_masks: whether masks are color-coded; they also are where `label_map` has colors.
        tolerance: of color-coded masks with soft edges: a color that belongs to no class counts as the nearest one
            that does where no channel differs by more than this; 0 makes such colors an error.
        channels: of the images; other than 3 reads .npy [H,W,C] and TIFF. With `bands` there are as many as these.
        skip_unlabelled: passes over images without a mask, which otherwise are an error.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others, and their labels are ignored.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: where files are missing, or the arguments contradict each other.
    """

    def __init__(
        self,
        root: str,
        classes: Sequence[str],
        *,
        split: str | None = None,
        images: str = "images",
        masks: str | None = "masks",
        mask_suffix: str = "",
        palette: Sequence[Sequence[int] | str] | None = None,
        label_map: Mapping | None = None,
        reduce_zero_label: bool = False,
        ignore: int | Iterable[int] | None = IGNORE,
        color_masks: bool = False,
        tolerance: Annotated[int, Range(0, 255)] = 0,
        channels: PositiveInt = 3,
        skip_unlabelled: bool = False,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.root, self.split = root, split
        self.read_by(check_reading(exif, nodata, scale, bands))
        self.classes, self.channels = tuple(classes), channels if self.bands is None else len(self.bands)
        self.palette = default_palette(len(classes)) if palette is None else as_palette(palette, len(classes))
        self._colors = self._color_table(palette is not None, label_map, color_masks, tolerance)
        if tolerance and self._colors is None:
            raise DataError(
                f"tolerance = {tolerance}: counts for color-coded masks alone; set color_masks=True and palette"
            )
        if self._colors and reduce_zero_label:
            raise DataError("reduce_zero_label: colors have no label 0; map the color with label_map={...: 'ignore'}")
        number_map = label_map if self._colors is None else None
        self.label_table = LabelTable(classes, label_map=number_map, reduce_zero_label=reduce_zero_label, ignore=ignore)
        image_folder, mask_folder, listed = find_split(resolve_root(root, ""), split, images, masks)
        files = list_files(image_folder, IMAGE_SUFFIXES, LAYOUT)
        entries: list[Entry] = []
        if listed is not None:
            entries = find_entries(read_lines(listed, LAYOUT), Finder(files), listed, str(image_folder))
            files = {entry.image: files[entry.image] for entry in entries}
        pairs: dict[str, str | None] = dict.fromkeys(files)
        if mask_folder is not None and files:
            found = list_files(mask_folder, MASK_SUFFIXES, LAYOUT)
            named = find_masks(entries, found, listed or "", mask_folder) if entries else {}
            end = same_text(os.path.splitext(mask_suffix)[0])
            pairs = {**pair(files, found, (end,)), **named}
            pairs = self._labelled(files, pairs, mask_folder, end, skip_unlabelled=skip_unlabelled)
            num_used = sum(mask is not None for mask in pairs.values())  # each image has a mask of its own
            if listed is None and num_used < len(found):
                unused = sorted({*found.values()} - {*pairs.values()})
                self.notes = (f"{len(unused)} masks have no image of their name: {some(unused, 3)}",)
        if len(files) < len(entries):
            self.notes += (f"{listed}: {len(entries) - len(files)} lines name an image that another line has named",)
        self.keep(list(pairs), [files[key] for key in pairs], list(pairs.values()), image_folder)

    def _color_table(
        self, has_palette: bool, label_map: Mapping | None, color_masks: bool, tolerance: int
    ) -> ColorTable | None:
        if not color_masks and not any(as_color(key) for key in label_map or ()):
            return None
        if not has_palette and not label_map:
            raise DataError("color_masks=True: name the colors, by palette (one per class) or by label_map")
        return ColorTable(self.classes, self.palette if has_palette else (), label_map, tolerance=tolerance)

    def _labelled(
        self,
        images: dict[str, str],
        pairs: dict[str, str | None],
        folder: Path,
        end: str,
        *,
        skip_unlabelled: bool,
    ) -> dict[str, str | None]:
        """The pairs that the data set takes: those with a mask, which all must have unless they may be skipped."""
        if not skip_unlabelled:
            advice = f"a mask is named NAME{end}.png; see mask_suffix, or set skip_unlabelled=True to pass over them"
            need_masks(pairs, images, folder, advice)
            return pairs
        labelled = {key: mask for key, mask in pairs.items() if mask is not None}
        if not labelled:
            raise DataError(f"{folder}: none of {len(images)} images has a mask NAME{end}.png here; see mask_suffix")
        return dict(labelled)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices and IGNORE."""
        path = self._masks[index]
        if self._colors is None or path is None:
            return super().mask(index)
        return self._colors.apply(read_colors(path), path)


def as_palette(palette: Sequence[Sequence[int] | str], num_classes: int) -> tuple[Color, ...]:
    """Checks the number and range of a palette's colors.

    Args:
        palette: colors (r, g, b) in 0..255, or "#rrggbb".
        num_classes: K.

    Returns:
        K colors (r, g, b).

    Raises:
        DataError: for another number of colors, and for what is no color.
    """
    if len(palette) != num_classes:
        raise DataError(f"palette: {len(palette)} colors for {num_classes} classes; give one per class")
    colors = []
    for number, value in enumerate(palette):
        color = as_color(tuple(value) if not isinstance(value, str) else value)
        if color is None:
            raise DataError(f"palette[{number}] = {value}: a color is (r, g, b) in 0..255, or '#rrggbb'")
        colors.append(color)
    return tuple(colors)


def find_split(root: Path, split: str | None, images: str, masks: str | None) -> tuple[Path, Path | None, Path | None]:
    """Finds the files of a split.

    Args:
        root: the data set's folder.
        split: as for Folder.
        images: name of the folder of images.
        masks: name of the folder of masks, or None.

    Returns:
        The folder of images, the folder of masks or None, and the list of images to take, None for all.

    Raises:
        DataError: where there is no such split.
    """
    mask_root = None if masks is None else root / masks
    if split is None:
        return root / images, mask_root, None
    is_list = split.endswith(".txt")
    candidates = [Path(split), root / split] if is_list else [root / f"{split}.txt", root / "splits" / f"{split}.txt"]
    for path in candidates:
        if path.is_file():
            return root / images, mask_root, path
    if not is_list and (root / images / split).is_dir():
        return root / images / split, None if mask_root is None else mask_root / split, None
    if not is_list and (root / split / images).is_dir():
        return root / split / images, None if masks is None else root / split / masks, None
    tried = [str(path) for path in candidates]
    if not is_list:
        tried += [f"{root / images / split}/", f"{root / split / images}/"]
    raise DataError(f"split '{split}': found none of {', '.join(tried)}; make one of them, or leave split out")

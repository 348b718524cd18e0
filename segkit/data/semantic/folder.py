"""The user's own images and masks in two folders."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.labels import ColorTable, LabelTable, as_color
from segkit.data.files.masks import MASK_SUFFIXES, read_colors
from segkit.data.files.pairs import FilePairs, list_files, need_masks, pair, read_list, some
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import IGNORE, default_palette

LAYOUT = "Folder expects images/NAME.jpg and masks/NAME.png below root"


@DATASETS.register
class Folder(FilePairs):
    """Images and masks of one's own: root/images/NAME.* and root/masks/NAME.*, paired by name.

    root: the folder. classes: K names. split: None for all files; "train" for root/train.txt (a name per line), else
    root/images/train and root/masks/train, else root/train/images and root/train/masks; or the path
    of a list ending in .txt.
    images, masks: the folders' names; masks=None: images alone, to predict. mask_suffix: what a mask's name has after
    the image's ("_mask"). palette: K colors (r, g, b) for pictures, and for masks where color_masks is set.
    label_map: {raw label or color: class index, class name or "ignore"}; labels it does not name stay.
    reduce_zero_label: 0 is ignored, n becomes class n - 1. ignore: raw label(s) left out, None for none; labels that
    reach the model are 0..K-1 and 255. color_masks: masks are color-coded (also where label_map has colors).
    channels: of the images; other than 3 reads .npy [H,W,C] and TIFF. skip_unlabelled: pass over images without a mask.
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
        palette: Sequence[Sequence[int]] | None = None,
        label_map: Mapping | None = None,
        reduce_zero_label: bool = False,
        ignore: int | Iterable[int] | None = IGNORE,
        color_masks: bool = False,
        channels: int = 3,
        skip_unlabelled: bool = False,
    ):
        self.classes, self.channels = tuple(classes), channels
        self.palette = default_palette(len(classes)) if palette is None else as_palette(palette, len(classes))
        self._colors = self._color_table(palette is not None, label_map, color_masks)
        if self._colors and reduce_zero_label:
            raise DataError("reduce_zero_label: colors have no label 0; map the color with label_map={...: 'ignore'}")
        is_numbers = self._colors is None
        self.labels = LabelTable(
            classes, label_map=label_map if is_numbers else None, reduce_zero_label=reduce_zero_label, ignore=ignore
        )
        place = resolve_root(root, "")
        image_folder, mask_folder, names = find_split(place, split, images, masks)
        found = list_files(image_folder, IMAGE_SUFFIXES, LAYOUT)
        if names is not None:
            found = choose(found, names, image_folder, split)
        pairs: dict[str, str | None] = dict.fromkeys(found)
        if mask_folder is not None and found:
            pairs = self._pair(found, mask_folder, os.path.splitext(mask_suffix)[0], skip_unlabelled, names is None)
        self.keep(list(pairs), [found[key] for key in pairs], list(pairs.values()), image_folder)

    def _color_table(self, has_palette: bool, label_map: Mapping | None, color_masks: bool) -> ColorTable | None:
        if not color_masks and not any(as_color(key) for key in label_map or ()):
            return None
        if not has_palette and not label_map:
            raise DataError("color_masks=True: name the colors, by palette (one per class) or by label_map")
        return ColorTable(self.classes, self.palette if has_palette else (), label_map)

    def _pair(
        self, images: dict[str, str], folder: Path, end: str, skip_unlabelled: bool, is_whole: bool
    ) -> dict[str, str | None]:
        """images: {key: path} -> {key: mask path}; masks that no image asks for become a note where all were listed."""
        masks = list_files(folder, MASK_SUFFIXES, LAYOUT)
        pairs = pair(images, masks, (end,))
        if skip_unlabelled:
            pairs = {key: mask for key, mask in pairs.items() if mask is not None}
            if not pairs:
                raise DataError(
                    f"{folder}: none of {len(images)} images has a mask NAME{end}.png here; see mask_suffix"
                )
        else:
            advice = f"a mask is named NAME{end}.png; see mask_suffix, or set skip_unlabelled=True to pass over them"
            need_masks(pairs, images, folder, advice)
        used = set(pairs.values())
        left = [path for path in masks.values() if path not in used]
        if left and is_whole:
            self.notes = (f"{len(left)} masks have no image of their name: {some(left, 3)}",)
        return pairs

    def mask(self, index: int) -> np.ndarray:
        """-> uint8 [H,W]: class indices and IGNORE."""
        if self._colors is None or self._masks[index] is None:
            return super().mask(index)
        path = self._masks[index]
        return self._colors.apply(read_colors(path), path)


def as_palette(palette: Sequence[Sequence[int]], num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Checks the number and range of a palette's colors; '#rrggbb' is a color too."""
    colors = tuple(as_color(tuple(color) if not isinstance(color, str) else color) for color in palette)
    if len(colors) != num_classes:
        raise DataError(f"palette: {len(colors)} colors for {num_classes} classes; give one per class")
    if None in colors:
        raise DataError(
            f"palette[{colors.index(None)}] = {palette[colors.index(None)]}: a color is (r, g, b) in 0..255"
        )
    return colors


def find_split(
    root: Path, split: str | None, images: str, masks: str | None
) -> tuple[Path, Path | None, list[str] | None]:
    """-> (folder of images, folder of masks or None, names to take or None for all)."""
    mask_root = None if masks is None else root / masks
    if split is None:
        return root / images, mask_root, None
    is_list = split.endswith(".txt")
    candidates = [Path(split), root / split] if is_list else [root / f"{split}.txt", root / "splits" / f"{split}.txt"]
    for path in candidates:
        if path.is_file():
            return root / images, mask_root, read_list(path, LAYOUT)
    if not is_list and (root / images / split).is_dir():
        return root / images / split, None if mask_root is None else mask_root / split, None
    if not is_list and (root / split / images).is_dir():
        return root / split / images, None if masks is None else root / split / masks, None
    places = [str(path) for path in candidates]
    if not is_list:
        places += [f"{root / images / split}/", f"{root / split / images}/"]
    raise DataError(f"split '{split}': found none of {', '.join(places)}; make one of them, or leave split out")


def choose(found: dict[str, str], names: Sequence[str], folder: Path, split: str | None) -> dict[str, str]:
    """found: all images by key; names: lines of a list, with or without suffix -> those, in the list's order."""
    stems = [name if name in found else os.path.splitext(name)[0] for name in names]
    missing = [name for name, stem in zip(names, stems) if stem not in found]
    if missing:
        raise DataError(f"{folder}: {len(missing)} of {len(names)} names of '{split}' have no image: {some(missing)}")
    return {stem: found[stem] for stem in stems}

"""The user's own images with masks of objects to click on."""

from pathlib import Path

import numpy as np

from segkit.data.dataset import Bands, NoData, ScaleRange, check_reading, resolve_root
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.masks import MASK_SUFFIXES, read_mask, values_of
from segkit.data.files.pairs import list_files, some
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed, as_target, no_object, one_layer
from segkit.data.interactive.grabcut import by_grey, channels
from segkit.data.interactive.targets import Targets, find_targets
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject

LAYOUT = "expected images/NAME.jpg with masks/NAME.png, or masks/NAME_1.png, NAME_2.png ..."


GREY = "set instances=True where each value is an object of its own, else save the mask as 0 and 255"
"""What to do about a mask of other values than 0, 128 and 255."""


class _FolderFiles:
    """Images and the masks of each: NAME.* and NAME_<n>.*, in the order of n."""

    def __init__(self, root: str, images: str, masks: str, *, skip_unlabelled: bool):
        base = resolve_root(root, "")
        self.images = list_files(base / images, IMAGE_SUFFIXES, LAYOUT)
        self.masks: dict[str, list[str]] = {name: [] for name in self.images}
        self.mask_folder = base / masks
        lost = []
        found = list_files(self.mask_folder, MASK_SUFFIXES, LAYOUT)
        for name, path in sorted(found.items(), key=lambda item: _order(item[0])):
            stem, _, number = name.rpartition("_")
            image = name if name in self.masks else stem if number.isdigit() and stem in self.masks else None
            if image is None:
                lost.append(path)
            else:
                self.masks[image].append(path)
        self.notes: tuple[str, ...] = (
            (f"{len(lost)} masks have no image of their name: {some(lost, 3)}",) if lost else ()
        )
        empty = [self.images[name] for name, paths in self.masks.items() if not paths]
        if not any(self.masks.values()) or (empty and not skip_unlabelled):
            what = f"{len(empty)} of {len(self.images)} images have no mask: {some(empty)}" if empty else "no images"
            raise DataError(f"{base}: {what}; {LAYOUT}, or set skip_unlabelled=True to pass over images without")
        if empty:
            self.notes += (f"{len(empty)} images without a mask are passed over",)
            self.images = {name: path for name, path in self.images.items() if self.masks[name]}
            self.masks = {name: paths for name, paths in self.masks.items() if paths}


def _order(name: str) -> tuple[str, int]:
    """Sorts a_2 before a_10."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (name, -1)


@DATASETS.register
class FolderClicks(ClickTraining):
    """The user's own images and masks, for training with clicks.

    Files: root/images/NAME.* with root/masks/NAME.* or NAME_1.*, NAME_2.* ... Each mask is one object: values above 128
    (first channel) are the object, 128 is ignored, below is background; in a mask of 0 and 1 alone 1 is the object.
    Masks may overlap.

    Args:
        root: folder of the data set.
        images: folder of the images below root.
        masks: folder of the masks below root.
        instances: each value of a mask other than 0 is an object of its own.
        void: value that is ignored in masks of instances, None for none.
        skip_unlabelled: passes over images without a mask, which otherwise are an error.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: there are no images, or an image has no mask; of a sample, that its mask has other values.
    """

    def __init__(
        self,
        root: str,
        *,
        images: str = "images",
        masks: str = "masks",
        instances: bool = False,
        void: int | None = None,
        skip_unlabelled: bool = False,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.read_by(check_reading(exif, nodata, scale, bands))
        self._files = _FolderFiles(root, images, masks, skip_unlabelled=skip_unlabelled)
        self._are_instances, self._void = instances, void
        self.ids, self.notes = list(self._files.images), self._files.notes

    def path(self, index: int) -> str:
        return self._files.images[self.ids[index]]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids[index]][0]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the objects of all masks of the image, each mask in layers of its own; empty masks give none."""
        layers: list[np.ndarray] = []
        objects: dict[int, ClickObject] = {}
        ignored: list[tuple[int, int]] = []
        for path in self._files.masks[self.ids[index]]:
            packed = self._read(path)
            if layers and packed.layers.shape[:2] != layers[0].shape[:2]:
                height, width = packed.layers.shape[:2]
                raise DataError(f"{path}: {width}x{height} pixels, unlike the image's other masks")
            below = sum(stack.shape[2] for stack in layers)
            for item in packed.objects.values():
                objects[len(objects) + 1] = ClickObject(below + item.layer, item.value)
            ignored += [(below + layer, value) for layer, value in packed.ignored]
            layers.append(packed.layers)
        return Packed(np.concatenate(layers, axis=2), objects, ignored)

    def _read(self, path: str) -> Packed:
        if self._are_instances:
            return one_layer(read_mask(path), () if self._void is None else (self._void,), source=path)
        target = by_grey(channels(path), path, GREY)
        layer = np.where(target < 0, 2, target).astype(np.uint8)
        objects = {1: ClickObject(0, 1)} if (target == 1).any() else {}
        return Packed(layer[..., None], objects, [(0, 2)] if (target < 0).any() else [])


@DATASETS.register
class FolderClicksEval(ClickEvaluation):
    """The user's own images and masks, one item per object, for scoring clicks. The files are those of `FolderClicks`.

    Args:
        root: folder of the data set.
        images: folder of the images below root.
        masks: folder of the masks below root.
        instances: each value of a mask other than 0 is an object of its own.
        void: value that is not scored in masks of instances, None for none.
        skip_unlabelled: passes over images without a mask, which otherwise are an error.
        exif: turns images by the orientation that their files state. Labels are never turned: set it where they were
            made on turned pictures.
        nodata: value of pixels without data, "nan", or a list of one value per channel: these pixels are filled with
            the mean of the others.
        scale: stored values (low, high) that become 0 and 255, or percentiles of each image such as ("p1", "p99").
        bands: bands of the files that become the channels, counted from 1; None for all.

    Raises:
        DataError: there are no images, an image has no mask, or there is no object.
    """

    def __init__(
        self,
        root: str,
        *,
        images: str = "images",
        masks: str = "masks",
        instances: bool = False,
        void: int | None = None,
        skip_unlabelled: bool = False,
        exif: bool = False,
        nodata: NoData = None,
        scale: ScaleRange = None,
        bands: Bands = None,
    ):
        self.read_by(check_reading(exif, nodata, scale, bands))
        files = _FolderFiles(root, images, masks, skip_unlabelled=skip_unlabelled)
        self._are_instances, self.notes = instances, files.notes
        self._void = () if void is None else (void,)
        self._images = {path: files.images[name] for name, paths in files.masks.items() for path in paths}
        self._mask_folder = files.mask_folder
        if instances:
            folders = {Path(path).parent for path in self._images}
            sources = sorted({*folders, files.mask_folder})
            about = f"folder {self._void}"
            self._targets = find_targets(list(self._images), self._values, sources=sources, about=about)
        else:
            self._targets = Targets([(path, [1]) for path in self._images])
        self.ids = [self._id(index) for index in range(len(self._targets))]

    def _values(self, path: str) -> list[int]:
        return [value for value in values_of(read_mask(path), path) if value not in self._void]

    def _id(self, index: int) -> str:
        name = Path(self._targets.name(index)).relative_to(self._mask_folder).with_suffix("").as_posix()
        return f"{name}:{self._targets.value(index)}" if self._are_instances else name

    def path(self, index: int) -> str:
        return self._images[self._targets.name(index)]

    def mask_path(self, index: int) -> str:
        return self._targets.name(index)

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0, 1 and -1."""
        path = self.mask_path(index)
        if self._are_instances:
            return as_target(read_mask(path), self._targets.value(index), self._void, source=path)
        target = by_grey(channels(path), path, GREY)
        if not (target == 1).any():
            raise no_object(path)
        return target

"""Masks that other programs made, as probabilities for refiners, and what refiners make of them.

K classes, H W image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from segkit.constraints.named import Range
from segkit.data.files.masks import MASK_SUFFIXES, read_mask
from segkit.data.files.pairs import some, walk_files
from segkit.files import DataError
from segkit.inference import refined, to_labels
from segkit.readers.arrays import read_npy
from segkit.refiners.base import Refiner
from segkit.types import IGNORE, Meta

Certainty = Annotated[float, Range(0.5, 1, above=True)]
"""Probability of the class that a label map names."""

BINARY = 255
"""Value of the object in binary masks."""

MOST_CLASSES = 255
"""Of label maps, which are written with 8 bits."""


@dataclass(frozen=True)
class GivenMasks:
    """What the masks of a folder hold.

    Attributes:
        num_classes: K; 1 for binary masks and one map of probabilities.
        is_binary: whether they are binary masks of 0 and 255.
        ignore: label of pixels without a class, which they keep.
        certainty: probability of the class that a label names; the others share the rest.
    """

    num_classes: int
    is_binary: bool = False
    ignore: int = IGNORE
    certainty: Certainty = 0.9

    def read(self, path: str | Path, size: tuple[int, int]) -> tuple[Tensor, np.ndarray]:
        """Reads a mask as probabilities.

        Args:
            path: an integer picture or array of labels, or a .npy of probabilities, float [K,H,W] or [H,W].
            size: (H, W) of its image.

        Returns:
            float32 [1,K,H,W]; and bool [H,W], the pixels without a class, whose probabilities are equal.

        Raises:
            DataError: the file cannot be read, or does not fit the image or the classes.
        """
        values = read_values(path)
        shape = tuple(values.shape[-2:])
        if shape != size:
            raise DataError(
                f"{path}: mask of {shape[1]}x{shape[0]} pixels for an image of {size[1]}x{size[0]}; refiners take "
                "masks of the image's size: export them at that size"
            )
        if values.dtype.kind == "f":
            probabilities = values[None] if values.ndim == 2 else values
            if len(probabilities) != self.num_classes:
                raise DataError(
                    f"{path}: probabilities of {len(probabilities)} classes, and {self.num_classes} are expected"
                )
            return torch.from_numpy(probabilities.astype(np.float32))[None], np.zeros(shape, bool)
        return self._of_labels(values, path)

    def _of_labels(self, labels: np.ndarray, path: str | Path) -> tuple[Tensor, np.ndarray]:
        if self.is_binary:
            rest = np.setdiff1d(labels, (0, BINARY))
            if len(rest):
                raise DataError(f"{path}: holds {rest[0]}; a binary mask holds 0 and 255 alone")
            share = np.where(labels == BINARY, self.certainty, 1 - self.certainty)
            return torch.from_numpy(share.astype(np.float32))[None, None], np.zeros(labels.shape, bool)
        is_ignored = labels == self.ignore
        beyond = np.unique(labels[~is_ignored & ((labels < 0) | (labels >= self.num_classes))])
        if len(beyond):
            raise DataError(
                f"{path}: holds label {beyond[0]}; with {self.num_classes} classes labels are 0 to "
                f"{self.num_classes - 1} and {self.ignore}, which is ignored: set --num-classes or --ignore"
            )
        index = torch.from_numpy(np.where(is_ignored, 0, labels).astype(np.int64))[None, None]
        other = (1 - self.certainty) / (self.num_classes - 1)
        shares = torch.full((1, self.num_classes, *labels.shape), other).scatter_(1, index, self.certainty)
        shares[0, :, torch.from_numpy(is_ignored)] = 1 / self.num_classes
        return shares, is_ignored

    @torch.inference_mode()
    def refine(self, refiners: list[Refiner], image: np.ndarray, path: str | Path, meta: Meta) -> np.ndarray:
        """Refines one mask.

        Args:
            refiners: applied in turn.
            image: uint8 or float32 [H,W,C].
            path: of the mask.
            meta: of the image.

        Returns:
            uint8 [H,W]: labels, the ignored pixels as given; of binary masks 0 and 255.

        Raises:
            DataError: as `read`.
        """
        probabilities, is_ignored = self.read(path, (image.shape[0], image.shape[1]))
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        labels = to_labels(refined(refiners, pixels, probabilities, metas=[meta]))[0].cpu().numpy()
        labels = labels * np.uint8(BINARY) if self.is_binary else labels
        labels[is_ignored] = self.ignore
        return labels


def read_values(path: str | Path) -> np.ndarray:
    """Reads a mask as it is stored.

    Args:
        path: a picture or an array.

    Returns:
        Integers [H,W], or probabilities, float [H,W] or [K,H,W].

    Raises:
        DataError: the file cannot be read, or holds floats that are no probabilities.
    """
    if not str(path).lower().endswith(".npy"):
        return read_mask(path)
    values = read_npy(path)
    if values.dtype.kind != "f":
        return read_mask(path)
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: array of shape {values.shape}; probabilities are [K,H,W], or [H,W] of one class")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    total = values.sum(axis=0, dtype=np.float64) if values.ndim == 3 and len(values) > 1 else np.ones(1)
    if not (low >= 0 and high <= 1 and np.abs(total - 1).max() < 1e-2):  # NaN is neither
        raise DataError(
            f"{path}: holds values of {low:g} to {high:g} that are no probabilities: 0..1, which sum to 1 over the "
            "first axis; save logits.softmax(0)"
        )
    return values


def find_masks(folder: str | Path) -> dict[str, Path]:
    """Finds masks.

    Args:
        folder: of masks, with everything below it; or one mask.

    Returns:
        Files by their path below the folder, without suffix.

    Raises:
        DataError: there is none, or two have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        if not folder.exists():
            raise DataError(f"{folder}: no such folder of masks")
        return {folder.stem: folder}
    found: dict[str, Path] = {}
    for name in walk_files(folder, MASK_SUFFIXES):
        file = Path(name)
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            raise DataError(f"{found[key]} and {file}: two masks of one name; take one of them away")
        found[key] = file
    if not found:
        raise DataError(f"{folder}: holds no mask; masks end in {', '.join(MASK_SUFFIXES)}")
    return found


def match_images(masks: Mapping[str, Path], images: Mapping[Path, str]) -> dict[str, Path]:
    """Finds the image of each mask: the one of the same name, or else of the same name without folders.

    Args:
        masks: files by name.
        images: names, as those of masks, by file.

    Returns:
        The image of each mask, by the mask's name.

    Raises:
        DataError: a mask has no image, or several.
    """
    whole = {name: file for file, name in images.items()}
    by_stem: dict[str, list[Path]] = {}
    for file in images:
        by_stem.setdefault(file.stem, []).append(file)
    matched: dict[str, Path] = {}
    missing: list[str] = []
    for name, mask in masks.items():
        files = [whole[name]] if name in whole else by_stem.get(Path(name).name, [])
        if len(files) > 1:
            raise DataError(f"{mask}: {files[0]} and {files[1]} both have its name; name the folder of one of them")
        if files:
            matched[name] = files[0]
        else:
            missing.append(str(mask))
    if missing:
        raise DataError(
            f"{missing[0]}: {len(missing)} of {len(masks)} masks have no image of the same name ({some(missing)}); "
            "name their folder"
        )
    return matched


def look_at(
    masks: Iterable[Path], num_classes: int | None, ignore: int = IGNORE, certainty: Certainty = 0.9
) -> GivenMasks:
    """Finds out what masks hold, by reading all of them.

    Args:
        masks: files.
        num_classes: K; None takes it from the masks: probabilities have as many maps, masks of 0 and 255 alone are
            binary, and other labels go up to K - 1.
        ignore: label of pixels without a class.
        certainty: see GivenMasks.

    Raises:
        DataError: a file cannot be read, some hold labels and others probabilities, or there are too many classes.
    """
    labels: set[int] = set()
    counts: dict[int, Path] = {}
    labelled: Path | None = None
    for mask in masks:
        values = read_values(mask)
        if values.dtype.kind == "f":
            counts.setdefault(1 if values.ndim == 2 else len(values), mask)
        else:
            labels |= {int(value) for value in np.unique(values)}
            labelled = mask
    if counts and labelled is not None:
        raise DataError(f"{labelled}: holds labels, and {next(iter(counts.values()))} probabilities; refine them apart")
    if len(counts) > 1:
        (first, one), (second, other) = list(counts.items())[:2]
        raise DataError(f"{other}: probabilities of {second} classes, and {one} has {first}; refine them apart")
    if counts:
        return GivenMasks(num_classes or next(iter(counts)), False, ignore, certainty)
    if num_classes is None and BINARY in labels and labels <= {0, BINARY}:
        return GivenMasks(1, True, ignore, certainty)
    found = max(labels - {ignore}, default=0) + 1
    number = max(found, 2) if num_classes is None else num_classes
    if not 2 <= number <= MOST_CLASSES:
        raise DataError(f"{labelled}: {number} classes; label maps have 2 to {MOST_CLASSES}: set --num-classes")
    return GivenMasks(number, False, ignore, certainty)

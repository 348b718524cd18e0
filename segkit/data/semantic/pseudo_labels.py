"""Images with the labels that models gave them, as `segkit pseudo` and the runner SelfTraining write them."""

import os
from collections.abc import Iterator

import numpy as np

from segkit.constraints.named import Fraction
from segkit.data.dataset import Dataset, check_reading, resolve_root
from segkit.data.files.images import read_image
from segkit.data.files.labels import LabelTable
from segkit.data.files.masks import read_mask
from segkit.data.files.pairs import some
from segkit.data.files.pseudo_manifest import (
    LABELS,
    SCORES,
    WAY_OUT,
    Entry,
    Maker,
    changed_makers,
    image_key,
    read_manifest,
)
from segkit.files import DataError
from segkit.ops.self_training.confidence import SCORE_STEPS, keep_sure
from segkit.registry import DATASETS
from segkit.types import Meta, Sample


@DATASETS.register
class PseudoLabels(Dataset):
    """Images with pseudo labels: root/labels/NAME.png and root/pseudo.json, which names images and checkpoints.

    Samples say meta["pseudo"] = True, by which the runner SelfTraining tells them from labelled ones.

    Args:
        root: the folder that `segkit pseudo` wrote.
        dataset: where the images come from, by their ids; None for the files that pseudo.json names.
        least_score: labels of a lower confidence are ignored as well; needs root/scores (segkit pseudo --scores).
        least_image: images of a lower mean confidence are left out.
        unseen: demands that no image was labelled by a checkpoint that had been trained on it.
        allow_old: takes labels whose checkpoint has changed since they were made.

    Raises:
        DataError: labels are missing, not finished, older than their checkpoint, or break `unseen`.
    """

    parts = {"dataset": DATASETS}

    def __init__(
        self,
        root: str,
        dataset: Dataset | None = None,
        *,
        least_score: Fraction = 0.0,
        least_image: Fraction = 0.0,
        unseen: bool = False,
        allow_old: bool = False,
    ):
        self.root, self.dataset, self._folder = root, dataset, resolve_root(root, "")
        self.least_score, self.least_image = least_score, least_image
        self.unseen, self.allow_old = unseen, allow_old
        manifest = read_manifest(self._folder)
        self.classes = tuple(manifest.classes)
        self.palette = tuple((int(r), int(g), int(b)) for r, g, b in manifest.palette)
        self._reading = manifest.reading
        keys = manifest.reading
        self.read_by(check_reading(bool(keys["exif"]), keys["nodata"], keys.get("scale"), keys.get("bands")))
        self._table = LabelTable(self.classes, source="PseudoLabels")
        self._makers = manifest.checkpoints
        self._check_age()
        entries = {name: entry for name, entry in manifest.images.items() if entry.confidence >= least_image}
        if not entries:
            raise DataError(
                f"{self._folder}: none of {len(manifest.images)} images has a mean confidence of least_image = "
                f"{least_image}; lower it"
            )
        self.ids, self._entries = list(entries), list(entries.values())
        self._index = self._find_images()
        self._check_files()
        if unseen:
            self._check_unseen()
        left = len(manifest.images) - len(entries)
        self.facts = (
            f"pseudo labels of {self._folder}: {manifest.summary.get('kept', 0):.1f} % of the pixels are kept"
            + (f", {left} images left out by least_image" if left else ""),
        )

    def _check_age(self) -> None:
        """Raises a DataError where a checkpoint is not what made the labels; one that is gone becomes a note."""
        changed, missing = changed_makers(self._folder, self._makers)
        if changed and not self.allow_old:
            raise DataError(
                f"{self._folder}: the pseudo labels are older than their checkpoint: {some([str(p) for p in changed])} "
                f"has changed since it made them; {WAY_OUT}, or set allow_old=True"
            )
        if missing:
            self.notes = (
                f"{self._folder}: whether the pseudo labels are older than their checkpoint is not known, since it is "
                f"gone: {some([str(path) for path in missing])}",
            )

    def _find_images(self) -> dict[str, int]:
        """Where each image is in the data set that gives the images; {} without one."""
        if self.dataset is None:
            return {}
        index = {str(name): i for i, name in enumerate(self.dataset.ids)}
        missing = [name for name in self.ids if name not in index]
        if missing:
            raise DataError(
                f"{self._folder}: {len(missing)} of {len(self.ids)} images are not in {type(self.dataset).__name__}: "
                f"{some(missing)}; name the data set that was labelled"
            )
        return index

    def _check_files(self) -> None:
        folders = [LABELS] + ([SCORES] if self.least_score else [])
        for folder in folders:
            missing = [name for name in self.ids if not (self._folder / folder / f"{name}.png").is_file()]
            if missing:
                hint = "; least_score needs segkit pseudo --scores" if folder == SCORES else ""
                raise DataError(
                    f"{self._folder / folder}: {len(missing)} of {len(self.ids)} files are missing: {some(missing)}"
                    f"{hint}; {WAY_OUT}"
                )

    def _check_unseen(self) -> None:
        seen = [None if maker.seen is None else set(maker.seen) for maker in self._makers]
        for name, entry in zip(self.ids, self._entries):
            for maker, keys in ((self._makers[number], seen[number]) for number in entry.makers):
                if keys is None or entry.key in keys:
                    what = (
                        "is not known to be unseen by" if maker.seen is None else "was labelled by a model that saw it:"
                    )
                    raise DataError(
                        f"{self._folder}: folds that leak: image {name} {what} {maker.file}; label it with the "
                        "checkpoint of the fold that held it out (segkit pseudo --unseen)"
                    )

    @property
    def makers(self) -> list[Maker]:
        """The checkpoints that made the labels of these images."""
        return [self._makers[number] for number in sorted({n for entry in self._entries for n in entry.makers})]

    def entry(self, index: int) -> Entry:
        """Returns what pseudo.json says of an image."""
        return self._entries[index]

    def path(self, index: int) -> str:
        if self.dataset is not None:
            return self.dataset.path(self._index[self.ids[index]])
        return os.path.normpath(self._folder / self._entries[index].image)

    def mask_path(self, index: int) -> str:
        return str(self._folder / LABELS / f"{self.ids[index]}.png")

    def image(self, index: int) -> np.ndarray:
        """Reads the image, from its file or from the data set that was labelled."""
        if self.dataset is not None:
            return self.dataset.image(self._index[self.ids[index]])
        channels = int(self._reading["channels"])
        return read_image(self.path(index), channels, **self.reading._asdict())

    def mask(self, index: int) -> np.ndarray:
        """Reads the pseudo labels, uint8 [H,W] of class indices and IGNORE."""
        path = self.mask_path(index)
        labels = self._table.apply(read_mask(path, self._table.color_remedy), path)
        if not self.least_score:
            return labels
        score_path = str(self._folder / SCORES / f"{self.ids[index]}.png")
        scores = read_mask(score_path, "export it again")
        self.check_size(index, scores.shape, (labels.shape[0], labels.shape[1]))
        return keep_sure(labels, scores.astype(np.float32) / np.float32(SCORE_STEPS), self.least_score)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads an image with its pseudo labels."""
        sample = super().sample(index, rng)
        return Sample(**{**sample, "meta": Meta(**{**sample["meta"], "pseudo": True})})


def inner_sets(dataset: Dataset) -> Iterator[Dataset]:
    """Yields a data set and all data sets inside of it."""
    yield dataset
    for value in vars(dataset).values():
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, Dataset):
                yield from inner_sets(inner)


def trained_on(dataset: Dataset) -> set[str]:
    """Returns the keys of a training set's images, with those that the makers of its pseudo labels were trained on."""
    keys = {image_key(dataset.path(index)) for index in range(len(dataset))}
    for inner in inner_sets(dataset):
        if isinstance(inner, PseudoLabels):
            keys |= {key for maker in inner.makers for key in maker.seen or ()}
    return keys


def leaks(train: Dataset, val: Dataset) -> str:
    """Returns how the images that score a model leak into its pseudo labels, as one sentence; "" where they do not.

    Args:
        train: the training set, with pseudo labels somewhere inside.
        val: the set that it is scored on.
    """
    pseudo = [inner for inner in inner_sets(train) if isinstance(inner, PseudoLabels)]
    if not pseudo:
        return ""
    held_out = {image_key(val.path(index)): val.path(index) for index in range(len(val))}
    for inner in pseudo:
        for maker in inner.makers:
            shared = sorted(held_out.keys() & set(maker.seen or ()))
            if shared:
                return (
                    f"folds that leak: {len(shared)} of {len(val)} images of `val` ({held_out[shared[0]]}) were "
                    f"trained on by {maker.file}, which made the pseudo labels of {inner.root}; make those of this "
                    "fold with checkpoints that held it out"
                )
    return ""

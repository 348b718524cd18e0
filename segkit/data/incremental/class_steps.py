"""A data set as one step of class-incremental learning sees it."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.incremental.plan import (
    BACKGROUND,
    CONVENTIONS,
    PARTS,
    SETTINGS,
    ClassPlan,
    check_choice,
    label_table,
    make_plan,
)
from segkit.data.incremental.selection import EXCLUSIVE, classes_of_images, read_lists, select_images
from segkit.files import DataError
from segkit.registry import DATASETS, ConfigError
from segkit.types import IGNORE, Sample

FEW = 64
"""Masks up to which starting worker processes takes longer than reading."""

HARDLY_ANY = 0.05
"""Share of the images that show a step's classes; a step that keeps less is remarked on."""


@DATASETS.register
class ClassSteps(Dataset):
    """The images and labels of one step of a task on any semantic data set, as class-incremental methods see them.

    dataset: the whole data set. task: a published one ("voc_15-5", "ade_100-10", "camvid_7-4", ...), or steps: lists of
    class names or numbers, see `make_plan`, which also explains background and order_seed. step: 0 learns the base.
    setting: "overlapped" (all images that show a class of the step), "disjoint" (of these the images without a class of
    a later step), "sequential" (as disjoint, and old classes keep their labels) or "balanced" (each image in one step,
    as ADE20K's published lists are). part: "train", "val" (the step's own classes alone) or "test" (all seen classes).
    convention: "official" (the default: the published table was made under it, and what a step does not label is
    background, ignored pixels too) or "csseg", see `remap_table`. lists: folder of published train-STEP.npy files,
    which replace the selection in training. workers: processes of the first pass over the masks, None for one per core.

    Labels are changed as they are read. That is the same as changing them after augmentation, as the published code
    does, because augmentation moves labels and mixes none; pixels that padding adds stay ignored.
    """

    parts = {"dataset": DATASETS}

    def __init__(
        self,
        dataset: Dataset,
        task: str | None = None,
        step: int = 0,
        *,
        steps: Sequence[Sequence[int | str]] | None = None,
        setting: str = "overlapped",
        part: str = "train",
        convention: str = "official",
        background: str | int | None = BACKGROUND,
        order_seed: int | None = None,
        lists: str | None = None,
        workers: int | None = None,
    ):
        rule = dict(
            part=check_choice(part, PARTS, "part"),
            setting=check_choice(setting, SETTINGS, "setting"),
            convention=check_choice(convention, CONVENTIONS, "convention"),
        )
        self.dataset, self.step = dataset, step
        self.plan = make_plan(dataset, task, steps=steps, background=background, order_seed=order_seed)
        if not 0 <= step < len(self.plan.steps):
            raise ConfigError(f"ClassSteps.step = {step}: the task has the steps 0 to {len(self.plan.steps) - 1}")
        if lists is not None and part == "train":
            chosen = read_lists(lists, len(self.plan.steps), len(dataset))
        else:
            present = classes_of_images(dataset, self.plan, workers=_workers(workers, len(dataset)))
            chosen = select_images(present, self.plan, **rule)
        # A training stops before its first step, not at the one that has nothing to learn from. Steps before that
        # may have no image: classes are added to a checkpoint by images that are labelled for these alone.
        for number in range(step, len(chosen)) if part == "train" else (step,):
            if not len(chosen[number]):
                raise DataError(_nothing(dataset, self.plan, number, rule))
        self.images_of_steps = tuple(len(images) for images in chosen)
        self.indices = chosen[step]
        self.ids = [dataset.ids[index] for index in self.indices]
        self.classes, self.palette = self.plan.classes(step), self.plan.colors(step)
        self.folder = dataset.folder
        self.table = label_table(self.plan, step, **rule)
        self.shown = sorted(set(self.table.tolist()) - {IGNORE})  # what its labels can be
        self.notes = dataset.notes
        self.facts = (_counted(self.images_of_steps, len(dataset)),) if part == "train" else ()
        if lists is None and part == "train" and setting in EXCLUSIVE:
            shown = select_images(present, self.plan, setting="overlapped")
            self.notes += _sparse(chosen, shown, setting)

    ignore = IGNORE

    def path(self, index: int) -> str:
        return self.dataset.path(self.indices[index])

    def mask_path(self, index: int) -> str:
        return self.dataset.mask_path(self.indices[index])

    def has_mask(self, index: int) -> bool:
        return self.dataset.has_mask(self.indices[index])

    def image(self, index: int) -> np.ndarray:
        """-> uint8 or float32 [H,W,C]."""
        return self.dataset.image(self.indices[index])

    def mask(self, index: int) -> np.ndarray:
        """-> uint8 [H,W]: ranks among the model's outputs and 255."""
        return self._remapped(self.dataset.mask(self.indices[index]))

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> the data set's own sample with the step's labels."""
        sample = self.dataset.sample(self.indices[index], rng)
        return sample | {"mask": self._remapped(sample["mask"])} if "mask" in sample else sample

    def _remapped(self, mask: np.ndarray) -> np.ndarray:
        return cv2.LUT(mask, self.table) if mask.dtype == np.uint8 else self.table[mask]


def _counted(images: tuple[int, ...], total: int) -> str:
    """images: of each step; total: of the data set -> a line for the pre-flight report."""
    parts = [f"step {step} {count:,} ({100 * count / total:.0f} %)" for step, count in enumerate(images)]
    return f"images that a step trains on, of {total:,}: " + ", ".join(parts)


def _sparse(chosen: list[np.ndarray], shown: list[np.ndarray], setting: str) -> tuple[str, ...]:
    """chosen, shown: images of each step that it takes, and that show its classes -> a remark on each step that keeps
    hardly any."""
    return tuple(
        f"step {step} keeps {len(kept)} of the {len(all_of_them)} images that show its classes: '{setting}' leaves out "
        "those that show a class of a later step; setting='overlapped' keeps all"
        for step, (kept, all_of_them) in enumerate(zip(chosen, shown))
        if len(kept) < HARDLY_ANY * len(all_of_them)
    )


def _workers(workers: int | None, num_masks: int) -> int:
    if workers is not None:
        return workers
    cores = os.cpu_count() or 1
    return min(cores, 8) if cores > 1 and num_masks > FEW else 0


def _nothing(dataset: Dataset, plan: ClassPlan, step: int, rule: dict) -> str:
    """-> what to say of a step without an image."""
    names = ", ".join(plan.names[number] for number in plan.steps[step][:5])
    text = f"{type(dataset).__name__}: no image for step {step} ({names}{', ...' if len(plan.steps[step]) > 5 else ''})"
    if rule["setting"] in EXCLUSIVE and step + 1 < len(plan.steps):
        return (
            f"{text}: '{rule['setting']}' leaves out images that show a class of a later step, and every image that "
            "shows these does; use setting='overlapped'"
        )
    return f"{text} in the part '{rule['part']}': none of them is in a mask; check split and class order"

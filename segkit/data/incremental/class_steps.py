"""The images and labels of one step of class-incremental learning."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypedDict

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from segkit.constraints.named import NonNegativeInt, OneOf
from segkit.data.dataset import Dataset
from segkit.data.files.masks import read_mask
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
from segkit.data.incremental.proposals import read_proposals
from segkit.data.incremental.selection import EXCLUSIVE, classes_of_images, read_lists, select_images
from segkit.files import DataError
from segkit.registry import DATASETS, ConfigError
from segkit.types import IGNORE, UNKNOWN, Sample

FEW = 64
"""Up to this many masks, starting worker processes takes longer than reading."""

HARDLY_ANY = 0.05
"""A step that keeps a smaller share of the images that show its classes is remarked on."""


class _Rule(TypedDict):
    """How the images and labels of a step are chosen, see ClassSteps."""

    part: str
    setting: str
    convention: str


@DATASETS.register
class ClassSteps(Dataset):
    """One step of a class-incremental task on any semantic data set.

    Labels are changed as they are read. That is the same as changing them after augmentation, as the published code
    does, because augmentation moves labels and mixes none; pixels that padding adds stay ignored.

    Args:
        dataset: the whole data set.
        task: name of a published task ("voc_15-5", "ade_100-10", "camvid_7-4", ...); either this or steps.
        step: number of the step; 0 learns the base classes.
        steps: lists of class names or numbers, one list per step.
        setting: images of a step in training: "overlapped" (all images that show a class of the step), "disjoint" (of
            these the images without a class of a later step), "sequential" (as disjoint, and old classes keep their
            labels) or "balanced" (each image in one step, as in ADE20K's published lists).
        part: "train", "val" (the step's own classes alone) or "test" (all classes seen so far).
        convention: "official" (the default, since the published table was made under it: whatever a step does not label
            is background, ignored pixels too), "csseg", "ssul", "dkd" or "cropped", see `remap_table` and `Convention`.
        background: name or index of the data set's background, see `make_plan`.
        order_seed: shuffles the classes over the steps, see `make_plan`.
        lists: folder of published train-STEP.npy files, which replace the selection in training.
        saliency: folder of maps ID.png that are above 0 where something stands out; in training such pixels of the
            background become the label UNKNOWN, for the losses of SSUL. None for none.
        proposals: folder of maps ID.png of proposed regions, see read_proposals, which samples then hold. None for
            none.
        workers: processes of the first pass over the masks; None means one per core, 8 at most, and
            none beside this one for up to 64 masks.

    Raises:
        ConfigError: the task or another choice is unknown, or a class is in two steps, in none or outside the data set.
        DataError: in training this step or a later one has no image; in the other parts, this step.
    """

    parts = {"dataset": DATASETS}
    ignore = IGNORE

    def __init__(
        self,
        dataset: Dataset,
        task: str | None = None,
        step: NonNegativeInt = 0,
        *,
        steps: Sequence[Sequence[int | str]] | None = None,
        setting: Annotated[str, OneOf(SETTINGS)] = "overlapped",
        part: Annotated[str, OneOf(PARTS)] = "train",
        convention: Annotated[str, OneOf(CONVENTIONS)] = "official",
        background: str | int | None = BACKGROUND,
        order_seed: NonNegativeInt | None = None,
        lists: str | None = None,
        saliency: str | None = None,
        proposals: str | None = None,
        workers: NonNegativeInt | None = None,
    ):
        rule = _Rule(
            part=check_choice(part, PARTS, "part"),
            setting=check_choice(setting, SETTINGS, "setting"),
            convention=check_choice(convention, tuple(CONVENTIONS), "convention"),
        )
        self.dataset, self.step, self.convention = dataset, step, convention
        self.absent = CONVENTIONS[convention].absent
        self.crop = CONVENTIONS[convention].crop if part == "test" else 0
        self.plan = make_plan(dataset, task, steps=steps, background=background, order_seed=order_seed)
        if not 0 <= step < len(self.plan.steps):
            raise ConfigError(f"ClassSteps.step = {step}: the task has the steps 0 to {len(self.plan.steps) - 1}")
        if lists is not None and part == "train":
            chosen = read_lists(lists, len(self.plan.steps), len(dataset))
        else:
            present = classes_of_images(dataset, self.plan, workers=_workers(workers, len(dataset)))
            chosen = select_images(present, self.plan, **rule)
        # Training stops before its first step, not at a later one that has nothing to learn from. Steps before the
        # first may have no image: classes are added to a checkpoint by images that are labelled for these alone.
        for number in range(step, len(chosen)) if part == "train" else (step,):
            if not len(chosen[number]):
                raise DataError(_no_image(dataset, self.plan, number, rule))
        self.images_of_steps = tuple(len(images) for images in chosen)
        self.indices = chosen[step]
        self.ids = [dataset.ids[index] for index in self.indices]
        self.classes, self.palette = self.plan.classes(step), self.plan.colors(step)
        self.folder = dataset.folder
        self.read_like(dataset)
        self.table = label_table(self.plan, step, **rule)
        self.saliency = Path(saliency).expanduser() if saliency is not None and part == "train" else None
        if self.saliency is not None and len(self.plan.names) > UNKNOWN:
            raise ConfigError(f"ClassSteps.saliency: more than {UNKNOWN} classes leave no label for unknown objects")
        self.proposals = None if proposals is None else Path(proposals).expanduser()
        if self.proposals is not None and self.crop:
            raise ConfigError(
                f"ClassSteps.convention = '{convention}': cuts images, and proposed regions are of whole ones; choose "
                "another convention, or remove runner.proposals"
            )
        self.shown = sorted(set(self.table.tolist()) - {IGNORE})  # possible labels of a mask
        self.notes = dataset.notes
        self.facts = (_counted(self.images_of_steps, len(dataset)),) if part == "train" else ()
        if lists is None and part == "train" and setting in EXCLUSIVE:
            showing = select_images(present, self.plan, setting="overlapped")
            self.notes += _sparse(chosen, showing, setting)

    def path(self, index: int) -> str:
        return self.dataset.path(self.indices[index])

    def mask_path(self, index: int) -> str:
        return self.dataset.mask_path(self.indices[index])

    def has_mask(self, index: int) -> bool:
        return self.dataset.has_mask(self.indices[index])

    def image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 or float32 [H,W,C]; where the convention crops, its centre."""
        image = self.dataset.image(self.indices[index])
        return centre(image, self.crop) if self.crop else image

    def mask(self, index: int) -> np.ndarray:
        """Reads the labels of the step, uint8 [H,W]: ranks among the model's outputs, or 255."""
        mask = self._remapped(self.dataset.mask(self.indices[index]))
        return centre(mask, self.crop, are_labels=True) if self.crop else mask

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads the data set's own sample and gives it the labels of the step."""
        if self.crop:
            return super().sample(index, rng)
        sample = self.with_proposals(self.dataset.sample(self.indices[index], rng), self.ids[index])
        if "mask" not in sample:
            return sample
        return sample | {"mask": self.with_unknown(self._remapped(sample["mask"]), self.ids[index])}

    def with_proposals(self, sample: Sample, name: str) -> Sample:
        """Returns a sample of the whole data set with the proposed regions of its image; as it is where there are none.

        Args:
            sample: as read.
            name: id of the image.
        """
        if self.proposals is None:
            return sample
        height, width = sample["image"].shape[:2]
        return sample | {"proposals": read_proposals(self.proposals / f"{name}.png", (height, width))}

    def with_unknown(self, mask: np.ndarray, name: str) -> np.ndarray:
        """Returns labels with UNKNOWN on background that stands out; as they are where there are no such maps.

        Args:
            mask: uint8 [H,W], labels of the step.
            name: id of the image.
        """
        if self.saliency is None:
            return mask
        file = self.saliency / f"{name}.png"
        stands_out = read_mask(file) > 0
        if stands_out.shape != mask.shape:
            raise DataError(
                f"{file}: a map of {stands_out.shape[1]}x{stands_out.shape[0]} pixels for a mask of "
                f"{mask.shape[1]}x{mask.shape[0]}; save the maps of ClassSteps.saliency at the images' size"
            )
        return np.where((mask == 0) & stands_out, UNKNOWN, mask).astype(mask.dtype)

    def _remapped(self, mask: np.ndarray) -> np.ndarray:
        return cv2.LUT(mask, self.table) if mask.dtype == np.uint8 else self.table[mask]


def centre(picture: np.ndarray, side: int, *, are_labels: bool = False) -> np.ndarray:
    """Resizes a picture to a shorter side and cuts its square centre out, as torchvision does with one of PIL.

    Args:
        picture: uint8 or float32 [H,W,C], or labels uint8 [H,W].
        side: in pixels.
        are_labels: whether the nearest pixel is taken; otherwise pixels are weighted bilinearly, over a wider window
            where the picture shrinks.

    Returns:
        [side,side,C] or [side,side].
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    rows, columns = int(side * height / short), int(side * width / short)
    if are_labels:  # OpenCV's INTER_NEAREST shifts labels by up to half a pixel
        resized = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
    else:
        channels_first = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
        smooth = F.interpolate(channels_first, (rows, columns), mode="bilinear", antialias=True)
        resized = smooth[0].numpy().transpose(1, 2, 0)
    top, left = round((rows - side) / 2), round((columns - side) / 2)
    return np.ascontiguousarray(resized[top : top + side, left : left + side])


def _counted(images: tuple[int, ...], total: int) -> str:
    """A line for the pre-flight report: how many of all images each step trains on."""
    steps = [f"step {step} {count:,} ({100 * count / total:.0f} %)" for step, count in enumerate(images)]
    return f"images that a step trains on, of {total:,}: " + ", ".join(steps)


def _sparse(chosen: list[np.ndarray], showing: list[np.ndarray], setting: str) -> tuple[str, ...]:
    """A remark on each step that keeps hardly any of the images that show its classes."""
    return tuple(
        f"step {step} keeps {len(kept)} of the {len(candidates)} images that show its classes: '{setting}' leaves out "
        "those that show a class of a later step; setting='overlapped' keeps all"
        for step, (kept, candidates) in enumerate(zip(chosen, showing))
        if len(kept) < HARDLY_ANY * len(candidates)
    )


def _workers(workers: int | None, num_masks: int) -> int:
    if workers is not None:
        return workers
    cores = os.cpu_count() or 1
    return min(cores, 8) if cores > 1 and num_masks > FEW else 0


def _no_image(dataset: Dataset, plan: ClassPlan, step: int, rule: _Rule) -> str:
    """The error message for a step without an image."""
    names = ", ".join(plan.names[number] for number in plan.steps[step][:5])
    text = f"{type(dataset).__name__}: no image for step {step} ({names}{', ...' if len(plan.steps[step]) > 5 else ''})"
    if rule["setting"] in EXCLUSIVE and step + 1 < len(plan.steps):
        return (
            f"{text}: '{rule['setting']}' leaves out images that show a class of a later step, and every image that "
            "shows these does; use setting='overlapped'"
        )
    return f"{text} in the part '{rule['part']}': no mask shows one of its classes; check split and class order"

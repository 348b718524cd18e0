"""Selects the images that each step of a class-incremental task sees.

n images, K classes by their numbers, the background as 0.
"""

from pathlib import Path

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.mask_scan import ignore_of, scan
from segkit.data.incremental.plan import CONVENTIONS, ClassPlan
from segkit.files import DataError
from segkit.readers.arrays import read_npy

EXCLUSIVE = ("disjoint", "sequential")
"""Settings in which a step leaves out images that show a class of a later step."""

BALANCE_WEIGHT = 120.0
"""Weight, in the published procedure, of the share of a class's images that its step still lacks."""

WORD = 8
"""Pixels that are compared at once."""


def values_of(mask: np.ndarray) -> np.ndarray:
    """Values of an integer mask [H,W], ascending.

    Labels lie in regions: in masks of bytes, words of 8 pixels that equal the word before are skipped, which leaves one
    in six to look at.
    """
    if mask.dtype != np.uint8 or mask.size < WORD:
        return np.unique(mask)
    pixels = np.ascontiguousarray(mask).reshape(-1)
    words = pixels[: pixels.size // WORD * WORD].view(np.uint64)
    is_last = np.append(words[1:] != words[:-1], True)
    count = np.bincount(words[is_last].view(np.uint8), minlength=256)
    count[pixels[words.size * WORD :]] += 1
    return np.flatnonzero(count)


class PresentClasses:
    """Lists the classes of a mask; called on an integer mask [H,W].

    Args:
        num_classes: K of the data set.
        ignore: label of ignored pixels.
    """

    def __init__(self, num_classes: int, ignore: int):
        self.num_classes, self.ignore = num_classes, ignore

    def __call__(self, mask: np.ndarray) -> list[int]:
        """Returns the classes that the mask holds, ascending.

        Raises:
            DataError: a label is beyond K - 1.
        """
        found = [value for value in values_of(mask).tolist() if value != self.ignore]
        beyond = [value for value in found if not 0 <= value < self.num_classes]
        if beyond:
            raise DataError(f"label {beyond[0]} is no class of the data set; classes are 0..{self.num_classes - 1}")
        return found


def classes_of_images(dataset: Dataset, plan: ClassPlan, *, workers: int = 0) -> np.ndarray:
    """Finds the classes that each image shows.

    One pass over the masks serves all steps and is remembered while no mask changes, see segkit.data.files.mask_scan.

    Args:
        dataset: the whole data set.
        plan: gives the numbers of the classes.
        workers: number of processes that read masks.

    Returns:
        bool [n,K]: whether an image holds a pixel of the class. Column 0 stays False, since no rule asks for it.

    Raises:
        DataError: a mask has a label outside the classes; the message names the mask.
    """
    measure = PresentClasses(len(dataset.classes), ignore_of(dataset))
    present = [classes or [] for classes in scan(dataset, measure, "present", workers=workers)]
    table = np.zeros((len(present), len(plan.names)), bool)
    rows = np.repeat(np.arange(len(present)), [len(classes) for classes in present])
    columns = np.array([label for classes in present for label in classes], np.int64)
    table[rows, plan.numbers()[columns]] = True
    table[:, 0] = False
    return table


def select_images(
    present: np.ndarray,
    plan: ClassPlan,
    *,
    part: str = "train",
    setting: str = "disjoint",
    convention: str = "official",
) -> list[np.ndarray]:
    """Selects the images of each step. One pixel of a class is enough to show it.

    In training a step takes the images that show one of its classes; "disjoint" and "sequential" leave out those that
    show a class of a later step, "balanced" is `balanced_images`. Validation asks for the step's own classes and
    testing for any class seen so far, both without leaving out images.

    Args:
        present: bool [n,K] of `classes_of_images`.
        plan: the task.
        part: "train", "val" or "test".
        setting: "disjoint", "overlapped", "sequential" or "balanced".
        convention: name of one of CONVENTIONS.

    Returns:
        For each step the indices of its images, int64, in the order of the data set.
    """
    if part == "train" and setting == "balanced":
        return balanced_images(present, plan)
    rule = CONVENTIONS[convention]
    if part == "test" and rule.all_images:
        return [np.arange(len(present)) for _ in plan.steps]
    is_exclusive = setting in EXCLUSIVE and (part == "train" or rule.by_setting)
    wants_seen = part == "test" or (part == "val" and rule.by_setting)
    chosen = []
    for step, classes in enumerate(plan.steps):
        wanted = plan.old(step) + classes if wants_seen else classes
        taken = present[:, list(wanted)].any(1)
        if is_exclusive:
            taken &= ~present[:, list(plan.later(step))].any(1)
        chosen.append(np.flatnonzero(taken))
    return chosen


def balanced_images(present: np.ndarray, plan: ClassPlan) -> list[np.ndarray]:
    """Assigns every image with a class to exactly one step.

    The procedure by which the lists of ADE20K were made (ADE-Split.ipynb of fcdl94/MiB). Images come in the order in
    which they first appear when the classes 1, 2, ... are gone through. Each class j of an image scores
    120 (1 - given_j / total_j) + (sum of the totals of the image's classes) / total_j. The image goes to the step of
    the class with the highest score, the first of equal ones, and counts as given to every class of that step it shows.
    The result depends on the class order, which was drawn without a seed: the published lists themselves are read with
    `read_lists`.

    Args:
        present: bool [n,K] of `classes_of_images`.
        plan: the task.

    Returns:
        For each step the indices of its images, int64, ascending.
    """
    totals = present.sum(0)
    step_of = {number: step for step, classes in enumerate(plan.steps) for number in classes}
    given = np.zeros(present.shape[1])
    taken: list[list[int]] = [[] for _ in plan.steps]
    first = np.where(present.any(1), present.argmax(1), present.shape[1])
    for image in np.argsort(first, kind="stable")[: int(present.any(1).sum())]:
        classes = np.flatnonzero(present[image])
        total = totals[classes]
        # the published form of the second term, so that ties are broken alike
        score = (1.0 - given[classes] / total) * BALANCE_WEIGHT + 1.0 / (total / total.sum())
        step = step_of[int(classes[score.argmax()])]
        taken[step].append(int(image))
        given[[number for number in classes.tolist() if step_of[number] == step]] += 1
    return [np.array(sorted(images), np.int64) for images in taken]


def read_lists(folder: str | Path, num_steps: int, num_images: int) -> list[np.ndarray]:
    """Reads the published lists of images, in the order of the files.

    Args:
        folder: holds train-0.npy, train-1.npy, ... as fcdl94/MiB ships them in data/ade/TASK. An index is a rank in the
            data set's order (ADE20K: the sorted training images; VOC: the lines of train_aug.txt).
        num_steps: of the task.
        num_images: of the whole training split.

    Returns:
        The indices of each step, int64.

    Raises:
        DataError: a file is missing or does not fit the data set.
    """
    lists = []
    for step in range(num_steps):
        path = Path(folder).expanduser() / f"train-{step}.npy"
        try:
            indices = read_npy(path)
        except DataError as error:
            advice = f"the task has {num_steps} steps, each with a train-STEP.npy in this folder"
            raise DataError(f"{path}: no list of images ({error}); {advice}") from error
        if indices.ndim != 1 or indices.dtype.kind not in "ui" or not len(indices):
            raise DataError(f"{path}: {indices.dtype} array of {indices.shape}; expected a list of whole numbers")
        if indices.min() < 0 or indices.max() >= num_images:
            raise DataError(
                f"{path}: index {int(indices.min() if indices.min() < 0 else indices.max())} is out of range; the data "
                f"set has {num_images} images: is it the whole training split?"
            )
        if len(np.unique(indices)) < len(indices):
            raise DataError(f"{path}: an image is listed twice")
        lists.append(indices.astype(np.int64))
    return lists

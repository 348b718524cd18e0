"""Targets of SegFix from label maps: distance to the nearest other class, and the direction away from it.

Yuan et al., SegFix, ECCV 2020, https://arxiv.org/abs/2007.04269; numbers and files as in its published code,
https://github.com/openseg-group/openseg.pytorch. H W image.
"""

import io
import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.data.dataset import Dataset
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.data.semantic.segfix import DEGREES, target_file
from segkit.files import write_whole

LEAST_PIXELS = 100
"""Pixels below which a class of an image has neither distances nor directions."""

MOST_DEPTH = 250.0
"""Distance at which the stored ones are cut off."""

KERNEL = 5
"""Side of the kernels that take directions from distances."""


def _kernels() -> Tensor:
    """Weights y / (y^2 + x^2) and x / (y^2 + x^2) around the center, float32 [2,1,KERNEL,KERNEL]."""
    steps = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return (torch.stack([y, x]) / (y * y + x * x).clamp_min(1)).float().unsqueeze(1)


def boundary_targets(labels: np.ndarray, ignore: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the distance of each pixel to the nearest pixel of another class, and the direction away from it.

    Pixels of classes with fewer than LEAST_PIXELS pixels in the image, and ignored ones, have distance and angle 0. An
    image of one class alone has no boundary: the greatest distance everywhere.

    Args:
        labels: [H,W] of class indices.
        ignore: the label of pixels without a class, which are another class to all.

    Returns:
        The distance, rounded down, uint8 [H,W]; and half of atan2(y, x) + 180 degrees, rounded down, uint8 [H,W].
    """
    from scipy.ndimage import distance_transform_edt

    depth = np.zeros(labels.shape, np.float32)
    vectors, kernels = np.zeros((2, *labels.shape), np.float32), _kernels()
    for value in np.unique(labels):
        is_class = labels == value
        if value == ignore or is_class.sum() < LEAST_PIXELS:
            continue
        if is_class.all():
            depth[:] = MOST_DEPTH
            continue
        # the nearest pixel outside of a rectangle around a class is never nearer than one of its rim
        rows, columns = (np.flatnonzero(is_class.any(axis=axis)) for axis in (1, 0))
        y, x = (slice(max(line[0] - 1, 0), line[-1] + 2) for line in (rows, columns))
        inside = is_class[y, x]
        distance = distance_transform_edt(inside).astype(np.float32)
        depth[y, x][inside] = distance[inside]
        # by torch, as published: where the sum is 0 up to rounding, the order of its terms decides the angle
        slopes = F.conv2d(torch.from_numpy(distance)[None, None], kernels, padding=KERNEL // 2)[0]
        for vector, slope in zip(vectors, slopes.numpy()):
            vector[y, x][inside] = slope[inside]
    angle = (np.degrees(np.arctan2(vectors[0], vectors[1])) + 180) / DEGREES
    return np.minimum(depth, MOST_DEPTH).astype(np.uint8), angle.astype(np.uint8)


def prepare_segfix(dataset: Dataset, folder: Path, *, processes: int = 1) -> tuple[int, int]:
    """Writes the targets of all labelled images of a data set: folder/ID.mat, in the published code's format.

    A target that is newer than its mask's file stays as it is, so that a broken run continues.

    Args:
        dataset: gives the label maps.
        folder: of the files.
        processes: how many processes work at once.

    Returns:
        How many files were written, and how many stayed.

    Raises:
        DataError: a mask cannot be read, or a file cannot be written.
    """
    labelled = {dataset.ids[i]: i for i in range(len(dataset)) if dataset.has_mask(i)}
    left = [name for name, index in labelled.items() if not _is_made(dataset, index, target_file(folder, name))]
    journal = Journal(folder / ".segfix.part", {"set": "segfix"})
    is_finished = False
    try:
        write = partial(_write, dataset=dataset, folder=folder, indices=labelled)
        run_jobs(left, write, journal, processes=processes, label="segfix")
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return len(left), len(labelled) - len(left)


def _is_made(dataset: Dataset, index: int, path: Path) -> bool:
    """Whether an item's targets are newer than its mask."""
    mask = Path(dataset.mask_path(index))
    return path.is_file() and not (mask.is_file() and mask.stat().st_mtime > path.stat().st_mtime)


def _write(name: str, dataset: Dataset, folder: Path, indices: dict[str, int]) -> None:
    from scipy.io import savemat

    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # each process has one core, and threads of its parent are lost in it
    depth, angle = boundary_targets(dataset.mask(indices[name]), dataset.ignore)
    content = io.BytesIO()
    savemat(content, {"depth": depth, "dir_deg": angle, "deg_reduce": DEGREES}, do_compression=True)
    write_whole(target_file(folder, name), content.getvalue(), "choose another folder for the targets")

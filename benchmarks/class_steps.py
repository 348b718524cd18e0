"""Image selection of class-incremental tasks against a loop over np.unique per image and step, in one process.

    python benchmarks/class_steps.py [MAPS]

Label maps have outlines like VOC's (500x375, up to four classes and a void border); they are read from PNG files by
both sides. "maps in memory" leaves the reading out. The product of both is compared, and the fastest of three passes
counts. MAPS: number of maps, 400 where not given; both sides grow with it.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from segkit.data.dataset import Dataset
from segkit.data.files.masks import read_mask
from segkit.data.incremental.orders import TASKS
from segkit.data.incremental.plan import make_plan
from segkit.data.incremental.selection import classes_of_images, select_images

SETTING = "overlapped"
ROUNDS = 3
NAMES = ("background", *(f"class {i}" for i in range(1, 21)))


class Maps(Dataset):
    """Label maps in memory, or in PNG files of a folder."""

    classes = NAMES

    def __init__(self, maps: list[np.ndarray], folder: str | None = None):
        self.ids = [str(i) for i in range(len(maps))]
        self._cache, self.place = maps, folder
        for i, labels in enumerate(maps if folder else []):
            cv2.imwrite(self.mask_path(i), labels)

    def mask_path(self, index: int) -> str:
        return f"{self.place}/{index}.png" if self.place else self.ids[index]

    def mask(self, index: int) -> np.ndarray:
        return read_mask(Path(self.mask_path(index))) if self.place else self._cache[index]


def label_map(rng: np.random.Generator, height: int = 375, width: int = 500) -> np.ndarray:
    """-> uint8 [H,W]: objects of up to four classes on background, each with a border of void."""
    labels = np.zeros((height, width), np.uint8)
    for value in rng.choice(np.arange(1, 21), rng.integers(1, 5), replace=False):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(20, 160)), int(rng.integers(20, 120)))
        turn = float(rng.integers(180))
        cv2.ellipse(labels, centre, axes, turn, 0, 360, int(value), -1)
        cv2.ellipse(labels, centre, axes, turn, 0, 360, 255, 4)
    return labels


def by_loop(dataset: Maps, steps) -> list[list[int]]:
    """The published code's way: every step reads every map and asks np.unique for its values."""
    chosen = []
    for classes in steps:
        images = []
        for index in range(len(dataset)):
            found = np.unique(dataset.mask(index))
            if any(value in classes for value in found):
                images.append(index)
        chosen.append(images)
    return chosen


def by_segkit(dataset: Maps, task: str) -> list[list[int]]:
    """All steps from one pass, nothing remembered from a pass before."""
    plan = make_plan(dataset, task)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGKIT_CACHE"] = folder
        present = classes_of_images(dataset, plan)
    return [images.tolist() for images in select_images(present, plan, setting=SETTING)]


def fastest(call) -> tuple[float, list]:
    """-> seconds of the fastest round and what it returned."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return best, result


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    rng = np.random.default_rng(0)
    maps = [label_map(rng) for _ in range(count)]
    print("| task | steps | maps | loop / segkit |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for where, dataset in (("in memory", Maps(maps)), ("in PNG files", Maps(maps, folder))):
            for task in ("voc_15-5", "voc_15-5s", "voc_10-1"):
                slow, expected = fastest(lambda: by_loop(dataset, TASKS[task]))  # noqa: B023
                fast, found = fastest(lambda: by_segkit(dataset, task))  # noqa: B023
                assert found == expected
                print(f"| {task} | {len(TASKS[task])} | {count} {where} | {slow / fast:.1f} |", flush=True)


if __name__ == "__main__":
    main()

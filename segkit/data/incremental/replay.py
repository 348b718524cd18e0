"""The images of a class step with remembered ones of earlier steps, and a sampler that mixes them in halves."""

from pathlib import Path

import cv2
import numpy as np

from segkit.constraints.named import NonNegativeInt
from segkit.data.dataset import Dataset
from segkit.data.incremental.class_steps import ClassSteps
from segkit.data.incremental.plan import label_table
from segkit.data.samplers import Sampler, Shuffle
from segkit.files import DataError, parse_json, read_text
from segkit.registry import DATASETS, SAMPLERS, ConfigError
from segkit.types import Sample

MEMORY = "memory.json"
"""The list of a step in its folder."""


def read_memory(path: Path) -> tuple[list[str], list[list[int]], list[int]]:
    """Reads the list of a step.

    Args:
        path: a file that a run with runner.memory has written.

    Returns:
        The ids of the images, the classes that each shows, and how many images of all steps so far are labelled with
        each class, where the rule that chose them asks for it, otherwise [].

    Raises:
        DataError: it is missing, or something else.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: the images that this step replays, which the step before it leaves there, are missing; train "
            "that step with runner.memory (--from-step)"
        )
    content = parse_json(read_text(path), path)
    images = content.get("images") if isinstance(content, dict) else None
    is_right = isinstance(images, list) and all(
        isinstance(one, dict) and isinstance(one.get("id"), str) and isinstance(one.get("classes"), list)
        for one in images
    )
    if not is_right or not images:
        raise DataError(f"{path}: is no list of remembered images; train the step before this one again")
    return [one["id"] for one in images], [one["classes"] for one in images], content.get("counts", [])


@DATASETS.register
class Replay(Dataset):
    """The images of a class step, and after them those of a memory with the labels of all classes seen so far.

    The labels of remembered images are read by the table of this step: class k is output k in both. (Two published
    codes read them by another table than the new images.)

    Args:
        dataset: the step, a ClassSteps in training.
        memory: file memory.json of the step before.

    Raises:
        ConfigError: the data set is no ClassSteps.
        DataError: the file is missing, or names an image that the data set does not have.
    """

    parts = {"dataset": DATASETS}

    def __init__(self, dataset: Dataset, memory: str):
        if not isinstance(dataset, ClassSteps):
            raise ConfigError(f"Replay.dataset = {type(dataset).__name__}: must be a ClassSteps")
        self.dataset, self.steps, self.whole = dataset, dataset, dataset.dataset
        self.plan, self.step = dataset.plan, dataset.step
        names, _, _ = read_memory(Path(memory))
        numbers = {name: index for index, name in enumerate(self.whole.ids)}
        missing = [name for name in names if name not in numbers]
        if missing:
            raise DataError(
                f"{memory}: remembers the image {missing[0]}, which {type(self.whole).__name__} does not hold; is the "
                "data the same as in the step before?"
            )
        self.remembered = [numbers[name] for name in names]
        self.ids = [*dataset.ids, *(f"memory:{name}" for name in names)]
        self.classes, self.palette, self.folder = dataset.classes, dataset.palette, dataset.folder
        self.read_like(dataset)
        convention = dataset.convention
        self.table = label_table(self.plan, self.step, part="train", setting="sequential", convention=convention)
        self.shown, self.notes = None, dataset.notes
        self.facts = (*dataset.facts, f"images of earlier steps that are replayed: {len(self.remembered):,}")

    @property
    def num_new(self) -> int:
        """Images of the step itself; those behind them are remembered."""
        return len(self.dataset)

    def _place(self, index: int) -> tuple[Dataset, int]:
        """The data set that reads an item, and the index there."""
        if index < self.num_new:
            return self.dataset, index
        return self.whole, self.remembered[index - self.num_new]

    def path(self, index: int) -> str:
        dataset, number = self._place(index)
        return dataset.path(number)

    def mask_path(self, index: int) -> str:
        dataset, number = self._place(index)
        return dataset.mask_path(number)

    def has_mask(self, index: int) -> bool:
        dataset, number = self._place(index)
        return dataset.has_mask(number)

    def image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 or float32 [H,W,C]."""
        dataset, number = self._place(index)
        return dataset.image(number)

    def mask(self, index: int) -> np.ndarray:
        """Reads labels, uint8 [H,W]: ranks among the model's outputs, or 255."""
        dataset, number = self._place(index)
        return dataset.mask(number) if dataset is self.dataset else self._remapped(dataset.mask(number))

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads the data set's own sample with the labels of its place."""
        dataset, number = self._place(index)
        sample = dataset.sample(number, rng)
        if dataset is self.dataset:
            return sample
        sample = self.steps.with_proposals(sample, self.whole.ids[number])
        if "mask" not in sample:
            return sample
        return sample | {"mask": self.steps.with_unknown(self._remapped(sample["mask"]), self.whole.ids[number])}

    def _remapped(self, mask: np.ndarray) -> np.ndarray:
        return cv2.LUT(mask, self.table) if mask.dtype == np.uint8 else self.table[mask]


@SAMPLERS.register
class HalfReplay(Sampler):
    """Every second image of the stream is a remembered one: half of each batch, as SSUL-M trains.

    The images of the step come in the order of Shuffle, of which every second one is left out as the batch of memory
    takes its place; those of memory in an order of their own, again and again. An epoch is as long as without memory.

    Args:
        dataset: a Replay.
        seed: of the orders.

    Raises:
        ConfigError: the data set is no Replay.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0):
        super().__init__(dataset, seed)
        if not isinstance(dataset, Replay):
            raise ConfigError(f"HalfReplay: {type(dataset).__name__} remembers no images; use Shuffle")
        self.num_new = self.epoch = dataset.num_new
        self._new = Shuffle(dataset.dataset, seed)
        self._old = Shuffle(_Remembered(len(dataset.remembered)), seed + 1)

    def index(self, position: int) -> int:
        if position % 2 == 0:
            return self._new.index(position)
        return self.num_new + self._old.index(position // 2)


class _Remembered(Dataset):
    """Items of a memory, for the sampler, which counts them alone."""

    def __init__(self, count: int):
        self.ids = [str(number) for number in range(count)]

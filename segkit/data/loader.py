"""From a data set to batches of tensors: seeding by position, collation, worker processes."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from segkit.data.dataset import Dataset
from segkit.data.samplers import Sampler, batches, shard
from segkit.types import CLICK_IGNORE, IGNORE, Batch, Sample

LISTS = ("boxes", "labels", "crowd")
SIZES = ("size", "valid", "whole")


class TrainItems(TorchDataset):
    """Item (position, index) -> transformed sample; its randomness is a function of (seed, position) alone.

    sampler: its focus(position) becomes meta["focus"]; without one, as where it is None, there is no such key.
    """

    def __init__(self, dataset: Dataset, transforms: list[Callable], seed: int, sampler: Sampler | None = None):
        self.dataset, self.transforms, self.seed, self.sampler = dataset, transforms, seed, sampler

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        position, index = key
        rng = np.random.default_rng([self.seed, position])
        sample = self.dataset.sample(index, rng)
        focus = self.sampler.focus(position) if self.sampler is not None else None
        if focus is not None:
            sample["meta"] = {**sample["meta"], "focus": focus}
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


class EvalItems(TorchDataset):
    """Item index -> sample whose image is transformed and whose labels stay as they are, at original size."""

    def __init__(self, dataset: Dataset, transforms: list[Callable]):
        self.dataset, self.transforms = dataset, transforms

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([0, index])
        raw = self.dataset.sample(index, rng)
        sample = Sample(image=raw["image"], meta=raw["meta"])
        for transform in self.transforms:
            sample = transform(sample, rng)
        return Sample({**raw, **sample})


def _pad_stack(arrays: list[np.ndarray], fill: float) -> Tensor:
    """[h_i,w_i,...] arrays -> [B,H,W,...], padded at the right and bottom with fill."""
    height, width = (max(a.shape[axis] for a in arrays) for axis in (0, 1))
    if all(a.shape[:2] == (height, width) for a in arrays):
        return torch.from_numpy(np.stack(arrays))
    out = np.full((len(arrays), height, width, *arrays[0].shape[2:]), fill, arrays[0].dtype)
    for place, array in zip(out, arrays):
        place[: array.shape[0], : array.shape[1]] = array
    return torch.from_numpy(out)


def _collate_images(samples: list[Sample]) -> Batch:
    images = _pad_stack([sample["image"] for sample in samples], 0).permute(0, 3, 1, 2)
    metas = [{**s["meta"], "valid": tuple(s["meta"].get("valid", s["image"].shape[:2]))} for s in samples]
    batch = Batch(image=images, meta=metas)
    for key in LISTS:
        if key in samples[0]:
            batch[key] = [torch.as_tensor(sample[key]) for sample in samples]
    if "masks" in samples[0]:
        batch["masks"] = [s["masks"] if isinstance(s["masks"], list) else torch.as_tensor(s["masks"]) for s in samples]
    if "window" in samples[0]:
        batch["window"] = [(*map(int, s["window"]), *s["meta"].get("whole", ())) for s in samples]
    if "clicks" in samples[0]:
        batch["clicks"] = torch.from_numpy(np.stack([sample["clicks"] for sample in samples]))
    return batch


def collate_train(samples: list[Sample], ignore: int = IGNORE) -> Batch:
    """Samples -> Batch: image [B,C,H,W] as stored (a channels-last view), mask int64 or float32 [B,H,W], pixel_weight
    float32 [B,H,W], 0 where it is padded."""
    batch = _collate_images(samples)
    if "pixel_weight" in samples[0]:
        batch["pixel_weight"] = _pad_stack([sample["pixel_weight"] for sample in samples], 0)
    if "mask" in samples[0]:
        is_soft = np.issubdtype(samples[0]["mask"].dtype, np.floating)
        mask = _pad_stack([sample["mask"] for sample in samples], CLICK_IGNORE if is_soft else ignore)
        batch["mask"] = mask if is_soft else mask.long()
    return batch


def collate_eval(samples: list[Sample]) -> Batch:
    """Samples -> Batch whose labels stay lists at original size."""
    batch = _collate_images(samples)
    if "mask" in samples[0]:
        batch["mask"] = [torch.from_numpy(np.ascontiguousarray(sample["mask"])) for sample in samples]
    return batch


def _start_worker(_: int) -> None:
    import signal

    import cv2

    # Ctrl-C reaches every process of a terminal; the main one decides when the workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    cv2.setNumThreads(0)  # one thread per worker: OpenCV's own threads only fight over the cores


class _Batches:
    """The endless list of keys as DataLoader wants it."""

    def __init__(self, make: Callable[[], Iterator]):
        self.make = make

    def __iter__(self) -> Iterator:
        return self.make()


def train_loader(
    items: TrainItems,
    sampler: Sampler,
    *,
    batch_size: int,
    workers: int,
    prefetch: int = 2,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
) -> Iterator[Batch]:
    """Endless batches from batch number `start` on, equal for any number of workers."""
    keys = _Batches(lambda: batches(sampler, batch_size, start=start, rank=rank, world_size=world_size))
    ignore = getattr(items.dataset, "ignore", IGNORE)
    loader = DataLoader(
        items,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_Collate(ignore),
        worker_init_fn=_start_worker,
        pin_memory=pin,
        prefetch_factor=prefetch if workers else None,
        generator=torch.Generator(),
    )
    return iter(loader)


class _Collate:
    """collate_train with its ignore value, picklable for spawned workers."""

    def __init__(self, ignore: int):
        self.ignore = ignore

    def __call__(self, samples: list[Sample]) -> Batch:
        return collate_train(samples, self.ignore)


def eval_loader(
    items: EvalItems, *, batch_size: int, workers: int, rank: int = 0, world_size: int = 1, pin: bool = False
) -> DataLoader:
    """Batches over this process's share of the data set; no image is repeated or left out over all processes."""
    indices = shard(len(items.dataset), rank, world_size)
    keys = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    return DataLoader(
        items,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate_eval,
        pin_memory=pin,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on the device; copies overlap with work where memory is pinned."""
    moved = Batch({key: _move(value, device) for key, value in batch.items()})
    if "meta" in moved:
        # pinning makes lists of tuples in older versions of torch
        moved["meta"] = [{**one, **{key: tuple(one[key]) for key in SIZES if key in one}} for one in moved["meta"]]
    return moved


def _move(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [tensor.to(device, non_blocking=True) for tensor in value]
    return value

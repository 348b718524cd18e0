"""From a data set to batches of tensors: seeding by position, collation, worker processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeAlias, cast, get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from segkit.data.dataset import Dataset
from segkit.data.files.object_masks import packed_unless_array
from segkit.data.samplers import Sampler, batches, shard
from segkit.data.transforms.mixing import MixingTransform
from segkit.data.transforms.schedule import LONG, of_step
from segkit.data.transforms.way_back import for_network
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.types import CLICK_IGNORE, IGNORE, Batch, Meta, Sample

SampleChange: TypeAlias = Callable[[Sample, np.random.Generator], Sample]
"""A transform."""

ListedKey = Literal["boxes", "labels", "crowd", "mask_quality", "points", "point_labels"]
LISTED_KEYS: tuple[ListedKey, ...] = get_args(ListedKey)
"""Keys of a batch that stay lists of one tensor per image, because images hold different numbers of objects."""

MapKey = Literal["pixel_weight", "angle", "coarse", "clean", "unlabelled", "proposals"]
MAP_KEYS: tuple[MapKey, ...] = get_args(MapKey)
"""Keys of maps [H,W] or images [H,W,C] beside the mask and the image, which are padded by 0."""

META_SIZES: tuple[Literal["size", "valid", "whole"], ...] = ("size", "valid", "whole")
"""Keys of meta that hold a pair (height, width)."""


class TrainItems(TorchDataset):
    """Transformed training samples, read by (position, index).

    All randomness of an item is a function of (seed, position).

    Args:
        dataset: the training set.
        transforms: applied in order.
        seed: of the run.
        sampler: its focus(position) becomes meta["focus"]; the key is missing without a sampler, and where it gives
            None.

    Attributes:
        images_per_step, total_steps: of the training, from which transforms know how far it is; 1 and 0, before a loop
            has set them, stand for its start.
    """

    images_per_step: int = 1
    total_steps: int = 0

    def __init__(self, dataset: Dataset, transforms: list[SampleChange], seed: int, sampler: Sampler | None = None):
        self.dataset, self.transforms, self.seed, self.sampler = dataset, transforms, seed, sampler

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        position, index = key
        rng = np.random.default_rng([self.seed, position])
        sample = self.dataset.sample(index, rng)
        focus = self.sampler.focus(position) if self.sampler is not None else None
        if focus is not None:
            sample["meta"] = {**sample["meta"], "focus": focus}
        return self.changed(sample, self.transforms_at(position // self.images_per_step), rng)

    def transforms_at(self, step: int) -> list[SampleChange]:
        """Returns the transforms of a step of the training; before a loop has set its length, those of the start."""
        return of_step(self.transforms, step if self.total_steps else 0, self.total_steps or LONG)

    def changed(self, sample: Sample, transforms: list[SampleChange], rng: np.random.Generator) -> Sample:
        """Applies transforms in order; partners to mix with are changed by those before, without being mixed.

        Args:
            sample: as read.
            transforms: of one step.
            rng: draws everything, and the partners.
        """
        for number, transform in enumerate(transforms):
            if not isinstance(transform, MixingTransform):
                sample = transform(sample, rng)
            elif rng.random() < transform.p:
                partner = self.dataset.sample(int(rng.integers(len(self.dataset))), rng)
                for earlier in transforms[:number]:
                    partner = partner if isinstance(earlier, MixingTransform) else earlier(partner, rng)
                sample = transform.mix(sample, partner, rng)
        return sample


class EvalItems(TorchDataset):
    """Samples for evaluation, read by index: the image is transformed, the labels stay at their original size.

    Proposed regions, which the network reads beside the image, are transformed with it.

    meta["matrix"] tells predictions the way back to that size.

    Args:
        dataset: the set to score on.
        transforms: applied in order, to image and meta alone.
        keep_stored: whether samples also hold the image as it is stored, see Runner.refiners.
    """

    def __init__(self, dataset: Dataset, transforms: list[SampleChange], *, keep_stored: bool = False):
        self.dataset, self.transforms, self.keep_stored = dataset, transforms, keep_stored

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([0, index])
        raw = self.dataset.sample(index, rng)
        read = Sample(image=raw["image"], meta=raw["meta"])
        if "proposals" in raw:
            read["proposals"] = raw["proposals"]
        sample = for_network(read, self.transforms, rng)
        if self.keep_stored:
            sample["stored"] = raw["image"]
        return Sample({**raw, **sample})


def _pad_stack(arrays: list[np.ndarray], fill: float) -> Tensor:
    """Stacks arrays [h_i,w_i,...] to [B,H,W,...], padding them at the right and bottom with `fill`."""
    height = max(array.shape[0] for array in arrays)
    width = max(array.shape[1] for array in arrays)
    if all(array.shape[:2] == (height, width) for array in arrays):
        # which a process that reads writes into shared memory at once, where the batch has to go
        return default_collate([_as_tensor(array) for array in arrays])
    stack = np.full((len(arrays), height, width, *arrays[0].shape[2:]), fill, arrays[0].dtype)
    for canvas, array in zip(stack, arrays):
        canvas[: array.shape[0], : array.shape[1]] = array
    return torch.from_numpy(stack)


def _as_tensor(array: np.ndarray) -> Tensor:
    """Shares memory with the array where torch can: not with a mirrored view, and not with what must not change."""
    is_usable = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if is_usable else array.copy())


def _collate_images(samples: list[Sample]) -> Batch:
    """The keys that training and evaluation collate alike."""
    images = _pad_stack([sample["image"] for sample in samples], 0).permute(0, 3, 1, 2)
    metas = [Meta(**{**s["meta"], "valid": tuple(s["meta"].get("valid", s["image"].shape[:2]))}) for s in samples]
    batch = Batch(image=images, meta=metas)
    for key in LISTED_KEYS:
        if key in samples[0]:
            batch[key] = [torch.as_tensor(sample[key]) for sample in samples]
    if "window" in samples[0]:
        batch["window"] = [(*map(int, s["window"]), *s["meta"].get("whole", ())) for s in samples]
    for name in ("clicks", "focus", "focus_image", "focus_mask", "boundary"):  # of one shape in all samples
        if name in samples[0]:
            batch[name] = torch.from_numpy(np.stack([s[name] for s in samples]))  # type: ignore[literal-required]
    return batch


def collate_train(samples: list[Sample], ignore: int = IGNORE) -> Batch:
    """Collates transformed samples to a training batch.

    Args:
        samples: with the same keys. Images of different sizes are padded at the right and bottom.
        ignore: label of padded pixels of integer masks; float masks (click targets) get CLICK_IGNORE.

    Returns:
        A batch with image [B,C,H,W] of the samples' dtype (a channels-last view), mask int64 or float32 [B,H,W], or
        [B,K,H,W] of overlapping classes, pixel_weight and angle float32, coarse, unlabelled and proposals uint8
        [B,H,W], 0 where they are padded, masks as a list of uint8 [n,h,w] or PackedMasks, and what else the samples
        hold.
    """
    return _with_wide_labels(_collate_training(samples, ignore))


def _collate_training(samples: list[Sample], ignore: int) -> Batch:
    """As collate_train, but labels keep the samples' integer type, an eighth of the bytes between processes."""
    batch = _collate_images(samples)
    if "masks" in samples[0]:
        # a sample that no transform moved still has run-length codes
        sizes = [(sample["image"].shape[0], sample["image"].shape[1]) for sample in samples]
        batch["masks"] = [packed_unless_array(sample["masks"], size) for sample, size in zip(samples, sizes)]
    for key in MAP_KEYS:
        if key in samples[0]:
            stack = _pad_stack([sample[key] for sample in samples], 0)
            batch[key] = stack if stack.dim() == 3 else stack.permute(0, 3, 1, 2)
    if "mask" in samples[0]:
        is_soft = np.issubdtype(samples[0]["mask"].dtype, np.floating)
        mask = _pad_stack([sample["mask"] for sample in samples], CLICK_IGNORE if is_soft else ignore)
        batch["mask"] = mask if mask.dim() == 3 else mask.permute(0, 3, 1, 2).contiguous()
    return batch


def _with_wide_labels(batch: Batch) -> Batch:
    """A new batch with stacked labels as int64, which losses take; others keep theirs."""
    mask = batch.get("mask")
    if isinstance(mask, Tensor) and not mask.is_floating_point():
        return cast(Batch, {**batch, "mask": mask.long()})
    return batch


def collate_eval(samples: list[Sample]) -> Batch:
    """Collates samples for evaluation: images as `collate_train`, masks as a list at their original sizes."""
    batch = _collate_images(samples)
    if "masks" in samples[0]:
        masks = [sample["masks"] for sample in samples]
        batch["masks"] = [torch.as_tensor(of_one) if isinstance(of_one, np.ndarray) else of_one for of_one in masks]
    if "mask" in samples[0]:
        batch["mask"] = [_of_one(sample["mask"]) for sample in samples]
    if "proposals" in samples[0]:
        batch["proposals"] = _pad_stack([sample["proposals"] for sample in samples], 0)
    if "start" in samples[0]:
        batch["start"] = [_of_one(sample["start"]) for sample in samples]
    if "stored" in samples[0]:
        batch["stored"] = [torch.from_numpy(np.ascontiguousarray(s["stored"])).permute(2, 0, 1) for s in samples]
    return batch


def _of_one(mask: np.ndarray) -> Tensor:
    """A mask at its original size, [H,W] or, of overlapping classes, [K,H,W]."""
    return torch.from_numpy(np.ascontiguousarray(mask if mask.ndim == 2 else mask.transpose(2, 0, 1)))


def _start_worker(_: int) -> None:
    # A signal to a terminal or a cluster's job reaches every process; the main one decides when the workers end.
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by_parent, daemon=True).start()

    cv2.setNumThreads(0)  # one thread per worker: OpenCV's own threads only fight over the cores


def _end_by_parent() -> None:
    """Ends this process at a SIGTERM of its parent, and ignores those of others."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class _BatchKeys:
    """The endless batches of keys in the form that DataLoader takes."""

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
    timeout: float = 0.0,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
) -> Iterator[Batch]:
    """Loads training batches without end; they are equal for any number of workers.

    Args:
        items: the transformed samples.
        sampler: chooses an item for each position of the stream.
        batch_size: items per process.
        workers: processes that read; 0 reads in this one.
        prefetch: batches each worker reads ahead.
        timeout: seconds to wait for a batch of the workers, 0 for any time; see explaining_workers.
        start: number of the first batch, for resumed runs.
        rank: number of this process.
        world_size: number of training processes.
        pin: whether batches lie in pinned memory, for copies to a GPU that overlap with work.

    Returns:
        An iterator of batches for `to_device`, which makes int64 of their labels.
    """
    keys = _BatchKeys(lambda: batches(sampler, batch_size, start=start, rank=rank, world_size=world_size))
    loader = DataLoader(
        items,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=partial(_collate_training, ignore=items.dataset.ignore),
        worker_init_fn=_start_worker,
        pin_memory=pin,
        prefetch_factor=prefetch if workers else None,
        timeout=timeout if workers else 0,
        generator=torch.Generator(),
    )
    return iter(loader)


def eval_loader(
    items: EvalItems,
    *,
    batch_size: int,
    workers: int,
    timeout: float = 0.0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
) -> DataLoader:
    """Loads this process's share of a data set to score on.

    Over all processes no image is repeated or left out.

    Args:
        items: the samples.
        batch_size: images per batch.
        workers: processes that read; 0 reads in this one.
        timeout: as of train_loader.
        rank: number of this process.
        world_size: number of processes.
        pin: whether batches lie in pinned memory.

    Returns:
        A loader of batches made by `collate_eval`.
    """
    indices = shard(len(items.dataset), rank, world_size)
    return DataLoader(
        items,
        batch_sampler=[indices[i : i + batch_size] for i in range(0, len(indices), batch_size)],
        num_workers=workers,
        collate_fn=collate_eval,
        pin_memory=pin,
        worker_init_fn=_start_worker,
        timeout=timeout if workers else 0,
        generator=torch.Generator(),
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Moves the tensors of a batch to a device; copies overlap with work where memory is pinned.

    Args:
        batch: it stays as it is.
        device: where its tensors and lists of tensors go.

    Returns:
        A new batch; stacked labels are int64.
    """
    moved = _with_wide_labels(cast(Batch, {key: _move(value, device) for key, value in batch.items()}))
    if "meta" in moved:
        # pinning makes lists of tuples in older versions of torch
        pairs = [{key: tuple(meta[key]) for key in META_SIZES if key in meta} for meta in moved["meta"]]
        moved["meta"] = [cast(Meta, {**meta, **sizes}) for meta, sizes in zip(moved["meta"], pairs)]
    return moved


def _move(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor | PackedMasks):
        return value.to(device, non_blocking=True)
    return [_move(item, device) for item in value] if isinstance(value, list) else value

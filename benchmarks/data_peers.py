"""Images per CPU second from files to the network's normalized input: segkit, albumentations 2 and torchvision v2.

Decode an image and its mask, scale both by .5 to 2, crop 512 (padded where smaller), flip, change brightness, contrast,
saturation and hue, normalize, and collate to float32 [B,3,512,512] and int64 [B,512,512] in the process that trains.
Peers normalize in the processes that read, as their documents have it; segkit's model normalizes what it is given.

    python benchmarks/data_peers.py [--images 96] [--rounds 3] [--workers 0 2]

Photographs come from $SEGKIT_DATA/camvid where that is set, else textured images are made. A side whose package is not
installed is left out (pip install albumentations==2.0.8). All sides take turns, in processes of their own with one
thread each; CPU time is that of all processes, start and end of the reading ones included, and of each side the best
round counts. Ratios are segkit's rate to the side's.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import Queue, get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from pipeline import CROP, IGNORE, Pair, find_files, read  # noqa: E402

from segkit.cli.allocator import keep_pages  # noqa: E402
from segkit.data.dataset import Dataset  # noqa: E402
from segkit.data.files.images import read_image  # noqa: E402
from segkit.data.files.masks import read_mask  # noqa: E402
from segkit.data.loader import TrainItems, to_device, train_loader  # noqa: E402
from segkit.data.samplers import Shuffle  # noqa: E402
from segkit.data.transforms.color import Photometric  # noqa: E402
from segkit.data.transforms.crops import RandomScaleCrop  # noqa: E402
from segkit.data.transforms.sizes import Flip  # noqa: E402
from segkit.models.normalize import normalized  # noqa: E402

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Pairs(Dataset):
    """The files as segkit reads them, with all its checks."""

    classes = tuple("abcdefghijkl")

    def __init__(self, pairs: list[Pair]):
        self.pairs, self.ids = pairs, [pair[0] for pair in pairs]

    def image(self, index: int) -> np.ndarray:
        return read_image(self.pairs[index][0])

    def mask(self, index: int) -> np.ndarray:
        return read_mask(self.pairs[index][1])


class Plain(TorchDataset):
    """The files as a peer's user reads them."""

    def __init__(self, pairs: list[Pair], change: Callable[[np.ndarray, np.ndarray], tuple[Tensor, Tensor]]):
        self.pairs, self.change = pairs, change

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.change(*read(self.pairs[index]))


def albumentations_change() -> Callable[[np.ndarray, np.ndarray], tuple[Tensor, Tensor]]:
    """Brightness and contrast change by one table, hue and saturation in one trip through HSV: what costs least."""
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    compose = A.Compose(
        [
            A.RandomScale(scale_limit=(-0.5, 1.0), p=1),
            A.PadIfNeeded(CROP, CROP, position="top_left", border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=IGNORE),
            A.RandomCrop(CROP, CROP),
            A.HorizontalFlip(p=0.5),
            A.RandomBrightnessContrast(brightness_limit=0.125, contrast_limit=0.5, p=0.75),
            A.HueSaturationValue(hue_shift_limit=18, sat_shift_limit=60, val_shift_limit=0, p=0.75),
            A.Normalize(mean=tuple(m / 255 for m in MEAN), std=tuple(s / 255 for s in STD)),
            ToTensorV2(),
        ]
    )

    def change(image: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        out = compose(image=image, mask=mask)
        return out["image"], out["mask"].long()

    return change


def torchvision_change() -> Callable[[np.ndarray, np.ndarray], tuple[Tensor, Tensor]]:
    """torchvision's own transforms of tensors, with the padding that its crop can do."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    compose = v2.Compose(
        [
            v2.ScaleJitter(target_size=(360, 480), scale_range=(0.5, 2.0), antialias=False),
            v2.RandomCrop(CROP, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORE, "others": 0}),
            v2.RandomHorizontalFlip(),
            v2.RandomPhotometricDistort(brightness=(0.875, 1.125), hue=(-0.1, 0.1), p=0.5),
            v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
            v2.Normalize(mean=[m / 255 for m in MEAN], std=[s / 255 for s in STD]),
        ]
    )

    def change(image: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        pixels = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))
        image_out, mask_out = compose(pixels, tv_tensors.Mask(torch.from_numpy(mask)))
        return image_out.as_subclass(Tensor), mask_out.as_subclass(Tensor)

    return change


class Input(nn.Module):
    """The mean and deviation of a network's input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))


def segkit_batches(pairs: list[Pair], batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """segkit's own loader, and what the model does with the image first."""
    dataset = Pairs(pairs)
    items = TrainItems(dataset, [RandomScaleCrop(CROP), Flip(), Photometric()], seed=0)
    loader = train_loader(items, Shuffle(dataset, seed=0), batch_size=batch, workers=workers)
    constants, device = Input(), torch.device("cpu")
    for _ in range(len(pairs) // batch):
        loaded = to_device(next(loader), device)
        yield normalized(loaded["image"], constants.mean, constants.std), loaded["mask"]


def peer_batches(change: Callable, pairs: list[Pair], batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A plain DataLoader."""
    loader = DataLoader(
        Plain(pairs, change),
        batch,
        shuffle=True,
        num_workers=workers,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
        drop_last=True,
    )
    yield from loader


def cpu_seconds() -> float:
    """CPU time of this process and of those that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]], batch: int, queue: Queue) -> None:
    """Puts images per CPU second and images per second."""
    start, wall, count = cpu_seconds(), time.perf_counter(), 0
    stream = batches()
    for image, mask in stream:
        assert image.dtype == torch.float32 and image.shape == (batch, 3, CROP, CROP)
        assert mask.dtype == torch.int64 and mask.shape == (batch, CROP, CROP)
        count += batch
    wall = time.perf_counter() - wall
    del stream  # ends the processes that read, so that their time is known
    queue.put((count / (cpu_seconds() - start), count / wall))


def in_process(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]], batch: int) -> tuple[float, float]:
    """-> as measure, in a process of its own, so that the allocator of one side serves no other."""
    context = get_context("fork")
    queue = context.Queue()
    process = context.Process(target=measure, args=(batches, batch, queue))
    process.start()
    rates = queue.get()
    process.join()
    return rates


def sides_of(pairs: list[Pair], batch: int, workers: int) -> dict[str, Callable]:
    """-> the sides by name."""

    def with_kept_pages() -> Iterator[tuple[Tensor, Tensor]]:
        keep_pages()  # as the commands do
        yield from segkit_batches(pairs, batch, workers)

    changes = {"torchvision v2": torchvision_change()}
    if importlib.util.find_spec("albumentations"):
        changes = {"albumentations": albumentations_change(), **changes}
    peers = {name: partial(peer_batches, change, pairs, batch, workers) for name, change in changes.items()}
    return {
        "segkit": with_kept_pages,
        "segkit, malloc as it is": partial(segkit_batches, pairs, batch, workers),
        **peers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source, pairs = find_files(Path(folder), args.images)
        print(f"{source}: {len(pairs)} images, batches of {args.batch}, best of {args.rounds} rounds")
        print("| workers | side | images per CPU second | images/s | ratio per CPU second |\n|---|---|---|---|---|")
        for workers in args.workers:
            sides = sides_of(pairs, args.batch, workers)
            best = dict.fromkeys(sides, (0.0, 0.0))
            for _ in range(args.rounds):
                for name, batches in sides.items():
                    rates = in_process(batches, args.batch)
                    best[name] = max(best[name][0], rates[0]), max(best[name][1], rates[1])
            for name, (per_cpu, rate) in best.items():
                ratio = best["segkit"][0] / per_cpu
                print(f"| {workers} | {name} | {per_cpu:.0f} | {rate:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

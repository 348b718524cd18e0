"""Memory and time of 200 instances in 2048 x 2048 pixels on their whole way: sample, transforms, collation, step.

    python benchmarks/mask_path_memory.py

A data set of one made image gives run-length codes. A worker scales (large-scale jitter), crops, mirrors and collates,
the main process takes the loss Mask2FormerMasks of made outputs. Each number is the largest resident memory of a
process of its own, less that of the same process without objects. Masks as arrays, a byte for each pixel from the data
set on, are compared with packed ones. Then the time and the bytes of a mask as packed bits and as run-length codes.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.data.loader import collate_train, to_device
from segkit.data.transforms.crops import RandomCrop
from segkit.data.transforms.sizes import Flip, RandomScale
from segkit.losses.instances.mask2former_masks import Mask2FormerMasks
from segkit.runners.instances.runner import padded_masks, without_crowds

SIDE, OBJECTS, QUERIES, SETS, CLASSES = 2048, 200, 100, 10, 80
BUDGET = 2 * 1024  # MiB


def peak() -> float:
    """Largest resident memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Crowded(torch.utils.data.Dataset):
    """One image of many objects, through the transforms of a large-scale jitter."""

    def __init__(self, objects: int, as_arrays: bool):
        self.objects, self.as_arrays = objects, as_arrays
        self.transforms = [RandomScale(low=1.0, high=1.2), RandomCrop((SIDE, SIDE)), Flip(1.0)]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict:
        corners = np.array([divmod(i, 20) for i in range(self.objects)]).reshape(-1, 2) * (200, 100)
        boxes = np.concatenate([corners[:, ::-1], corners[:, ::-1] + (80, 150)], 1).astype(np.float32)
        codes = coco_mask.frPyObjects(
            np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float), SIDE, SIDE
        )
        masks = np.ascontiguousarray(np.moveaxis(coco_mask.decode(codes), 2, 0)) if self.as_arrays else codes
        sample = dict(
            image=np.zeros((SIDE, SIDE, 3), np.uint8),
            boxes=boxes,
            labels=np.arange(self.objects) % CLASSES,
            crowd=np.zeros(self.objects, bool),
            masks=masks,
            meta=dict(id="0", path="", size=(SIDE, SIDE)),
        )
        rng = np.random.default_rng(0)
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


def collate(samples: list) -> tuple:
    """The batch, and the peak of the process that made it."""
    return collate_train(samples), peak()


def step(kind: str, objects: int) -> None:
    """One batch and one loss. Prints the peaks of worker and main process in MiB, and seconds of the worker."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    items = Crowded(objects, kind == "arrays")
    batch, of_worker = next(iter(torch.utils.data.DataLoader(items, 1, num_workers=1, collate_fn=collate)))
    seconds = time.perf_counter() - start
    generator, side = torch.Generator().manual_seed(0), SIDE // 4
    classes = [torch.randn(1, QUERIES, CLASSES + 1, generator=generator) for _ in range(SETS)]
    maps = [torch.randn(1, QUERIES, side, side, generator=generator) for _ in range(SETS)]
    for outputs in (*classes, *maps):
        outputs.requires_grad_()
        outputs.grad = torch.zeros_like(outputs)
    batch = to_device(batch, torch.device("cpu"))
    batch |= without_crowds(batch)
    masks = [padded_masks(of_image, (SIDE, SIDE), batch["image"]) for of_image in batch["masks"]]
    if objects:
        sum(Mask2FormerMasks()(classes, maps, batch["labels"], masks).values()).backward()
    else:  # set by set, as no gradient of all outputs at once is needed for it
        for outputs in (*classes, *maps):
            outputs.square().mean().backward()
    print(of_worker, peak(), seconds)


def measured(kind: str, objects: int) -> np.ndarray:
    """What `step` prints, of a process of its own."""
    command = [sys.executable, __file__, "--step", kind, str(objects)]
    return np.array(subprocess.check_output(command, text=True).split(), float)


def forms() -> None:
    """Milliseconds to make and to read one mask of an irregular object, and its bytes, in both forms."""
    rng, mask = np.random.default_rng(0), np.zeros((SIDE, SIDE), np.uint8)
    mask[300:700, 200:900] = rng.random((400, 700)) < 0.9
    code, bits = coco_mask.encode(np.asfortranarray(mask)), np.packbits(mask, axis=1)
    ways = {
        "packed bits, made": lambda: np.packbits(mask, axis=1),
        "packed bits, read": lambda: np.unpackbits(bits, axis=1, count=SIDE),
        "run lengths, made": lambda: coco_mask.encode(np.asfortranarray(mask)),
        "run lengths, read": lambda: np.ascontiguousarray(coco_mask.decode(code)),
    }
    best = dict.fromkeys(ways, np.inf)
    for _ in range(7):
        for name, way in ways.items():
            start = time.process_time()
            way()
            best[name] = min(best[name], time.process_time() - start)
    print(", ".join(f"{name} in {1e3 * seconds:.2f} ms" for name, seconds in best.items()))
    print(f"{bits.nbytes:,} bytes packed, {len(code['counts']):,} as run lengths, {mask.nbytes:,} as an array")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step(options.step[0], int(options.step[1]))
    else:
        print("| masks | worker, MiB | main process, MiB | worker, s |\n|---|---|---|---|")
        for kind in ("packed", "arrays"):
            more = measured(kind, OBJECTS) - measured(kind, 0)
            print(f"| {kind} | {more[0]:.0f} | {more[1]:.0f} | {more[2]:.1f} |", flush=True)
            assert kind == "arrays" or max(more[:2]) < BUDGET, f"more than {BUDGET} MiB beyond the network"
        forms()

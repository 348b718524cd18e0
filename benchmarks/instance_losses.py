"""Time of the whole losses BoxLevelSet and Box2Mask, forward and backward, beside an earlier version of segkit.

    git worktree add /tmp/before COMMIT
    python benchmarks/instance_losses.py --against /tmp/before [--objects 100] [--repeats 5] [--threads 1]

Both versions run in processes of their own that take turns, step by step, on equal inputs; freed memory is kept, as the
commands of segkit do. Prints the least processor time of a step on each side, its ratio, and by how much the values
and the gradients differ.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).parents[1]
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 62), "MALLOC_TOP_PAD_": "16777216"}
"""glibc's variables for memory that stays with the process."""

Step = Callable[[], tuple[float, float]]
"""Runs a loss once; returns its value, and the sum of the absolute gradients."""


def boxes_of(count: int, height: int, width: int) -> np.ndarray:
    """Boxes of 30 to 200 pixels anywhere in an image, float32 [n,4]."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(30, 200, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sides)
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def smooth(channels: int, size: tuple[int, int], factor: int, rng: torch.Generator) -> Tensor:
    """Noise of blobs as large as `factor`, float [1,C,h,w]."""
    coarse = torch.randn(1, channels, size[0] // factor, size[1] // factor, generator=rng)
    return F.interpolate(coarse, size=size, mode="bilinear")


def step_of(loss: Callable[..., dict[str, Tensor]], inputs: list, learned: list[Tensor]) -> Step:
    def step() -> tuple[float, float]:
        for leaf in learned:
            leaf.grad = None
        value = sum(loss(*inputs).values(), torch.zeros(()))
        value.backward()
        return value.item(), sum(float(leaf.grad.abs().sum()) for leaf in learned if leaf.grad is not None)

    return step


def box2mask(count: int) -> Step:
    from segkit.losses.instances.box2mask import Box2Mask
    from segkit.ops.instances.box_masks import box_masks

    rng, size = torch.Generator().manual_seed(0), (512, 512)
    boxes = boxes_of(count, *size)
    classes = [torch.randn(1, 100, 6, generator=rng).requires_grad_() for _ in range(3)]
    maps = [(3 * smooth(100, (128, 128), 4, rng)).requires_grad_() for _ in range(3)]
    features = torch.randn(1, 5, 128, 128, generator=rng).requires_grad_()
    image = smooth(3, size, 8, rng) + 0.1 * torch.randn(1, 3, *size, generator=rng)
    labels, masks = torch.randint(0, 5, (count,), generator=rng), torch.from_numpy(box_masks(boxes, size))
    inputs = [classes, maps, features, image, [torch.from_numpy(boxes)], [labels], [masks]]
    return step_of(Box2Mask(), inputs, [*classes, *maps, features])


def box_level_set(count: int) -> Step:
    from segkit.losses.instances.box_level_set import BoxLevelSet
    from segkit.ops.instances.box_masks import box_masks

    rng, size, small, grids = torch.Generator().manual_seed(0), (400, 672), (100, 168), (40, 36, 24, 16, 12)
    boxes = boxes_of(count, *size)
    classes = [torch.randn(1, 5, grid, grid, generator=rng).requires_grad_() for grid in grids]
    kernels = [torch.randn(1, 32, grid, grid, generator=rng).requires_grad_() for grid in grids]
    maps = (0.5 * smooth(32, small, 4, rng)).requires_grad_()
    features = torch.randn(1, 5, *small, generator=rng).requires_grad_()
    image = smooth(3, size, 8, rng) + 0.1 * torch.randn(1, 3, *size, generator=rng)
    labels, masks = torch.randint(0, 5, (count,), generator=rng), torch.from_numpy(box_masks(boxes, size))
    inputs = [classes, kernels, maps, features, image, [torch.from_numpy(boxes)], [labels], [masks]]
    return step_of(BoxLevelSet(), inputs, [*classes, *kernels, maps, features])


LOSSES = {"Box2Mask, 512 x 512, 3 sets": box2mask, "BoxLevelSet, 400 x 672": box_level_set}


def serve(root: Path, count: int, threads: int) -> None:
    """Runs the loss of each line read, and answers by its seconds, value and gradients."""
    sys.path.insert(0, str(root))
    torch.set_num_threads(threads)
    steps = {name: make(count) for name, make in LOSSES.items()}
    for line in sys.stdin:
        start = time.process_time()
        value, slope = steps[line.strip()]()
        print(json.dumps([time.process_time() - start, value, slope]), flush=True)


class Side:
    """A version of segkit in a process of its own."""

    def __init__(self, root: Path, count: int, threads: int):
        words = ["--serve", str(root), "--objects", str(count), "--threads", str(threads)]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | KEPT
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self, name: str) -> list[float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, default=ROOT, help="folder of the other version")
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.serve, args.objects, args.threads)
        return
    sides = [Side(root, args.objects, args.threads) for root in (ROOT, args.against.resolve())]
    print("| loss | s | before, s | faster by | values differ by | gradients by |\n|---|---|---|---|---|---|")
    for name in LOSSES:
        turns = [[side.step(name) for side in sides] for _ in range(args.repeats + 1)][1:]  # the first one warms up
        (_, value, slope), (_, old_value, old_slope) = turns[0]
        ours, theirs = (min(turn[i][0] for turn in turns) for i in (0, 1))
        cells = [f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}"]
        cells += [f"{abs(value / old_value - 1):.0e}", f"{abs(slope / old_slope - 1):.0e}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for side in sides:
        side.process.kill()


if __name__ == "__main__":
    main()

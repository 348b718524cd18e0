"""Time and memory of the box-supervised losses against their published form, forward and backward, in one process.

    python benchmarks/box_losses.py [--instances 20] [--size 200 336] [--repeats 3] [--threads 1]

Prints Markdown: projection + level set (image and two filtered maps) + local consistency against the form in which
every map is made (neighbours unfolded, images repeated for each instance), and the tree filter of one and of all
instances, trees included. Times are processor time, both sides in turns, best of the repeats; memory is the peak beyond
the inputs, of a fresh process for each side (Linux).
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.level_set import box_areas, region_energy
from segkit.ops.instances.local_consistency import local_affinity, local_consistency
from segkit.ops.instances.structure_maps import structure_maps

ITERATIONS = 10


def inputs(instances: int, size: list[int]) -> tuple[Tensor, ...]:
    """-> logits [n,h,w], box masks [n,h,w], image [1,3,h,w], features [1,5,h,w], and maps to follow [n,2,h,w]."""
    rng = torch.Generator().manual_seed(0)
    height, width = size
    coarse = torch.randn((1, 3, height // 8, width // 8), generator=rng)
    image = F.interpolate(coarse, size=size, mode="bilinear") + 0.1 * torch.randn((1, 3, *size), generator=rng)
    features = F.interpolate(torch.randn((1, 5, height // 4, width // 4), generator=rng), size=size, mode="bilinear")
    boxes = torch.zeros(instances, *size)
    for i, box in enumerate(boxes):
        y, x = (i * 37) % (height // 2), (i * 53) % (width // 2)
        box[y : y + height // 3, x : x + width // 3] = 1
    logits = torch.randn((instances, *size), generator=rng)
    return logits, boxes, image, features, torch.rand((instances, 2, *size), generator=rng)


def ours(logits: Tensor, boxes: Tensor, image: Tensor, filtered: Tensor) -> Tensor:
    masks, index = logits.sigmoid(), torch.zeros(len(logits), dtype=torch.int64)
    energy = 0.05 * region_energy(masks, boxes, image, index=index) + 5 * region_energy(masks, boxes, filtered)
    moved = local_consistency(masks, boxes, local_affinity(image), [len(masks)], iterations=ITERATIONS)
    return (3 * box_projection(masks, boxes) + energy / box_areas(boxes)).mean() + 0.2 * moved


def around(maps: Tensor) -> Tensor:
    """[N,C,h,w] -> [N,C,8,h,w], neighbours at distance 2 by a convolution with one-hot kernels."""
    kernels = torch.eye(9)[[0, 1, 2, 3, 5, 6, 7, 8]].view(8, 1, 3, 3)
    batch, channels, height, width = maps.shape
    padded = F.pad(maps, [2] * 4, mode="replicate").view(batch * channels, 1, height + 4, width + 4)
    return F.conv2d(padded, kernels, dilation=2).view(batch, channels, 8, height, width)


def plain_energy(phi: Tensor, target: Tensor) -> Tensor:
    """phi: [n,2,h,w], target: [n,C,h,w], both zero outside of the box -> [n]."""
    inside, outside = phi[:, 0:1], phi[:, 1:2]
    means = [(region * target).sum((2, 3)) / region.sum((2, 3)).clamp_min(1e-5) for region in (inside, outside)]
    first = (target - means[0][..., None, None]) ** 2 * inside
    second = (target - means[1][..., None, None]) ** 2 * outside
    return (first + second).sum((1, 2, 3)) / target.shape[1]


def published(logits: Tensor, boxes: Tensor, image: Tensor, filtered: Tensor) -> Tensor:
    masks, boxes = logits.sigmoid().unsqueeze(1), boxes.unsqueeze(1)
    images = image.repeat(len(masks), 1, 1, 1)
    phi = torch.cat([masks, 1 - masks], 1) * boxes
    area = boxes.sum((1, 2, 3)).clamp_min(1)
    energy = 0.05 * plain_energy(phi, images * boxes) + 5 * plain_energy(phi, filtered * boxes)
    projection = 0
    for dim in (2, 3):
        a, b = masks.max(dim).values.flatten(1), boxes.max(dim).values.flatten(1)
        projection = projection + 1 - 2 * (a * b).sum(1) / (a.square().sum(1) + b.square().sum(1) + 1e-5)
    neighbours = around(images)
    deviation = neighbours.std(2, keepdim=True)
    affinity = -(((neighbours - images.unsqueeze(2)).abs() / (deviation + 1e-8) / 0.3) ** 2)
    affinity = affinity.mean(1, keepdim=True).softmax(2)
    refined = masks
    for _ in range(ITERATIONS):
        refined = (around(refined) * affinity).sum(2)
    moved = ((refined - masks).abs() * boxes).sum() / boxes.sum().clamp_min(1)
    return (3 * projection + energy / area).mean() + 0.2 * moved


SIDES: tuple[Callable, Callable] = (ours, published)


def step(function: Callable, parts: list[Tensor]) -> tuple[float, float]:
    """-> seconds of processor time of one forward and backward, and the value."""
    leaves = [part.detach().requires_grad_(i in (0, 3)) for i, part in enumerate(parts)]
    start = time.process_time()
    value = function(*leaves)
    value.backward()
    return time.process_time() - start, value.item()


def best(functions: list[tuple[Callable, list[Tensor]]], repeats: int) -> tuple[list[float], list[float]]:
    """-> best seconds and the values, the functions in turns after one round to warm up."""
    seconds, values = [float("inf")] * len(functions), [0.0] * len(functions)
    for turn in range(repeats + 1):
        for i, (function, parts) in enumerate(functions):
            elapsed, values[i] = step(function, parts)
            seconds[i] = min(seconds[i], elapsed) if turn else seconds[i]
    return seconds, values


def peak(side: int, instances: int, size: list[int]) -> float:
    """Peak MiB of this process during one step beyond what it holds before (Linux)."""
    logits, boxes, image, _, filtered = inputs(2, [32, 32])
    step(SIDES[side], [logits, boxes, image, filtered])
    logits, boxes, image, _, filtered = inputs(instances, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = status("VmRSS")
    step(SIDES[side], [logits, boxes, image, filtered])
    return status("VmHWM") - before


def status(key: str) -> float:
    """A line of the kernel's account of this process, MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def filtering(logits: Tensor, image: Tensor, unused: Tensor, features: Tensor) -> Tensor:
    """Both trees and both filters, the gradient reaching masks and features."""
    return structure_maps(logits.sigmoid(), image, features, [len(logits)]).square().sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--size", type=int, nargs=2, default=[200, 336], metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        print(peak(options.peak, options.instances, options.size))
        return
    logits, boxes, image, features, filtered = inputs(options.instances, options.size)
    parts = [logits, boxes, image, filtered]
    seconds, values = best([(side, parts) for side in SIDES], options.repeats)
    if abs(values[0] - values[1]) > 1e-4 * abs(values[1]):
        raise ValueError(f"ours is {values[0]}, the published form {values[1]}")
    command = [sys.executable, __file__, "--instances", str(options.instances), "--threads", str(options.threads)]
    command += ["--size", *(str(side) for side in options.size)]
    memory = [float(subprocess.check_output([*command, "--peak", str(side)])) for side in (0, 1)]
    print("| losses | s | published s | faster by | MiB | published MiB | smaller by |\n|---|---|---|---|---|---|---|")
    row = [f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{seconds[1] / seconds[0]:.1f}"]
    row += [f"{memory[0]:.0f}", f"{memory[1]:.0f}", f"{memory[1] / memory[0]:.1f}"]
    print("| projection, level set, local consistency |", " | ".join(row), "|", flush=True)
    alone, all_ = ([logits[:n], image, boxes, features] for n in (1, options.instances))
    seconds, _ = best([(filtering, alone), (filtering, all_)], options.repeats)
    ratio = f"{seconds[1] / seconds[0]:.2f}"
    print(f"\ntrees and filters: 1 instance {seconds[0]:.2f} s, {options.instances} {seconds[1]:.2f} s: {ratio} times")


if __name__ == "__main__":
    main()

"""A convolution of maps that are resized and joined, against resizing and joining them first.

    python benchmarks/resized_conv.py [--batch 2] [--repeats 5] [--threads 2] [--device cpu] [--amp] [--channels-last]

Layers of published networks on an image of 256x256; both forms in one process, in turns, best of the repeats after one
to warm up. Ratios are plain / ours: above 1 ours is faster.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path[:0] = [str(Path(__file__).parents[1])]

from segkit.ops.resized_conv import conv_of_resized, joined  # noqa: E402

LAYERS: dict[str, tuple[int, int, tuple[tuple[int, int], ...]]] = {
    "PSPNet, stride 8": (512, 3, ((2048, 32), (512, 1), (512, 2), (512, 3), (512, 6))),
    "DeepLabv3+, stride 8": (512, 3, ((512, 1), (512, 32), (512, 32), (512, 32), (512, 32))),
    "DeepLabv3+, paper, stride 16": (256, 1, ((256, 1), (256, 16), (256, 16), (256, 16), (256, 16))),
    "UPerNet": (512, 3, ((512, 64), (512, 32), (512, 16), (512, 8))),
    "SFNet R18": (128, 3, ((128, 64), (128, 32), (128, 16), (128, 8))),
    "SFNet R50": (256, 3, ((256, 64), (256, 32), (256, 16), (256, 8))),
    "OCRNet HRNet-W18": (512, 3, ((18, 64), (36, 32), (72, 16), (144, 8))),
    "OCRNet HRNet-W48": (512, 3, ((48, 64), (96, 32), (192, 16), (384, 8))),
}
"""Layer -> channels of the result, kernel, (channels, side) of the maps; the largest gives the size."""


def plain(maps: list[Tensor], weight: Tensor, size: tuple[int, int]) -> Tensor:
    return F.conv2d(joined(maps, size), weight, padding=weight.shape[2] // 2)


def timed(call: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def seconds(name: str, args: argparse.Namespace) -> dict[str, list[float]]:
    """-> best of ours and of the plain form, by what is timed."""
    width, kernel, shapes = LAYERS[name]
    side = max(side for _, side in shapes)
    memory = torch.channels_last if args.channels_last else torch.contiguous_format
    sizes = [*((args.batch, c, s, s) for c, s in shapes), (width, sum(c for c, _ in shapes), kernel, kernel)]
    leaves = [torch.randn(one, device=args.device).to(memory_format=memory).requires_grad_() for one in sizes]

    def run(form: Callable) -> Tensor:
        with torch.autocast(args.device, torch.bfloat16, enabled=args.amp):
            return form(leaves[:-1], leaves[-1], (side, side))

    def forward(form: Callable) -> None:
        with torch.inference_mode():
            run(form)

    def both_ways(form: Callable) -> None:
        torch.autograd.grad(run(form).float().sum(), leaves)

    best = {}
    for what, call in (("forward", forward), ("with gradients", both_ways)):
        found = [
            [timed(lambda: call(form), args.device) for form in (conv_of_resized, plain)]  # noqa: B023
            for _ in range(args.repeats + 1)
        ]
        best[what] = [min(row[i] for row in found[1:]) for i in (0, 1)]
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    for flag in ("--amp", "--channels-last"):
        parser.add_argument(flag, action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| layer | forward, ms | plain | ratio | with gradients, ms | plain | ratio |\n" + "|---" * 7 + "|")
    for name in LAYERS:
        cells = []
        for ours, theirs in seconds(name, args).values():
            cells += [f"{ours * 1e3:.1f}", f"{theirs * 1e3:.1f}", f"{theirs / ours:.2f}"]
        print("|", " | ".join([name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()

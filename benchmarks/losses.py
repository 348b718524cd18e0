"""Time and peak memory of each loss, forward and backward, against the form it is usually published in.

    python benchmarks/losses.py [--size 8 19 512 512] [--only Dice LovaszSoftmax] [--repeats 3] [--threads 1]

Prints one Markdown row per loss: milliseconds, extra peak memory in MiB beyond the inputs, and peer / ours (above 1:
ours is faster or smaller). Times are processor time (of all threads) of one process,
both sides in turns, best of the repeats after one step to warm up; memory from a fresh
process for each side, since the peak of a process never falls.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import loss_peers as peer  # noqa: E402

from segkit.registry import LOSSES  # noqa: E402

# name of the loss: (own arguments, peer, kind of inputs)
PAIRS: dict[str, tuple[dict, Callable, str]] = {
    "CrossEntropy": ({}, peer.cross_entropy, "classes"),
    "BinaryCrossEntropy": ({}, peer.binary_cross_entropy, "classes"),
    "Focal": ({}, peer.focal, "classes"),
    "SigmoidFocal": ({}, peer.sigmoid_focal, "classes"),
    "Dice": (dict(absent="zero"), peer.dice, "classes"),
    "Jaccard": (dict(absent="zero"), peer.jaccard, "classes"),
    "Tversky": (dict(absent="zero"), peer.tversky, "classes"),
    "Combo": ({}, peer.combo, "classes"),
    "LovaszSoftmax": ({}, peer.lovasz_softmax, "classes"),
    "OHEM": ({}, peer.ohem, "classes"),
    "RMI": ({}, peer.rmi, "classes"),
    "KLDistillation": ({}, peer.distillation, "teacher"),
    "ClassPresence": ({}, peer.class_presence, "images"),
    "LovaszHinge": ({}, peer.lovasz_hinge, "binary"),
    "MCC": ({}, peer.mcc, "binary"),
    "BoundaryBCE": ({}, peer.boundary_bce, "binary"),
    "BinaryFocal": (dict(ignore=255), peer.binary_focal, "binary"),
    "NormalizedFocal": (dict(ignore=255), peer.normalized_focal, "binary"),
    "SoftIoU": (dict(ignore=255), peer.soft_iou, "binary"),
}


def inputs(kind: str, size: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a half-trained model (the true class is raised by 2) and labels in blocks, a twentieth ignored."""
    rng = torch.Generator().manual_seed(0)
    batch, classes, height, width = size
    classes = 1 if kind == "binary" else classes
    coarse = torch.randint(0, max(classes, 2), (batch, 1, height // 16 + 1, width // 16 + 1), generator=rng).float()
    target = torch.nn.functional.interpolate(coarse, size=(height, width))[:, 0].long()
    if kind == "images":
        return torch.randn((batch, classes), generator=rng), target
    logits = torch.randn((batch, classes, height, width), generator=rng)
    if classes > 1:
        logits.scatter_add_(1, target.unsqueeze(1), torch.full((), 2.0).expand(batch, 1, height, width))
    else:
        logits += 2.0 * (2 * target.unsqueeze(1) - 1)
    target[:, : height // 20] = 255
    return logits, target


def functions(name: str) -> tuple[Callable, Callable]:
    """-> ours and the peer's, both (logits, target) -> loss."""
    own, other, kind = PAIRS[name]
    ours = LOSSES.get(name)(**own)
    if kind == "teacher":
        return lambda logits, target: ours(logits, logits.detach().roll(1, 0), target), other
    return ours, other


def step(function: Callable, logits: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """-> milliseconds of processor time of one forward and backward, and the loss."""
    logits.grad = None
    start = time.process_time()
    value = function(logits, target)
    value.backward()
    return 1000 * (time.process_time() - start), value.item()


def times(name: str, size: list[int], repeats: int) -> list[float]:
    """-> best milliseconds of ours and of the peer; an error where their values differ by more than 1e-4."""
    logits, target = inputs(PAIRS[name][2], size)
    logits.requires_grad_()
    best, values = [float("inf")] * 2, [0.0, 0.0]
    for turn in range(repeats + 1):
        for side, function in enumerate(functions(name)):
            elapsed, values[side] = step(function, logits, target)
            best[side] = min(best[side], elapsed) if turn else best[side]
    if abs(values[0] - values[1]) > 1e-4 * max(1, abs(values[1])):
        raise ValueError(f"{name}: ours is {values[0]}, the published form {values[1]}")
    return best


def peak(name: str, side: int, size: list[int]) -> float:
    """Peak MiB of this process during one step beyond what it holds before, the logits' gradient included (Linux)."""
    logits, target = inputs(PAIRS[name][2], [1, 3, 64, 64])
    step(functions(name)[side], logits.requires_grad_(), target)  # code and small pools are loaded
    logits, target = inputs(PAIRS[name][2], size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = _status("VmRSS")
    step(functions(name)[side], logits.requires_grad_(), target)
    return _status("VmHWM") - before


def _status(key: str) -> float:
    """A line of the kernel's account of this process, MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=4, default=[8, 19, 512, 512], metavar=("B", "K", "H", "W"))
    parser.add_argument("--only", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        print(peak(options.only[0], options.peak, options.size))
        return
    print("| loss | ms | peer ms | peer / ours | MiB | peer MiB | peer / ours |\n|---|---|---|---|---|---|---|")
    for name in options.only:
        ours, other = times(name, options.size, options.repeats)
        command = [sys.executable, __file__, "--only", name, "--threads", str(options.threads), "--size"]
        command += [str(side) for side in options.size]
        memory = [float(subprocess.check_output([*command, "--peak", str(side)])) for side in (0, 1)]
        row = [f"{ours:.0f}", f"{other:.0f}", f"{other / ours:.2f}", *(f"{size:.0f}" for size in memory)]
        print("|", " | ".join([name, *row, f"{memory[1] / max(memory[0], 1):.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()

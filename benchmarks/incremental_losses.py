"""Time and peak memory of the losses of incremental learning, forward and backward, against their published form.

    python benchmarks/incremental_losses.py [--size 2 21 512 512] [--old 16] [--only UnbiasedCE] [--repeats 3]

Prints one Markdown row per loss: the ratios peer / ours of processor time and of peak memory beyond the inputs (above
1: ours is faster or smaller), and the figures they come from. Both sides run in one process in turns, best of the
repeats after one step to warm up; float32. Memory is the largest resident set during one step of the same process, in
which every block is given back as it is freed (Linux with glibc).
"""

import argparse
import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.registry import LOSSES

IGNORE = 255


def unbiased_ce(logits: Tensor, old: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities of all classes, the old ones filled in the background's channel, then nll_loss."""
    num_old = old.shape[1]
    every = logits.logsumexp(1)
    log_p = torch.zeros_like(logits)
    log_p[:, 0] = logits[:, :num_old].logsumexp(1) - every
    log_p[:, num_old:] = logits[:, num_old:] - every.unsqueeze(1)
    label = target.clone()
    label[target < num_old] = 0
    return F.nll_loss(log_p, label, ignore_index=IGNORE, reduction="none").mean()


def unbiased_kd(logits: Tensor, old: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities of old classes and of the merged background, times the teacher's softmax."""
    num_old = old.shape[1]
    every = logits.logsumexp(1)
    index = torch.tensor([0, *range(num_old, logits.shape[1])])
    background = logits.index_select(1, index).logsumexp(1) - every
    others = logits[:, 1:num_old] - every.unsqueeze(1)
    q = (old * 1.0).softmax(1)
    return -((q[:, 0] * background + (q[:, 1:] * others).sum(1)) / num_old).mean()


def old_class_kd(logits: Tensor, old: Tensor, target: Tensor) -> Tensor:
    log_p = logits.narrow(1, 0, old.shape[1]).log_softmax(1)
    return -(log_p * (old * 1.0).softmax(1)).mean(1).mean()


def icarl_distillation(logits: Tensor, old: Tensor, target: Tensor) -> Tensor:
    num_old = old.shape[1]
    return num_old * F.binary_cross_entropy_with_logits(logits.narrow(1, 0, num_old), old.sigmoid())


def icarl_disjoint(logits: Tensor, old: Tensor, target: Tensor) -> Tensor:
    num_classes = logits.shape[1]
    label = torch.where(target != IGNORE, target, num_classes)
    label = F.one_hot(label, num_classes + 1).float().permute(0, 3, 1, 2)[:, :num_classes]
    label[:, : old.shape[1]] = old.sigmoid()
    return F.binary_cross_entropy_with_logits(logits, label, reduction="none").sum(1).mean()


PEERS: dict[str, Callable] = {
    "UnbiasedCE": unbiased_ce,
    "UnbiasedKD": unbiased_kd,
    "OldClassKD": old_class_kd,
    "ICaRLDistillation": icarl_distillation,
    "ICaRLDisjoint": icarl_disjoint,
}


def functions(name: str) -> tuple[Callable, Callable]:
    """-> ours and the peer's, both (logits, teacher's logits, target) -> loss."""
    ours = LOSSES.get(name)()
    takes_target = name in ("UnbiasedCE", "ICaRLDisjoint")
    return (ours if takes_target else lambda logits, old, target: ours(logits, old)), PEERS[name]


def inputs(size: list[int], num_old: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, the teacher's, and labels of the background (two in three pixels), of new classes, a twentieth void."""
    rng = torch.Generator().manual_seed(0)
    batch, classes, height, width = size
    logits = 3 * torch.randn(size, generator=rng)
    old = 3 * torch.randn((batch, num_old, height, width), generator=rng)
    target = torch.randint(num_old, classes, (batch, height, width), generator=rng)
    target[:, : 2 * height // 3] = 0
    target[:, -(height // 20) :] = IGNORE
    return logits.requires_grad_(), old, target


def step(function: Callable, tensors: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """-> seconds of processor time of one forward and backward, and the loss."""
    tensors[0].grad = None
    start = time.process_time()
    value = function(*tensors)
    value.backward()
    return time.process_time() - start, value.item()


def peak(function: Callable, tensors: tuple[Tensor, Tensor, Tensor]) -> float:
    """MiB above what the process holds before, the logits' gradient included."""
    tensors[0].grad = None
    gc.collect()
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(-3, 1 << 17)  # M_MMAP_THRESHOLD: larger blocks are the kernel's, not the heap's
    step(function, tensors)
    tensors[0].grad = None
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = _status("VmRSS")
    step(function, tensors)
    return _status("VmHWM") - before


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def times(name: str, tensors: tuple[Tensor, Tensor, Tensor], repeats: int) -> list[float]:
    """-> best seconds of ours and of the peer; an error where their values differ by more than 1e-4."""
    sides = functions(name)
    seconds, values = [float("inf")] * 2, [0.0, 0.0]
    for turn in range(repeats + 1):
        for i, side in enumerate(sides):
            elapsed, values[i] = step(side, tensors)
            seconds[i] = min(seconds[i], elapsed) if turn else seconds[i]
    if abs(values[0] - values[1]) > 1e-4 * max(1, abs(values[1])):
        raise ValueError(f"{name}: ours is {values[0]}, the published form {values[1]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=4, default=[2, 21, 512, 512], metavar=("B", "C", "H", "W"))
    parser.add_argument("--old", type=int, default=16, help="classes of the teacher, fewer than C")
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tensors = inputs(options.size, options.old)
    seconds = {name: times(name, tensors, options.repeats) for name in options.only}
    header = ["loss", "time peer / ours", "memory peer / ours", "ms", "peer ms", "MiB", "peer MiB"]
    print("|", " | ".join(header), "|\n" + "|---" * len(header) + "|")
    for name, best in seconds.items():
        memory = [peak(side, tensors) for side in functions(name)]
        ratios = [f"{pair[1] / pair[0]:.2f}" for pair in (best, memory)]
        print("|", " | ".join([name, *ratios, *(f"{1000 * s:.0f}" for s in best), *(f"{m:.0f}" for m in memory)]), "|")


if __name__ == "__main__":
    main()

"""A step of MiB against its parts: the teacher's forward pass and a plain step of the same network, in one process.

    python benchmarks/incremental_step.py [--config configs/incremental/camvid/mib_7-4.py] [--size 352 480] [--batch 8]
        [--classes 7 4] [--repeats 5] [--amp] [--device cpu]

A step: forward, losses, backward, the optimizer's step. Both sides in turns, best of the repeats after one to warm up;
weights and images are random, the time does not depend on them. The bound is 1.05.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.engine.optim import build_optimizer
from segkit.models import growing_segmentor
from segkit.registry import build_model, without_start_weights

CONFIG = Path(__file__).parents[1] / "configs/incremental/camvid/mib_7-4.py"


def step_of(model: nn.Module, losses: list, teacher: nn.Module | None, args: argparse.Namespace, cfg: dict) -> Callable:
    """-> a call that trains one step; with a teacher its logits are computed first."""
    criterion, optimizer = build_criterion(losses, model.align_corners), build_optimizer(cfg["optimizer"], model)
    batch = batch_of(args)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.amp):
            from_teacher = {} if teacher is None else taught(teacher, batch["image"])
            terms = criterion(model(batch["image"]) | from_teacher, batch, 0)
        sum(terms.values()).backward()
        optimizer.step()

    return step


@torch.no_grad()
def taught(teacher: nn.Module, image: torch.Tensor) -> dict:
    return {f"teacher.{name}": value for name, value in teacher(image).items()}


def teacher_of(teacher: nn.Module, args: argparse.Namespace) -> Callable:
    image = batch_of(args)["image"]

    def forward() -> None:
        with torch.autocast(args.device, torch.bfloat16, enabled=args.amp):
            taught(teacher, image)

    return forward


def batch_of(args: argparse.Namespace) -> dict:
    draw = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (args.batch, 3, *args.size), generator=draw, dtype=torch.uint8)
    mask = torch.randint(0, sum(args.classes) + 1, (args.batch, *args.size), generator=draw)
    image = image.to(args.device).contiguous(memory_format=torch.channels_last)
    return {"image": image, "mask": mask.to(args.device)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--size", type=int, nargs=2, default=(352, 480))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--classes", type=int, nargs=2, default=(7, 4), help="of the first step, and new ones")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--amp", action="store_true", help="bfloat16")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    cfg = load_config(args.config)
    teacher = build_model({**without_start_weights(cfg["model"]), "num_classes": args.classes[0] + 1})
    teacher = teacher.to(args.device, memory_format=torch.channels_last).eval()
    student = copy.deepcopy(teacher).train()
    growing_segmentor.grow(student, args.classes[1])
    growing_segmentor.init_balanced(student)
    student.to(args.device)
    other = copy.deepcopy(student)
    calls = {
        "MiB step": step_of(student, cfg["runner"]["losses"], teacher, args, cfg),
        "plain step after the teacher's pass": step_of(other, cfg["losses"], teacher, args, cfg),
        "plain step": step_of(other, cfg["losses"], None, args, cfg),
        "teacher's pass": teacher_of(teacher, args),
    }
    times = dict.fromkeys(calls, float("inf"))
    for turn in range(args.repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if args.device != "cpu":
                torch.cuda.synchronize()
            if turn:
                times[name] = min(times[name], time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{name}: {seconds:.3f} s")
    parts = times["plain step"] + times["teacher's pass"]
    print(f"MiB step / plain step after the teacher's pass: {times['MiB step'] / list(times.values())[1]:.3f}")
    print(f"MiB step / (plain step + teacher's pass, each alone): {times['MiB step'] / parts:.3f}")


if __name__ == "__main__":
    main()

"""Images per second and peak memory of training steps of the box-supervised networks at their published sizes.

    python benchmarks/box_training.py [--device cuda] [--objects 10] [--steps 10] [--only boxlevelset_r50 ...]

Random images and boxes; a step is the model's pass, the losses of the published config, backward, clipping and the
optimizer. Float32 (tf32 off) and bf16 autocast, channels last; the median of the steps after three to warm up.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.api import build_runner
from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.engine.optim import build_optimizer
from segkit.registry import build_model, without_start_weights

CONFIGS = Path(__file__).parents[1] / "configs/box_supervised"
CASES = {
    "boxlevelset_r50": ("boxlevelset/boxlevelset_r50_3x_coco.py", 2, (800, 1344)),
    "box2mask_t_r50": ("box2mask/box2mask_t_r50_50e_coco.py", 2, (1024, 1024)),
    "boxinst_r50": ("boxinst/boxinst_r50_1x_coco.py", 2, (800, 1344)),
    "discobox_r50": ("discobox/discobox_r50_3x_coco.py", 2, (800, 1344)),
}
"""Name -> config, images of a batch, their size: what one GPU has in the published schedules."""


def batch_of(images: int, size: tuple[int, int], objects: int, classes: int, device: str) -> dict:
    """Smooth random images with boxes of a tenth to half of their sides."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand((images, 3, size[0] // 32, size[1] // 32), generator=rng)
    image = (torch.nn.functional.interpolate(coarse, size, mode="bilinear") * 255).to(torch.uint8)
    batch = {"image": image, "boxes": [], "labels": [], "masks": [], "crowd": [], "meta": []}
    for _ in range(images):
        sides = torch.tensor(size[::-1])
        extent = sides * (0.1 + 0.4 * torch.rand((objects, 2), generator=rng))
        corner = (sides - extent) * torch.rand((objects, 2), generator=rng)
        boxes = torch.cat([corner, corner + extent], 1)
        masks = torch.zeros((objects, *size), dtype=torch.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.round().long().tolist()):
            mask[y0:y1, x0:x1] = 1
        batch["boxes"].append(boxes.to(device))
        batch["labels"].append(torch.randint(0, classes, (objects,), generator=rng).to(device))
        batch["masks"].append(masks.to(device))
        batch["crowd"].append(torch.zeros(objects, dtype=torch.bool, device=device))
        batch["meta"].append({"valid": size, "size": size, "id": "0", "path": ""})
    batch["image"] = image.to(device).contiguous(memory_format=torch.channels_last)
    return batch


def measure(name: str, amp: bool, args: argparse.Namespace) -> tuple[float, float]:
    """-> images per second, peak MiB of the device (0 on the CPU)."""
    path, images, size = CASES[name]
    cfg = load_config(CONFIGS / path)
    torch.manual_seed(0)
    model = build_model(without_start_weights(cfg["model"])).to(args.device, memory_format=torch.channels_last).train()
    runner, criterion = build_runner(cfg), build_criterion(cfg["losses"], model.align_corners).to(args.device)
    optimizer = build_optimizer(cfg["optimizer"], model)
    batch = batch_of(images, size, args.objects, model.num_classes, args.device)
    rng, seconds = np.random.default_rng(0), []
    if runner.teacher is not None:
        runner.teacher.update(model, 0)
    if args.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for step in range(args.steps + 3):
        start = time.perf_counter()
        given = dict(batch)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=amp):
            outputs = runner.forward(model, given, rng)
        sum(criterion(outputs, given, step).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if args.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**20 if args.device != "cpu" else 0.0
    return images / statistics.median(seconds[3:]), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--objects", type=int, default=10, help="of each image")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    args = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    print("| network | batch | precision | images/s | peak MiB |\n" + "|---" * 5 + "|")
    for name in args.only:
        _, images, size = CASES[name]
        for amp in (False, True):
            speed, peak = measure(name, amp, args)
            shape = f"{images} x {size[0]} x {size[1]}"
            print(f"| {name} | {shape} | {'bf16' if amp else 'float32'} | {speed:.2f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

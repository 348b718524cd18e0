"""A training step on the CPU in float32, in bfloat16, and in bfloat16 with depthwise convolutions in float32.

    python benchmarks/cpu_bf16.py [NAME ...] [--batch 4] [--threads 1] [--rounds 3]

Each NAME is a config of configs/camvid_study. The three take turns on equal batches of 352x480 pixels in one process;
the least processor time of each counts. Freed memory is kept, as the commands of segkit do. The weights are random.
"""

import argparse
import copy
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.cli.allocator import keep_pages
from segkit.config import load_config
from segkit.criterion import Criterion, build_criterion
from segkit.models.depthwise import depthwise_in_float32
from segkit.registry import build_model, without_start_weights

CONFIGS = Path(__file__).parents[1] / "configs" / "camvid_study"
KINDS = ("float32", "bf16", "bf16, depthwise float32")


def seconds(model: nn.Module, criterion: Criterion, image: Tensor, mask: Tensor, *, is_half: bool) -> float:
    """Processor time of a step, forward and backward."""
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        outputs = model(image)
    sum(criterion(outputs, {"image": image, "mask": mask}, 0).values(), torch.zeros(())).backward()
    taken = time.process_time() - start
    model.zero_grad()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["unet", "fpn", "fastfcn", "ocrnet", "segformer", "deeplabv3plus"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_pages()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    image = torch.randint(0, 256, (args.batch, 3, 352, 480)).float()
    mask = torch.randint(0, 11, (args.batch, 44, 60)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    print("| network | " + ", s | ".join(KINDS) + ", s | of float32 | |\n|---|---|---|---|---|---|")
    for name in args.names:
        cfg = load_config(CONFIGS / f"{name}.py", [])
        model = build_model(without_start_weights(cfg["model"])).to(memory_format=torch.channels_last).train()
        precise = copy.deepcopy(model)
        depthwise_in_float32(precise)
        criterion = build_criterion(cfg["losses"], model.align_corners)
        taken: list[list[float]] = [[], [], []]
        for _ in range(args.rounds + 1):
            for kind, (network, is_half) in enumerate(((model, False), (model, True), (precise, True))):
                taken[kind].append(seconds(network, criterion, image, mask, is_half=is_half))
        whole, half, mixed = (min(times[1:]) for times in taken)
        print(
            f"| {name} | {whole:.2f} | {half:.2f} | {mixed:.2f} | {half / whole:.2f} | {mixed / whole:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

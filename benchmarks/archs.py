"""Time and peak memory of systems, forward and training step, against the same nets as others write them.

    python benchmarks/archs.py [--only pspnet_r50 ...] [--batch 2] [--size 256 256] [--repeats 5] [--threads 2]
                               [--device cpu] [--amp] [--channels-last] [--compile] [--fold-norms]

Peers: segmentation_models_pytorch for U-Net and DeepLabv3+ (pip install --no-deps --target FOLDER
segmentation_models_pytorch, then PYTHONPATH=FOLDER), for the others the plain nets of benchmarks/arch_peers.py; at
equal encoder, stride, auxiliary heads and precision, which the equal count of parameters shows. Both sides in one
process, in turns, best of the repeats after one to warm up; peak memory in fresh processes, the least of three for each
side, beyond what is held before. Ratios are peer / ours: above 1 ours is faster or smaller.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from arch_peers import PEERS  # noqa: E402

from segkit.config import load_config  # noqa: E402
from segkit.criterion import build_criterion  # noqa: E402
from segkit.inference import whole  # noqa: E402
from segkit.registry import build_model, without_start_weights  # noqa: E402

MODELS = Path(__file__).parents[1] / "configs/_base_/models"
CLASSES = 19
SMP_FORM = (
    "model.head.channels=256",
    "model.head.fuse_kernel=1",
    "model.head.dropout=0.0",
    "model.head.fuse_dropout=0.5",
    "model.align_corners=True",
    "model.head.num_fuse_convs=1",
    "model.head.num_convs=1",
    "model.head.depthwise_norm=False",
    "model.backbone.name='resnet50'",
    "model.backbone.output_stride=16",
    "model.backbone.contract_dilation=False",
    "model.aux=[]",
)
OURS: dict[str, tuple[str, tuple[str, ...]]] = {
    "deeplabv3plus_r50": ("deeplabv3plus_r50", ()),
    "deeplabv3plus_r50_smp": ("deeplabv3plus_r50", SMP_FORM),
    "pspnet_r50": ("pspnet_r50", ()),
    "ocrnet_r50": ("ocrnet_r50", ()),
    "upernet_r50": ("upernet_r50", ()),
    "unet_r34": ("unet_r34", ()),
}
"""Name of the comparison -> config of configs/_base_/models, and what differs from it."""


class Ours(nn.Module):
    """A system of segkit; the image is normalized inside."""

    def __init__(self, name: str, fold_norms: bool):
        super().__init__()
        self.fold_norms = fold_norms
        config, options = OURS[name]
        cfg = load_config(MODELS / f"{config}.py", [f"num_classes={CLASSES}", *options])
        self.model = build_model(without_start_weights(cfg["model"]))
        rows = [row for row in cfg["losses"] if row["on"] != "aux0.logits" or self.model.aux]
        self.criterion = build_criterion(rows, self.model.align_corners)

    def predict(self, image: Tensor) -> Tensor:
        return whole(self.model, fold_norms=self.fold_norms)(image)

    def loss(self, image: Tensor, mask: Tensor, region: Callable) -> Tensor:
        with region():
            outputs = self.model(image)
        return sum(self.criterion(outputs, {"image": image, "mask": mask}, 0).values())


class Theirs(nn.Module):
    """A peer, behind the same normalization; its losses are torch's own, 1 for the head and 0.4 for the other."""

    def __init__(self, name: str, fold_norms: bool):
        super().__init__()
        self.model = PEERS[name](CLASSES)
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1))

    def predict(self, image: Tensor) -> Tensor:
        return self.model((image.float() - self.mean) / self.std)[0]

    def loss(self, image: Tensor, mask: Tensor, region: Callable) -> Tensor:
        with region():
            first, *others = self.model((image.float() - self.mean) / self.std)
        losses = [F.cross_entropy(x.float(), mask, ignore_index=255) for x in (first, *others)]
        return losses[0] + 0.4 * sum(losses[1:])


SIDES = (Ours, Theirs)


def data(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (args.batch, 3, *args.size), dtype=torch.uint8, generator=rng)
    mask = torch.randint(0, CLASSES, (args.batch, *args.size), generator=rng)
    mask[:, : args.size[0] // 20] = 255
    if args.channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    return image.to(args.device), mask.to(args.device)


def calls(side: type, name: str, args: argparse.Namespace) -> dict[str, Callable]:
    """-> "forward" and "step", each without arguments."""
    torch.manual_seed(0)
    net = side(name, args.fold_norms).to(args.device)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    image, mask = data(args)
    if args.compile:
        net.model = torch.compile(net.model)

    def region():
        return torch.autocast(args.device, torch.bfloat16) if args.amp else nullcontext()

    def forward() -> None:
        if net.training:  # looking through all modules is not what is timed
            net.eval()
        with torch.inference_mode(), region():
            net.predict(image)

    def step() -> None:
        if not net.training:
            net.train()
        optimizer.zero_grad(set_to_none=True)
        net.loss(image, mask, region).backward()
        optimizer.step()

    return {"forward": forward, "step": step, "count": lambda: sum(p.numel() for p in net.parameters())}


def times(name: str, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """-> best seconds of ours and of the peer, by what is timed."""
    sides = [calls(side, name, args) for side in SIDES]
    counts = [side["count"]() for side in sides]
    if abs(counts[0] - counts[1]) > 0.001 * counts[1]:
        raise ValueError(f"{name}: ours has {counts[0]:,} parameters, the peer {counts[1]:,}: no equals")
    best = {}
    for what in ("forward", "step"):
        found = [[], []]
        for _ in range(args.repeats + 1):
            for mine, side in zip(found, sides):
                start = time.perf_counter()
                side[what]()
                if args.device != "cpu":
                    torch.cuda.synchronize()
                mine.append(time.perf_counter() - start)
        best[what] = tuple(min(mine[1:]) for mine in found)
    return best


def peak(name: str, side: int, what: str, args: argparse.Namespace) -> float:
    """Peak MiB of this process during one call beyond what it holds before (Linux), or of the GPU."""
    call = calls(SIDES[side], name, args)[what]
    if args.device != "cpu":
        call()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=[256, 256], metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    for flag in ("--amp", "--channels-last", "--compile", "--fold-norms"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("SIDE", "WHAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print(peak(args.only[0], int(args.peak[0]), args.peak[1], args))
        return
    print("| system | | images/s | peer | time, peer / ours | MiB | peer | memory, peer / ours |\n" + "|---" * 8 + "|")
    options = [word for word in sys.argv[1:] if word not in ("--only", *OURS)]
    for name in args.only:
        for what, (ours, theirs) in times(name, args).items():
            if args.device == "cpu":
                command = [sys.executable, __file__, "--only", name, *options, "--peak"]
                memory = [
                    min(float(subprocess.check_output([*command, str(side), what])) for _ in range(3))
                    for side in (0, 1)
                ]
            else:  # the device counts its own memory, and a process of its own takes long to start
                memory = [peak(name, side, what, args) for side in (0, 1)]
            speed = [f"{args.batch / seconds:.2f}" for seconds in (ours, theirs)]
            row = [name, what, *speed, f"{theirs / ours:.2f}", *(f"{size:.0f}" for size in memory)]
            print("|", " | ".join([*row, f"{memory[1] / max(memory[0], 1):.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()

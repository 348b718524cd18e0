"""Measures a config: segkit benchmark CONFIG [--size H W] [--steps N]: parameters, MACs, speed, memory.

With --operations --out FILE it times the operations of a search network (FasterSegSearch) one by one and writes the
latency table that its search reads.
"""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from segkit.cli import common

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from segkit.config import Config
    from segkit.engine.loop import Loop
    from segkit.models.bases import Network


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit benchmark`; returns the exit code."""
    arguments = common.parser("benchmark", __doc__ or "")
    arguments.add_argument("config", help=common.CONFIG_HELP)
    arguments.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="size of the image that MACs and speed are of; default: 512 512, of operations runner.size",
    )
    arguments.add_argument("--steps", type=int, default=10, help="timed training steps, and timed images")
    arguments.add_argument("--no-data", action="store_true", help="time the model alone, on random images")
    arguments.add_argument("--operations", action="store_true", help="time the operations of a search network")
    arguments.add_argument("--out", help="JSON file for the latency table of --operations")
    common.add_device(arguments)
    common.add_options(arguments)
    return common.run(_benchmark, arguments.parse_args(argv))


def _benchmark(args: argparse.Namespace) -> int:
    import torch

    from segkit.engine.setup import pick_device
    from segkit.registry import build_model

    cfg = common.load_checked(args.config, args.cfg_options)
    device = pick_device(args.device)
    if args.operations:
        return _time_operations(cfg, device, args)
    model = build_model(cfg["model"]).to(device).eval()
    height, width = args.size or (512, 512)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"parameters    {sum(p.numel() for p in model.parameters()):,} ({trainable:,} trainable)")
    image = torch.randint(0, 256, (1, model.mean.shape[1], height, width), dtype=torch.uint8, device=device)
    print(f"MACs          {count_macs(model, image) / 1e9:.2f} G at 1x{height}x{width}")
    print(f"inference     {_images_per_second(model, image, args.steps):.2f} images/s, one at a time")
    if not args.no_data and cfg.get("train"):
        for name, value in training_speed(cfg, device, args.steps).items():
            print(f"{name:13} {value}")
    print(f"peak memory   {_peak_memory(device)}")
    return 0


def _time_operations(cfg: "Config", device: "torch.device", args: argparse.Namespace) -> int:
    """Writes the latency table of a search network."""
    import torch
    from tqdm import tqdm

    from segkit.files import need_writable
    from segkit.models.timed_search import TimedSearch
    from segkit.readers.latency_table import write_latency_table
    from segkit.registry import ConfigError, build_model

    if not args.out:
        raise ConfigError("--operations: give --out FILE, the latency table that is written")
    need_writable(args.out, "choose another --out")
    with torch.device("meta"):
        model = build_model(cfg["model"])
    backbone = next((module for module in model.modules() if isinstance(module, TimedSearch)), None)
    if backbone is None:
        raise ConfigError(
            f"--operations: model.backbone = {cfg['model'].get('backbone', {}).get('type')} is no search network with "
            "latencies; take a config whose backbone is one, such as FasterSegSearch"
        )
    size = tuple(args.size or (cfg.get("runner") or {}).get("size") or (1024, 2048))
    operations = backbone.timed((size[0], size[1]), model.num_classes)
    milliseconds: dict[str, float] = {}
    for operation in tqdm(operations, unit="operation", disable=None):
        image = torch.randn(1, operation.in_channels, *operation.size, device=device)
        module = operation.module().to(device).eval()
        milliseconds[operation.name] = _milliseconds(module, image, args.steps)
    path = write_latency_table(args.out, milliseconds, str(device))
    print(f"{len(milliseconds)} operations of an image of {size[0]}x{size[1]}: {path}")
    return 0


def _milliseconds(module: "torch.nn.Module", image: "Tensor", runs: int) -> float:
    """Median time of several runs, after two untimed ones."""
    import statistics

    import torch

    times = []
    with torch.inference_mode():
        for run in range(-2, runs):
            _synchronize(image.device)
            start = time.perf_counter()
            module(image)
            _synchronize(image.device)
            if run >= 0:
                times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def count_macs(model: "Network", image: "Tensor") -> int:
    """Returns the multiply-accumulates of one forward pass: half of torch's count of floating-point operations."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:  # torch's counter wants a graph of views of parameters, as queries are
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() // 2


def _synchronize(device: "torch.device") -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _images_per_second(model: "Network", image: "Tensor", images: int) -> float:
    import torch

    with torch.inference_mode():
        for _ in range(2):
            model(image)
        _synchronize(image.device)
        start = time.perf_counter()
        for _ in range(images):
            model(image)
        _synchronize(image.device)
    return images / (time.perf_counter() - start)


def training_speed(cfg: "Config", device: "torch.device", steps: int) -> dict[str, str]:
    """Times optimizer steps as the training makes them: reading, augmentation, forward, backward, update.

    Args:
        cfg: the checked sections.
        device: to train on.
        steps: number of timed steps, which follow three untimed ones.

    Returns:
        Two lines for the user by their titles: "training", and "data", the share of time that waits for it.
    """
    import tempfile
    from pathlib import Path

    from segkit.api import build_runner
    from segkit.engine.hooks import Hook
    from segkit.engine.loop import Loop

    warm = 3
    loop_cfg = {**cfg.get("loop", {}), "steps": warm + steps, "epochs": 0}
    schedule = {key: value for key, value in (cfg.get("schedule") or {"type": "Poly"}).items() if key != "warmup"}
    marks: list[float] = []
    data: list[float] = []

    class Clock(Hook):
        def after_step(self, loop: "Loop", terms: "dict[str, Tensor]") -> None:
            _synchronize(device)
            marks.append(time.perf_counter())
            data.append(loop.seconds["data"])

    with tempfile.TemporaryDirectory() as folder:
        timed = {**cfg, "loop": loop_cfg, "schedule": schedule, "val": None}
        loop = Loop(timed, build_runner(cfg), work_dir=Path(folder), device=device, hooks=(Clock(),))
        loop.fit()
    seconds = (marks[-1] - marks[warm - 1]) / steps
    images = loop.data_settings.batch_size * loop.settings.accumulate
    share = (data[-1] - data[warm - 1]) / (marks[-1] - marks[warm - 1])
    return {
        "training": f"{1 / seconds:.3f} steps/s, {images / seconds:.2f} images/s, batches of {images}",
        "data": f"{share:.0%} of the time is spent waiting for it",
    }


def _peak_memory(device: "torch.device") -> str:
    import torch

    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the GPU"
    if sys.platform == "win32":
        return "not measured on Windows"
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, KiB elsewhere
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.2f} GiB resident"

"""Speed of what segkit exports: eager, folded norms, compiled, ONNX Runtime and OpenVINO, in float32 and int8.

`python benchmarks/exports.py [--only fcn_r50 ...] [--size 512 512] [--threads 1]`: batch 1, random weights, 19 classes.
All sides of a system take turns in one run, and the table holds ratios to eager: above 1 is faster. It needs the extras
`export` and `openvino`; int8 of OpenVINO needs nncf as well and is left out without it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.config import load_config
from segkit.export.int8 import calibrate_onnx
from segkit.export.parts import Request, parts_of
from segkit.export.program import program_of
from segkit.export.proof import Case
from segkit.export.sessions import open_run
from segkit.export.writers import FORMATS
from segkit.ops.fold_norms import folded
from segkit.registry import build_model, without_start_weights

SYSTEMS = (
    "fcn_r50",
    "deeplabv3plus_r50",
    "pspnet_r50",
    "unet_r34",
    "segformer_mit-b0",
    "bisenetv2",
    "stdc1",
    "pidnet_s",
)
MODELS = Path(__file__).parents[1] / "configs/_base_/models"


def sides_of(name: str, size: tuple[int, int], threads: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Returns what each side does with one image."""
    torch.manual_seed(0)
    cfg = load_config(MODELS / f"{name}.py", ["num_classes=19"])
    model = build_model(without_start_weights(cfg["model"])).eval()
    model.config, model.classes, model.palette = {}, None, None
    (part,) = parts_of(model, Request(size=size))
    image = part.examples(size, 1)[0]
    quick = folded(part.plain, lambda graph: graph(image))
    compiled = torch.compile(part.plain)
    program = program_of(part, name)
    sides: dict[str, Callable[[], object]] = {
        "eager": lambda: part.plain(image),
        "folded": lambda: quick(image),
        "compiled": lambda: compiled(image),
    }
    for to in ("openvino", "onnx"):
        path = folder / f"{name}{FORMATS[to].suffix}"
        FORMATS[to].write(part, program, path, name)
        run = open_run(to, path, threads)
        sides[to] = lambda run=run: run([image.numpy()])
    rng = np.random.default_rng(0)
    cases = [Case(rng.integers(0, 256, (1, 3, *size), dtype=np.uint8)) for _ in range(4)]
    calibrate_onnx(folder / f"{name}.onnx", folder / f"{name}.int8.onnx", part, cases)
    small = open_run("onnx", folder / f"{name}.int8.onnx", threads)
    sides["onnx int8"] = lambda: small([image.numpy()])
    return sides


def main() -> None:
    """Prints milliseconds of eager and the ratios of the others."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    arguments.add_argument("--size", nargs=2, type=int, default=(512, 512))
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--repeats", type=int, default=5)
    args = arguments.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            sides = sides_of(name, (args.size[0], args.size[1]), args.threads, Path(folder))
            times: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(args.repeats + 1):
                for side, run in sides.items():
                    start = time.perf_counter()
                    run()
                    if number:  # the first run warms up, and compiles
                        times[side].append(time.perf_counter() - start)
        medians = {side: statistics.median(values) for side, values in times.items()}
        ratios = ", ".join(f"{side} {medians['eager'] / value:.2f}" for side, value in medians.items())
        print(f"{name}: eager {1000 * medians['eager']:.1f} ms; {ratios}", flush=True)


if __name__ == "__main__":
    main()

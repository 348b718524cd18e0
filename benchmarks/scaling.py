"""How the cost of a training step grows: with images per batch, pixels, classes, objects, workers, images, processes.

    python benchmarks/scaling.py [--only batch crop ...] [--quick] [--repeats 3]
        [--json benchmarks/scaling.json] [--plot docs/images/scaling.png]

Each point is a process of its own with one thread. CPU seconds are the least of the repeats after one step to warm up;
they count on a machine that does other work as well. MiB are the peak beyond what is held before (Linux). The exponents
are the slopes of lines through the logarithms, cost = c x^p: 1 is linear, less is better, and what lies above the
factor's own expectation is named as worse than linear.

- batch, crop, classes: a step of the small U-Net on noise; crop counts pixels.
- instances: a step of the small BoxLevelSet on one image of so many boxes.
- workers: an image of the training data, all processes that read it together: it should not grow at all.
- processes: a step of all processes together, each with a batch of its own.
- images: the data set Folder of so many empty files and the order of an epoch, without reading one.
"""

import argparse
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch._dynamo  # torch's optimizers import it: once here, and not in the process of every point

sys.path[:0] = [str(Path(__file__).parents[1])]

from segkit import dist  # noqa: E402
from segkit.api import build_runner  # noqa: E402
from segkit.config import load_config  # noqa: E402
from segkit.data.loader import to_device  # noqa: E402
from segkit.data.samplers import Shuffle  # noqa: E402
from segkit.data.semantic.folder import Folder  # noqa: E402
from segkit.engine.loop import Loop  # noqa: E402
from segkit.types import Batch  # noqa: E402

CONFIGS = Path(__file__).parents[1] / "configs/quickstart"
CPU = torch.device("cpu")
NOISE = 0.15
"""How much more than expected an exponent may be: a few points of a busy machine are not more exact."""


class Cost(NamedTuple):
    """CPU seconds, and the peak in MiB beyond what was held before."""

    seconds: float
    mebibytes: float


class Factor(NamedTuple):
    """What grows.

    Attributes:
        values: of the points.
        quick: of the points of --quick.
        cost: of a value, an empty folder and a number of repeats.
        expected: exponent of linear growth: 1, or 0 where the cost is that of one image.
    """

    values: tuple[int, ...]
    quick: tuple[int, ...]
    cost: Callable[[int, Path, int], Cost]
    expected: float = 1.0


def loop_of(name: str, folder: Path, options: list[str]) -> Loop:
    """A training by a quickstart config."""
    cfg = load_config(CONFIGS / f"{name}.py", ["loop.eval_every=0", *options])
    cfg.pop("val", None)
    return Loop(cfg, build_runner(cfg), work_dir=folder, device=CPU)


def step_cost(loop: Loop, batch: Batch, repeats: int) -> Cost:
    """Of one step on a batch that is there."""
    loop.model.train()
    before = start_peak()
    loop.train_step([Batch(**batch)])
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        loop.train_step([Batch(**batch)])
        best = min(best, time.process_time() - start)
    return Cost(best, status("VmHWM") - before)


def start_peak() -> float:
    """Starts the peak of this process again from what is resident now, and returns that, MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def status(key: str) -> float:
    """A line of the kernel's account of this process, MiB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in text.splitlines() if line.startswith(key)).split()[1]) / 1024


def noise(batch: int, side: int, classes: int) -> Batch:
    """Images and label maps without sense, in the memory layout of the loader."""
    image = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    mask = torch.randint(0, classes, (batch, side, side))
    meta = [{"id": "", "path": "", "size": (side, side), "valid": (side, side)}] * batch
    return Batch(image=image, mask=mask, meta=meta)


def semantic(folder: Path, repeats: int, *, batch: int = 4, side: int = 64, classes: int = 6) -> Cost:
    loop = loop_of("semantic", folder, ["train.dataset.length=4", "train.workers=0"])
    if classes != 6:
        loop.raw_model.head.classifier = torch.nn.Conv2d(loop.raw_model.head.classifier.in_channels, classes, 1)
    return step_cost(loop, noise(batch, side, classes), repeats)


def instances(count: int, folder: Path, repeats: int) -> Cost:
    loop = loop_of("box_supervised", folder, ["train.batch_size=1", "train.dataset.length=2", "train.workers=0"])
    batch = to_device(next(loop.batches()), CPU)
    rng = np.random.default_rng(0)
    corner, size = rng.integers(0, 40, (count, 2)), rng.integers(25, 50, (count, 2))
    boxes = torch.from_numpy(np.concatenate([corner, corner + size], axis=1).astype(np.float32))
    masks = torch.zeros(count, 96, 96, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
        mask[y0:y1, x0:x1] = 1
    batch["boxes"], batch["labels"], batch["masks"] = [boxes], [torch.from_numpy(rng.integers(0, 5, count))], [masks]
    return step_cost(loop, batch, repeats)


def workers(count: int, folder: Path, repeats: int) -> Cost:
    loop = loop_of("semantic", folder, [f"train.workers={count}", "train.dataset.length=64"])
    before, start = start_peak(), os.times()
    data = loop.batches()
    images = sum(len(to_device(next(data), CPU)["image"]) for _ in range(20 * repeats))
    del data  # ends the processes that read, so that their time is known
    return Cost((sum(os.times()[:4]) - sum(start[:4])) / images, status("VmHWM") - before)


def processes(count: int, folder: Path, repeats: int) -> Cost:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("fork")
    answers = context.SimpleQueue()
    started = [
        context.Process(target=one_of, args=(rank, count, port, folder, repeats, answers)) for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)
    costs = [answers.get() for _ in started]
    return Cost(sum(cost[0] for cost in costs), sum(cost[1] for cost in costs))


def one_of(rank: int, count: int, port: int, folder: Path, repeats: int, answers) -> None:
    """A process of several that train together."""
    torch.set_num_threads(1)
    where = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=count, LOCAL_WORLD_SIZE=count, MASTER_PORT=port)
    os.environ |= {name: str(value) for name, value in where.items()} | {"MASTER_ADDR": "127.0.0.1"}
    if count > 1:
        dist.start(CPU)
    loop = loop_of("semantic", folder, ["train.dataset.length=4", "train.workers=0"])
    answers.put(tuple(step_cost(loop, noise(4, 96, 6), repeats)))
    dist.stop()


def images(count: int, folder: Path, repeats: int) -> Cost:
    for name, suffix in (("images", ".jpg"), ("masks", ".png")):
        (folder / name).mkdir()
        at = os.open(folder / name, os.O_RDONLY)
        for i in range(count):
            os.close(os.open(f"{i:07}{suffix}", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        os.close(at)
    os.environ["SEGKIT_LISTS"] = "fresh"  # a list of an earlier repeat costs nothing
    before, best = start_peak(), float("inf")
    for _ in range(repeats):
        start = time.process_time()
        Shuffle(Folder(str(folder), ("a", "b"))).index(0)
        best = min(best, time.process_time() - start)
    return Cost(best, status("VmHWM") - before)


FACTORS = {
    "batch": Factor((2, 4, 8, 16), (2, 4), lambda n, folder, repeats: semantic(folder, repeats, batch=n)),
    "crop": Factor(
        (64**2, 128**2, 192**2, 256**2),
        (32**2, 64**2),
        lambda n, folder, repeats: semantic(folder, repeats, side=int(n**0.5)),
    ),
    "classes": Factor(
        (10, 40, 80, 160), (10, 20), lambda n, folder, repeats: semantic(folder, repeats, side=128, classes=n)
    ),
    "instances": Factor((5, 20, 80, 160), (5, 10), instances),
    "workers": Factor((1, 2, 4), (1, 2), workers, 0.0),
    "processes": Factor((1, 2, 4), (1, 2), processes),
    "images": Factor((1000, 4000, 16000, 64000), (500, 1000), images),
}


def run(name: str, value: int, repeats: int, folder: str, answer: str) -> None:
    """Writes the cost of a point to a file."""
    torch.set_num_threads(1)
    cost = FACTORS[name].cost(value, Path(folder), repeats)
    Path(answer).write_text(json.dumps(cost), encoding="ascii")


def measured(name: str, value: int, repeats: int) -> Cost:
    """The cost of a point, in a process of its own."""
    folder = tempfile.mkdtemp()
    with tempfile.NamedTemporaryFile() as answer:
        process = get_context("fork").Process(target=run, args=(name, value, repeats, folder, answer.name))
        process.start()
        process.join()
        shutil.rmtree(folder, ignore_errors=True)
        if process.exitcode:
            raise SystemExit(f"{name} = {value} ended with exit code {process.exitcode}; see above")
        return Cost(*json.loads(Path(answer.name).read_text(encoding="ascii")))


def exponent(values: tuple[int, ...], costs: list[float]) -> float:
    """p of cost = c x^p."""
    return float(np.polyfit(np.log(values), np.log(np.maximum(costs, 1e-6)), 1)[0])


def draw(results: dict[str, dict], path: Path) -> None:
    """Costs against each factor, relative to those of its first value, beside linear growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(results), 2.6), layout="constrained")
    for axes, (name, result) in zip(np.atleast_1d(figure.subplots(1, len(results))), results.items()):
        x = np.array(result["values"]) / result["values"][0]
        axes.loglog(x, x ** FACTORS[name].expected, ":", color="0.6", label="linear")
        for key, marker, label in (("seconds", "o-", "CPU time"), ("mebibytes", "s--", "memory")):
            costs = np.maximum(result[key], 1e-6)
            axes.loglog(x, costs / costs[0], marker, markersize=4, label=label)
        axes.set_title(f"{name} from {result['values'][0]:,}", fontsize=8)
        axes.tick_params(labelsize=7, which="both")
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Prints a row for each factor, and names what grows worse than linearly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FACTORS, default=list(FACTORS))
    parser.add_argument("--quick", action="store_true", help="two small points of each, to see that it runs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file of the points and exponents")
    parser.add_argument("--plot", type=Path, help="file of the plot, .png or .svg")
    args = parser.parse_args()
    results: dict[str, dict] = {}
    steep = []
    print("| grows | values | CPU seconds | MiB | exponent of time | of memory |\n|---|---|---|---|---|---|")
    for name in args.only:
        factor = FACTORS[name]
        values = factor.quick if args.quick else factor.values
        costs = [measured(name, value, args.repeats) for value in values]
        seconds, mebibytes = [cost.seconds for cost in costs], [cost.mebibytes for cost in costs]
        powers = {"time": exponent(values, seconds), "memory": exponent(values, mebibytes)}
        steep += [f"{name}: {key}, x^{p:.2f}" for key, p in powers.items() if p > factor.expected + NOISE]
        results[name] = dict(values=values, seconds=seconds, mebibytes=mebibytes, exponents=powers)
        cells = [", ".join(f"{x:,}" for x in values), ", ".join(f"{x:.3g}" for x in seconds)]
        cells += [", ".join(f"{x:.0f}" for x in mebibytes), f"{powers['time']:.2f}", f"{powers['memory']:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\nworse than linear: " + ("; ".join(steep) or "nothing"))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        draw(results, args.plot)


if __name__ == "__main__":
    main()

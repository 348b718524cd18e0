"""Resident memory over 2,000 training steps and over an evaluation of 2,000 images: flat, or something grows.

    python benchmarks/memory.py            both
    python benchmarks/memory.py --slide    instead the peak of a sliding window over 6000 x 4000 pixels, of a network
                                           that costs nothing: a map of scores, and label maps

Run by hand.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from segkit.api import build_runner
from segkit.engine.evaluate import evaluate
from segkit.engine.hooks import Hook, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.setup import build_evaluation, build_metrics
from segkit.inference import build_score, to_labels
from segkit.settings import InferenceSettings

STEPS = IMAGES = 2000
CPU = torch.device("cpu")
DATA = dict(type="Shapes", size=(64, 64))
CONFIG = dict(
    model=dict(
        num_classes=6, backbone=dict(type="Timm", name="resnet10t"), head=dict(type="UNetHead", channels=(64, 32))
    ),
    losses=[dict(type="CrossEntropy", on="logits", target="mask")],
    train=dict(batch_size=2, workers=1, dataset=dict(**DATA, length=200), transforms=[dict(type="Flip")]),
    val=dict(workers=1, dataset=dict(**DATA, split="val", length=20)),
    optimizer=dict(type="AdamW", lr=1e-3),
    loop=dict(steps=STEPS, ema=0.99, log_every=100, eval_every=500, save_every=500),
)


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Watch(Hook):
    """Resident memory every 200 steps, and every 200 images of the long evaluation."""

    def __init__(self):
        self.training: list[float] = []
        self.evaluation: list[float] = []
        self.images = 0

    def after_step(self, loop, terms):
        if loop.step % 200 == 0:
            self.training.append(resident())

    def after_batch(self, loop, predictions, batch):
        self.images += 1
        if loop is None and self.images % 200 == 0:
            self.evaluation.append(resident())


class Trivial(torch.nn.Module):
    """Gives as many maps of scores as there are classes, each the first channel moved and scaled."""

    align_corners = False

    def __init__(self, classes: int):
        super().__init__()
        self.mean = torch.zeros(1, 3, 1, 1)
        self.factors = torch.linspace(-1, 1, classes).view(1, classes, 1, 1)

    def forward(self, image, window=None):
        """image: [1,3,h,w] -> logits [1,K,h,w]."""
        return {"logits": (image[:, :1].float() - 128) * self.factors}


def twice(model: Trivial, image: torch.Tensor, crop: int, stride: int) -> torch.Tensor:
    """The map of sums, and beside it the map of means: what a sliding window needs as it is written down."""
    height, width = image.shape[-2:]
    total = torch.zeros(1, model.factors.shape[1], height, width)
    count = torch.zeros(1, 1, height, width)
    for y in sorted({min(y, height - crop) for y in range(0, height - crop + stride, stride)}):
        for x in sorted({min(x, width - crop) for x in range(0, width - crop + stride, stride)}):
            total[..., y : y + crop, x : x + crop] += model(image[..., y : y + crop, x : x + crop])["logits"]
            count[..., y : y + crop, x : x + crop] += 1
    return to_labels(total / count)[0]


@torch.inference_mode()
def slide_once(kind: str, classes: int, height: int, width: int) -> None:
    """Prints the peak beyond what was held before in MiB, the seconds, and a sum of the labels."""
    model = Trivial(classes)
    image = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    before, start = resident(), time.process_time()
    if kind == "twice":
        labels = twice(model, image, 512, 341)
    elif kind == "map":
        settings = InferenceSettings(mode="slide", crop=(512, 512), stride=(341, 341))
        labels = to_labels(build_score(model, settings)(image, (height, width)))[0]
    else:
        runner = build_runner(dict(inference=dict(mode="slide", crop=(512, 512), stride=(341, 341))))
        meta = dict(valid=(height, width), size=(height, width), id="", path="")
        labels = runner.predict(model, {"image": image, "meta": [meta]})[0]["labels"]
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak - before, seconds, int(labels.long().sum()))


def slide_peaks() -> None:
    """A process for each row; what would need more than the machine has is worked out alone."""
    print("| classes | labels | MiB beyond the image | CPU s | two maps, MiB |\n|---|---|---|---|---|")
    for classes, kinds in ((11, ("twice", "map", "labels")), (150, ("labels",))):
        sums = set()
        for kind in kinds:
            command = [sys.executable, __file__, "--once", kind, str(classes)]
            peak, seconds, total = subprocess.check_output(command, text=True).split()
            sums.add(total)
            maps = 2 * 4 * classes * 6000 * 4000 / 2**20
            print(f"| {classes} | {kind} | {float(peak):.0f} | {float(seconds):.1f} | {maps:.0f} |", flush=True)
        assert len(sums) == 1, "the labels differ"


def main() -> None:
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(CONFIG, build_runner(CONFIG), work_dir=Path(folder), device=CPU, hooks=(*standard_hooks(), watch))
        loop.fit()
    part = dict(workers=1, dataset=dict(**DATA, split="test", length=IMAGES))
    data, watch.images = build_evaluation(part, "test", CPU), 0
    evaluate(loop.runner, loop.eval_model, data, build_metrics([]), device=CPU, hooks=(watch,))
    for name, values in (("training", watch.training), ("evaluation", watch.evaluation)):
        grown = values[-1] - values[len(values) // 2]
        print(f"{name}, MiB every 200: {' '.join(f'{v:.0f}' for v in values)}; the second half grows by {grown:+.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", action="store_true")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        slide_once(options.once[0], int(options.once[1]), 4000, 6000)
    elif options.slide:
        slide_peaks()
    else:
        main()

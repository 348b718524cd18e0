"""Resident memory over 2,000 training steps and over an evaluation of 2,000 images: flat, or something grows.

Run by hand: python benchmarks/memory.py
"""

import tempfile
from pathlib import Path

import torch

from segkit.api import build_runner
from segkit.engine.evaluate import evaluate
from segkit.engine.hooks import Hook, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.setup import build_evaluation, build_metrics

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
    main()

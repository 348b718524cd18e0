"""Maps per second of the confusion count against its peers, in one process on one thread.

    python benchmarks/confusion.py

Prints the fastest of many calls; the peers take turns of a few calls each, so that a busy machine slows them alike.
torchmetrics is compared where it can be imported.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import torch

from segkit.metrics.confusion import Confusion

CLASSES, HEIGHT, WIDTH, IGNORE = 19, 512, 1024, 255
ROUNDS, REPEATS = 40, 5


def regions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Regions with curved outlines, as fragmented as labels of street scenes: 17 in 100 words of 8 pixels differ from
    the word before (CamVid at this size: 18), and 89 in 100 pixels agree."""

    def field(rows: int, columns: int) -> np.ndarray:
        coarse = rng.standard_normal((rows, columns)).astype(np.float32)
        return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)

    truth = np.stack([field(3, 6) for _ in range(CLASSES)]).argmax(0).astype(np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    moved = (x + 4 * field(24, 48), y + 4 * field(24, 48))
    prediction = cv2.remap(truth, *moved, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    truth[-40:] = IGNORE
    return truth, prediction


def noise(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel by itself: seven in ten agree, one in twenty is ignored. The hardest case: nothing repeats."""
    truth = rng.integers(0, CLASSES, (HEIGHT, WIDTH)).astype(np.uint8)
    other = rng.integers(0, CLASSES, truth.shape).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.7, truth, other)
    truth[rng.random(truth.shape) < 0.05] = IGNORE
    return truth, prediction


def peers(truth: np.ndarray, prediction: np.ndarray) -> dict[str, Callable[[], object]]:
    """-> name -> a call that counts one map pair; inputs are converted beforehand to what each takes best."""
    truth64, prediction64 = truth.astype(np.int64), prediction.astype(np.int64)
    truth_tensor, prediction_tensor = torch.from_numpy(truth64), torch.from_numpy(prediction64)
    metric = Confusion()
    metric.start(SimpleNamespace(classes=[str(k) for k in range(CLASSES)], ignore=IGNORE))
    predictions = [dict(labels=torch.from_numpy(prediction))]
    batch = dict(mask=[torch.from_numpy(truth)], meta=[dict(id="0")])

    def masked_numpy():
        valid = truth64 != IGNORE
        return np.bincount(CLASSES * truth64[valid] + prediction64[valid], minlength=CLASSES**2)

    def masked_torch():
        valid = truth_tensor != IGNORE
        return torch.bincount(CLASSES * truth_tensor[valid] + prediction_tensor[valid], minlength=CLASSES**2)

    calls = {
        "Confusion.update": lambda: metric.update(predictions, batch),
        "masked bincount, int64, numpy": masked_numpy,
        "masked bincount, int64, torch": masked_torch,
        "plain bincount, int64, numpy": lambda: np.bincount((CLASSES * truth64 + prediction64).reshape(-1)),
    }
    try:
        from torchmetrics.classification import MulticlassConfusionMatrix
    except ImportError:
        return calls
    theirs = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
    calls["torchmetrics, checked"] = lambda: theirs.update(prediction_tensor, truth_tensor)
    unchecked = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE, validate_args=False)
    calls["torchmetrics, unchecked"] = lambda: unchecked.update(prediction_tensor, truth_tensor)
    return calls


def best_rates(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """-> calls per second of each by its fastest call."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            for _ in range(REPEATS):
                start = time.perf_counter()
                call()
                best[name] = min(best[name], time.perf_counter() - start)
    return {name: 1 / seconds for name, seconds in best.items()}


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for make in (regions, noise):
        rates = best_rates(peers(*make(np.random.default_rng(0))))
        ours = rates["Confusion.update"]
        print(f"\n{make.__name__}: {CLASSES} classes, {HEIGHT}x{WIDTH}\n")
        print("| | maps/s | Confusion is faster by |\n|---|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:,.0f} | {ours / rate:.1f} |")


if __name__ == "__main__":
    main()

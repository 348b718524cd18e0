"""Times a draw of images for intervals beside scoring the drawn set anew, and compares the scores.

Run by hand: python benchmarks/intervals.py [--images 300]. Both sides in turn, median of several rounds, CPU time.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.analysis.label_table import LabelTable, counts_of
from segkit.analysis.match_table import MatchTable
from segkit.analysis.recorders import MatchRecorder
from segkit.metrics.coco_ap import CocoAP
from segkit.metrics.confusion import Confusion

CLASSES = tuple(f"class {k}" for k in range(19))
SIZE = 160


def label_maps(count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Blocks of classes, and predictions of which a tenth is wrong."""
    maps = []
    for _ in range(count):
        truth = rng.integers(0, 19, (SIZE // 16, SIZE // 16)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
        wrong = rng.random(truth.shape) < 0.1
        maps.append((truth, np.where(wrong, rng.integers(0, 19, truth.shape), truth).astype(np.uint8)))
    return maps


def instances(count: int, rng: np.random.Generator) -> tuple[dict[str, list], list[dict]]:
    """Rectangles of three classes in COCO form, and detections near them."""
    annotations, predictions = [], []
    for i in range(count):
        masks, labels = [], []
        for _ in range(6):
            (y, x), (h, w) = rng.integers(0, 100, 2), rng.integers(8, 60, 2)
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[y : y + h, x : x + w] = 1
            code, label = coco_mask.encode(np.asfortranarray(mask)), int(rng.integers(0, 3))
            box, area = coco_mask.toBbox(code).tolist(), float(mask.sum())
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=i,
                    category_id=label,
                    segmentation=code,
                    bbox=box,
                    area=area,
                    iscrowd=0,
                )
            )
            masks.append(coco_mask.encode(np.asfortranarray(np.roll(mask, rng.integers(-4, 5, 2), (0, 1)))))
            labels.append(label)
        predictions.append(dict(masks=masks, labels=np.array(labels), scores=rng.random(6)))
    images = [dict(id=i, height=SIZE, width=SIZE) for i in range(count)]
    categories = [dict(id=k, name=CLASSES[k]) for k in range(3)]
    return dict(images=images, categories=categories, annotations=annotations), predictions


def scored_anew(truth: dict[str, list], predictions: list[dict], row: np.ndarray) -> float:
    """AP of a set in which each image stands as often as it was drawn."""
    by_image: dict[int, list[dict]] = {}
    for entry in truth["annotations"]:
        by_image.setdefault(entry["image_id"], []).append(entry)
    copies = [i for i in range(len(row)) for _ in range(int(row[i]))]
    images = [dict(truth["images"][i], id=n) for n, i in enumerate(copies)]
    entries = [dict(entry, image_id=n) for n, i in enumerate(copies) for entry in by_image[i]]
    metric = CocoAP()
    metric.start(SimpleNamespace(annotations={**truth, "images": images, "annotations": entries}))
    for n, i in enumerate(copies):
        metric.update([predictions[i]], {"meta": [{"id": n}]})
    return metric.compute()["AP"]


def confused_anew(maps: list, row: np.ndarray) -> float:
    """mIoU of a set in which each image stands as often as it was drawn."""
    metric = Confusion()
    metric.start(SimpleNamespace(classes=CLASSES, ignore=255))
    for (truth, labels), times in zip(maps, row):
        for _ in range(int(times)):
            metric.update([{"labels": labels}], {"mask": [torch.from_numpy(truth)], "meta": [{"id": "a"}]})
    return metric.compute()["mIoU"]


def seconds_of(function: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    value = function()
    return time.process_time() - start, value


def compare(
    name: str, ours: Callable[[np.ndarray], np.ndarray], anew: Callable[[np.ndarray], float], rows: list
) -> None:
    """Prints seconds of a draw on both sides, their ratio and the largest difference of the scores."""
    pairs, largest = [], 0.0
    for weights in rows:
        fast, values = seconds_of(lambda weights=weights: ours(weights))
        slow, value = seconds_of(lambda weights=weights: anew(weights[0]))
        pairs.append((fast / len(weights), slow))
        largest = max(largest, abs(float(values[0]) - value))
    fast, slow = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
    times = f"{1e3 * fast:.3f} ms, scored anew {1e3 * slow:.1f} ms, {slow / fast:.0f} x"
    print(f"{name} a draw: {times}; largest difference {largest:.1e}")


def main() -> None:
    """Compares mIoU and AP."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--images", type=int, default=300)
    arguments.add_argument("--rounds", type=int, default=3)
    args = arguments.parse_args()
    rng, count = np.random.default_rng(0), args.images
    rows = [rng.multinomial(count, [1 / count] * count, 50) for _ in range(args.rounds)]
    maps = label_maps(count, rng)
    matrices = [np.bincount(t.reshape(-1).astype(int) * 19 + p.reshape(-1), minlength=361) for t, p in maps]
    counts = np.stack([counts_of(matrix.reshape(19, 19)) for matrix in matrices])
    table = LabelTable(tuple(map(str, range(count))), CLASSES, counts, np.ones(19, bool))
    compare("mIoU", lambda w: table.scores(w)["mIoU"], lambda row: confused_anew(maps, row), rows)
    truth, predictions = instances(count, rng)
    recorder = MatchRecorder(SimpleNamespace(annotations=truth), [CocoAP()])
    for i, prediction in enumerate(predictions):
        recorder.add([prediction], {"meta": [{"id": i}]})
    matched = recorder.result().table
    assert isinstance(matched, MatchTable)
    compare("AP", lambda w: matched.scores(w)["AP"], lambda row: scored_anew(truth, predictions, row), rows)


if __name__ == "__main__":
    main()

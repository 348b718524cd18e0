"""COCO's average precision by hotcoco against pycocotools, on the same detections in one process; equal to the bit.

    python benchmarks/coco_ap.py [--images 500] [--objects 20] [--repeats 3]

Prints Markdown. Times are wall time of an evaluation from run-length codes to curves, the two in turns, best of the
repeats: hotcoco uses as many threads as RAYON_NUM_THREADS says, all by default; pycocotools one.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.metrics import _rle_results
from segkit.metrics._rle_results import HOTCOCO, PYCOCOTOOLS, RleResults, coco_curves
from segkit.metrics.coco_ap import IOUS

SIZE, CLASSES = (480, 640), 20


def made(images: int, objects: int) -> RleResults:
    """Objects of random size, each found a little beside where it is, and as many false detections."""
    rng = np.random.default_rng(0)

    def box(center: np.ndarray, sides: np.ndarray) -> list[float]:
        low = (center - sides / 2).clip(0, np.array(SIZE) - 4)
        high = np.minimum(low + sides, SIZE)
        return [float(low[1]), float(low[0]), float(high[1] - low[1]), float(high[0] - low[0])]

    annotations, predictions = [], []
    for number in range(images):
        centers, sides = rng.random((objects, 2)) * SIZE, 8 + rng.random((objects, 2)) ** 3 * 200
        labels = rng.integers(CLASSES, size=objects)
        true = [box(center, side) for center, side in zip(centers, sides)]
        moved = [box(center + rng.normal(0, 0.1, 2) * side, side) for center, side in zip(centers, sides)]
        false = [box(rng.random(2) * SIZE, side) for side in sides]
        masks = rle.frPyObjects(np.array(true), *SIZE)
        for label, bbox, mask in zip(labels, true, masks):
            entry = dict(id=0, image_id=number, category_id=int(label) + 1, bbox=bbox, segmentation=mask, iscrowd=0)
            annotations.append({**entry, "area": float(rle.area(mask))})
        found = rle.frPyObjects(np.array(moved + false), *SIZE)
        scores = np.concatenate([0.3 + 0.7 * rng.random(objects), 0.6 * rng.random(objects)])
        predictions.append(dict(masks=found, scores=scores, labels=np.concatenate([labels, labels])))
    results = RleResults(
        dict(
            images=[dict(id=i, height=SIZE[0], width=SIZE[1]) for i in range(images)],
            categories=[dict(id=k + 1, name=str(k)) for k in range(CLASSES)],
            annotations=annotations,
        )
    )
    results.add(predictions, dict(meta=[dict(id=str(i)) for i in range(images)]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    results = made(options.images, options.objects)
    print("| scores | hotcoco, s | pycocotools, s | faster by | AP |\n|---|---|---|---|---|")
    for iou_type in ("segm", "bbox"):
        best, curves = {}, {}
        for _ in range(options.repeats):
            for package in (HOTCOCO, PYCOCOTOOLS):
                _rle_results.package_for = lambda results, package=package: package
                start = time.perf_counter()
                curves[package] = coco_curves(results, iou_type, ious=IOUS, max_detections=(1, 10, 100))
                best[package] = min(best.get(package, np.inf), time.perf_counter() - start)
        for one, other in zip(*curves.values()):
            assert np.array_equal(one, other), "the curves differ"
        ap = 100 * curves[HOTCOCO].precision[..., 0, -1].mean()
        ratio = best[PYCOCOTOOLS] / best[HOTCOCO]
        print(f"| {iou_type} | {best[HOTCOCO]:.2f} | {best[PYCOCOTOOLS]:.2f} | {ratio:.1f} | {ap:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""IoU and mean boundary accuracy of GrabCut's masks, made coarse and refined by CascadePSP; with pictures.

    python benchmarks/cascade_psp.py CHECKPOINT [--root FOLDER] [--side 900] [--fast] [--out FOLDER] [--limit N]
    python benchmarks/cascade_psp.py CHECKPOINT --memory 3000x2000

Each mask is perturbed as in CascadePSP's training; of 24 results the one is taken whose IoU with the true mask is
nearest to --iou. Pixels that GrabCut leaves open are no part of the IoU; for the boundary accuracy, whose band they
fill, each takes the nearest label. OUT holds the coarse and refined masks as PNG and 6 pictures of image, coarse mask,
refined mask and truth. The second form measures memory and time of one image with a disc; it needs no data.
"""

import argparse
import resource
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch

from segkit.data.interactive.grabcut import GrabCut
from segkit.metrics.boundary_accuracy import boundary_accuracy
from segkit.ops.refining.perturbation import coarse_mask
from segkit.refiners.cascade_psp import CascadePSP

DRAWS, PICTURES = 24, 6
COLOR = (0, 0, 255)


def coarsened(truth: np.ndarray, iou: float, seed: int) -> np.ndarray:
    """The perturbed mask, bool [H,W], whose IoU with the true one is nearest to `iou`."""
    rng = np.random.default_rng(seed)
    made = [coarse_mask(truth, target, rng) for target in np.linspace(iou, 1.0, DRAWS)]
    return min(made, key=lambda mask: abs(iou_of(mask, truth) - iou))


def iou_of(mask: np.ndarray, truth: np.ndarray) -> float:
    return np.count_nonzero(mask & truth) / max(np.count_nonzero(mask | truth), 1)


def filled(labels: np.ndarray) -> np.ndarray:
    """The object, bool [H,W], where each open pixel (-1) takes the label that is nearest."""
    inside, outside = (cv2.distanceTransform((labels != k).astype(np.uint8), cv2.DIST_L2, 5) for k in (1, 0))
    return np.where(labels == -1, inside < outside, labels == 1)


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image, BGR, with the mask's outline and a tint."""
    drawn = image[:, :, ::-1].copy()
    drawn[mask] = (0.65 * drawn[mask] + 0.35 * np.array(COLOR)).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(drawn, contours, -1, COLOR, 2)


def refined(refiner: CascadePSP, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    return refiner.refine(pixels, torch.from_numpy(mask).float()[None, None])[0, 0].numpy() > 0.5


def score(refiner: CascadePSP, args: argparse.Namespace) -> None:
    dataset, out = GrabCut(args.root), Path(args.out)
    for folder in ("coarse", "refined"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    count = min(len(dataset), args.limit)
    shown = {round(i) for i in np.linspace(0, count - 1, min(PICTURES, count))}
    rows, seconds = [], 0.0
    for index in range(count):
        image, labels, name = dataset.image(index), dataset.mask(index), dataset.ids[index]
        truth, valid = filled(labels), labels != -1
        coarse = coarsened(truth, args.iou, zlib.crc32(name.encode()))
        start = time.perf_counter()
        better = refined(refiner, image, coarse)
        seconds += time.perf_counter() - start
        pair = (coarse, better)
        rows.append([*(iou_of(m & valid, truth & valid) for m in pair), *(boundary_accuracy(truth, m) for m in pair)])
        for folder, mask in zip(("coarse", "refined"), pair):
            cv2.imwrite(str(out / folder / f"{Path(name).stem}.png"), mask.astype(np.uint8) * 255)
        if index in shown:
            panels = [image[:, :, ::-1], *(outlined(image, mask) for mask in (*pair, truth))]
            cv2.imwrite(str(out / f"{Path(name).stem}.jpg"), np.hstack(panels))
        print(f"{name}: IoU {rows[-1][0]:.3f} -> {rows[-1][1]:.3f}, mBA {rows[-1][2]:.3f} -> {rows[-1][3]:.3f}")
    means = 100 * np.mean(rows, axis=0)
    print(f"{count} images, {seconds / count:.1f} s each: IoU {means[0]:.1f} -> {means[1]:.1f}, ", end="")
    print(f"mBA {means[2]:.1f} -> {means[3]:.1f}; pictures in {out}")


def measure(refiner: CascadePSP, size: str) -> None:
    width, height = (int(side) for side in size.split("x"))
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    disc = (y - height // 2) ** 2 + (x - width // 2) ** 2 < (min(width, height) // 8) ** 2
    start = time.perf_counter()
    refined(refiner, image, disc)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{size}: peak of the process {peak:.2f} GB, {time.perf_counter() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--root", help="folder of GrabCut; default $SEGKIT_DATA/GrabCut")
    parser.add_argument("--iou", type=float, default=0.8)
    parser.add_argument("--side", type=int, default=900)
    parser.add_argument("--fast", action="store_true", help="leave out the tiles")
    parser.add_argument("--limit", type=int, default=50, help="images")
    parser.add_argument("--out", default="cascade_psp_grabcut")
    parser.add_argument("--memory", metavar="WxH")
    args = parser.parse_args()
    refiner = CascadePSP(args.checkpoint, args.side, is_fast=args.fast).eval()
    if args.memory:
        measure(refiner, args.memory)
    else:
        score(refiner, args)


if __name__ == "__main__":
    main()

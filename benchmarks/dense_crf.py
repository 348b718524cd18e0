"""Seconds and memory of DenseCRF on 375x500 pixels with 21 classes, and how near its lattice is to other sums.

    python benchmarks/dense_crf.py [--image FILE] [--threads 2]

Without an image a drawn one is taken, of soft regions with grain. The aims are 6 seconds and 1.5 GB on two cores for 10
steps. Processor time is printed beside wall time, since a busy machine changes the latter. The second table compares
with exact sums and with pydensecrf's outputs on the stored crops of 64x64 pixels.
"""

import argparse
import resource
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from segkit.refiners.base import Refiner
from segkit.refiners.conv_crf import ConvCRF
from segkit.refiners.dense_crf import DenseCRF, LatticeDenseCRF, WindowDenseCRF

HEIGHT, WIDTH, CLASSES = 375, 500, 21
REFERENCES = Path(__file__).parents[1] / "tests/fixtures/refine/dense_crf.npz"
WIDE = dict(position_sigma=3.0, bilateral_weight=10.0, bilateral_sigma=80.0, color_sigma=13.0)


def drawn(rng: np.random.Generator) -> np.ndarray:
    """Regions of soft color with grain of 4 values, uint8 [H,W,3]."""
    coarse = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, refiner: Refiner, image: torch.Tensor, coarse: torch.Tensor) -> None:
    start, processor, before = time.perf_counter(), time.process_time(), peak()
    refiner.refine(image, coarse)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(f"{name:26}{seconds:8.2f}{processor:12.2f}{peak() - before:14.0f}{6 / seconds:14.2f}")


def compare() -> None:
    with np.load(REFERENCES) as arrays:
        references = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    image = references["image64"].permute(2, 0, 1)[None].float()
    coarse = references["logits64"][None].softmax(1)
    print(f"\n{'64x64, 10 steps':34}{'mean difference':>16}{'labels differ':>15}")
    for name, options in (("cocostuff_voc", {}), ("wide", WIDE)):
        exact, package = references[f"{name}/64/exact_10"], references[f"{name}/64/pydensecrf_10"]
        rows = [("pydensecrf, exact", package, exact)]
        lattice = DenseCRF(exact_pixels=0, **options).refine(image, coarse)[0, :, ::2, ::2]
        rows.append(("DenseCRF's lattice, exact", lattice, exact))
        both = LatticeDenseCRF(**options).refine(image, coarse)[0, :, ::2, ::2]
        rows.append(("LatticeDenseCRF, pydensecrf", both, package))
        distance = float((package - exact).abs().mean())
        for label, found, expected in rows:
            mean = float((found - expected).abs().mean())
            labels = float((found.argmax(0) != expected.argmax(0)).float().mean())
            print(f"{name:15}{label:28}{mean:10.6f} ({mean / distance:.3f}){labels:10.4f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--image", help="a photograph; it is resized to 375x500")
    arguments.add_argument("--threads", type=int, default=2)
    args = arguments.parse_args()
    torch.set_num_threads(args.threads)
    pixels = drawn(np.random.default_rng(0))
    if args.image:
        read = cv2.imread(args.image)
        if read is None:
            raise SystemExit(f"{args.image}: no image that OpenCV reads")
        pixels = cv2.cvtColor(cv2.resize(read, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    blobs = torch.randn(1, CLASSES, 24, 32, generator=torch.Generator().manual_seed(0)) * 4
    coarse = F.interpolate(blobs, (HEIGHT, WIDTH), mode="bilinear").softmax(1)
    with torch.inference_mode():
        print(f"{'':26}{'seconds':>8}{'processor':>12}{'MB beyond':>14}{'6 s / seconds':>14}")
        measure("DenseCRF", DenseCRF(), image, coarse)
        measure("DenseCRF, 5 wide steps", DenseCRF(5, **WIDE), image, coarse)
        measure("LatticeDenseCRF", LatticeDenseCRF(), image, coarse)
        measure("WindowDenseCRF, window 11", WindowDenseCRF(11), image, coarse)
        measure("ConvCRF", ConvCRF(), image, coarse)
        compare()


if __name__ == "__main__":
    main()

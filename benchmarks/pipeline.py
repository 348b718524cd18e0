"""Images per second of one worker's training pipeline: segkit against plain OpenCV and numpy.

Decode a 480x360 image and its mask, scale by .5 to 2, crop 512 (padded where smaller), flip, photometric distortion.
Two peers do the same operations in the straightforward way, scaling the whole image before the crop:
  uint8   keeps uint8 between the steps, as mmsegmentation does: every photometric step goes to float32 and back
  float32 keeps float32 from the decoder on

    python benchmarks/pipeline.py [--images 100] [--rounds 5] [--cat-max-ratio .75]

Photographs come from $SEGKIT_DATA/camvid where that is set, else textured images are made. The three take turns in one
process with one thread each; of every one the best round counts. PNG files are the same images, encoded anew.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from segkit.data.transforms.color import Photometric
from segkit.data.transforms.crops import RandomScaleCrop
from segkit.data.transforms.sizes import Flip, apply

CROP, LOW, HIGH, IGNORE = 512, 0.5, 2.0, 255
Pair = tuple[str, str]


def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """(image file, mask file) -> uint8 [H,W,3] RGB, uint8 [H,W]."""
    image = cv2.imread(pair[0], cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), cv2.imread(pair[1], cv2.IMREAD_UNCHANGED)


def segkit_pipeline(most: float) -> Callable:
    """most: cat_max_ratio -> (pair, rng) -> uint8 image, mask."""
    transforms = [RandomScaleCrop(CROP, LOW, HIGH, cat_max_ratio=most), Flip(), Photometric()]

    def run(pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image, mask = read(pair)
        sample = apply(transforms, dict(image=image, mask=mask, meta=dict(path=pair[0])), rng)
        return sample["image"], sample["mask"]

    return run


def plain_pipeline(most: float, distort: Callable, dtype: type) -> Callable:
    """distort: (image, rng) -> image; dtype: of the image between the steps -> (pair, rng) -> image, mask."""

    def run(pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image, mask = read(pair)
        image, factor = image.astype(dtype, copy=False), rng.uniform(LOW, HIGH)
        size = int(image.shape[1] * factor + 0.5), int(image.shape[0] * factor + 0.5)
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        image, mask = plain_crop(image, mask, most, rng)
        if rng.random() < 0.5:
            image, mask = np.flip(image, axis=1), np.flip(mask, axis=1)
        image = distort(image, rng)
        bottom, right = CROP - mask.shape[0], CROP - mask.shape[1]
        image = np.pad(image, ((0, bottom), (0, right), (0, 0)))
        return image, np.pad(mask, ((0, bottom), (0, right)), constant_values=IGNORE)

    return run


def plain_crop(image: np.ndarray, mask: np.ndarray, most: float, rng: np.random.Generator) -> tuple:
    """A random crop, drawn again up to ten times while one class covers `most` of it."""
    for _ in range(11):
        y = rng.integers(max(mask.shape[0] - CROP, 0) + 1)
        x = rng.integers(max(mask.shape[1] - CROP, 0) + 1)
        labels = mask[y : y + CROP, x : x + CROP]
        if most >= 1:
            break
        values, counts = np.unique(labels, return_counts=True)
        counts = counts[values != IGNORE]
        if len(counts) > 1 and counts.max() / counts.sum() < most:
            break
    return image[y : y + CROP, x : x + CROP], labels


def linear(image: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """-> image * factor + shift, computed in float32, cut to 0..255, in the image's dtype."""
    return np.clip(image.astype(np.float32) * np.float32(factor) + np.float32(shift), 0, 255).astype(image.dtype)


def distort_uint8(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photometric distortion step by step on uint8; saturation and hue each convert to HSV and back."""
    does, is_first = rng.random(4) < 0.5, rng.random() < 0.5
    if does[0]:
        image = linear(image, 1, rng.uniform(-32, 32))
    if does[1] and is_first:
        image = linear(image, rng.uniform(0.5, 1.5), 0)
    if does[2]:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = linear(hsv[..., 1], rng.uniform(0.5, 1.5), 0)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if does[3]:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-18, 18)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if does[1] and not is_first:
        image = linear(image, rng.uniform(0.5, 1.5), 0)
    return image


def distort_float(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same steps on float32 0..255, with float32 HSV."""
    does, is_first = rng.random(4) < 0.5, rng.random() < 0.5
    if does[0]:
        image = linear(image, 1, rng.uniform(-32, 32))
    if does[1] and is_first:
        image = linear(image, rng.uniform(0.5, 1.5), 0)
    if does[2]:
        hsv = cv2.cvtColor(np.ascontiguousarray(image) / np.float32(255), cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.clip(hsv[..., 1] * np.float32(rng.uniform(0.5, 1.5)), 0, 1)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
    if does[3]:
        hsv = cv2.cvtColor(np.ascontiguousarray(image) / np.float32(255), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + np.float32(rng.uniform(-36, 36))) % 360
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
    if does[1] and not is_first:
        image = linear(image, rng.uniform(0.5, 1.5), 0)
    return image


def made_files(folder: Path, count: int) -> list[Pair]:
    """-> files of `count` textured 480x360 images (JPEG, quality 95) with masks of 6 classes in blobs."""
    rng, pairs = np.random.default_rng(0), []
    for i in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (480, 360), interpolation=cv2.INTER_CUBIC)
        image = cv2.add(image, rng.integers(0, 40, image.shape, dtype=np.uint8))
        mask = cv2.resize(rng.integers(0, 6, (9, 12), dtype=np.uint8), (480, 360), interpolation=cv2.INTER_NEAREST)
        pair = str(folder / f"{i}.jpg"), str(folder / f"{i}_mask.png")
        cv2.imwrite(pair[0], image)
        cv2.imwrite(pair[1], mask)
        pairs.append(pair)
    return pairs


def find_files(folder: Path, count: int) -> tuple[str, list[Pair]]:
    """-> what the images are, and at most `count` pairs: CamVid's training images or made ones."""
    root = Path(os.environ.get("SEGKIT_DATA", "")) / "camvid"
    images = sorted((root / "train").glob("*.jpg"))[:count] if "SEGKIT_DATA" in os.environ else []
    if images:
        return "CamVid", [(str(image), str(root / "trainannot" / f"{image.stem}.png")) for image in images]
    return "made images", made_files(folder, count)


def as_png(folder: Path, pairs: list[Pair]) -> list[Pair]:
    """-> the same pairs with the images encoded as PNG in the folder."""
    out = []
    for image, mask in pairs:
        path = str(folder / f"{Path(image).stem}.png")
        cv2.imwrite(path, cv2.imread(image))
        out.append((path, mask))
    return out


def measure(pipelines: dict[str, Callable], pairs: list[Pair], rounds: int) -> dict[str, float]:
    """-> images per second of each pipeline in its best round; they take turns."""
    best = dict.fromkeys(pipelines, 0.0)
    for turn in range(rounds):
        for name, pipeline in pipelines.items():
            rng = np.random.default_rng(turn)
            start = time.perf_counter()
            for pair in pairs:
                image, mask = pipeline(pair, rng)
                assert image.shape == (CROP, CROP, 3) and mask.shape == (CROP, CROP)
            best[name] = max(best[name], len(pairs) / (time.perf_counter() - start))
    return best


def main() -> None:
    """Prints one table: images/s of each pipeline on JPEG and PNG files, and segkit's ratio to each peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cat-max-ratio", type=float, default=1.0, help="share of one class in a crop; 1 = any")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pipelines = {
        "segkit": segkit_pipeline(args.cat_max_ratio),
        "plain uint8": plain_pipeline(args.cat_max_ratio, distort_uint8, np.uint8),
        "plain float32": plain_pipeline(args.cat_max_ratio, distort_float, np.float32),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, jpegs = find_files(Path(folder), args.images)
        print(f"{source}: {len(jpegs)} images, best of {args.rounds} rounds, cat_max_ratio {args.cat_max_ratio}")
        print("| files | pipeline | images/s per worker | segkit's ratio |\n|---|---|---|---|")
        for kind, pairs in (("JPEG", jpegs), ("PNG", as_png(Path(folder), jpegs))):
            rates = measure(pipelines, pairs, args.rounds)
            for name, rate in rates.items():
                print(f"| {kind} | {name} | {rate:.0f} | {rates['segkit'] / rate:.2f} |", flush=True)


if __name__ == "__main__":
    main()

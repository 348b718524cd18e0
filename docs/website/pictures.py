"""Pictures of the reference, drawn while the site is built: transforms before and after, refiners, click maps."""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from segkit.data.semantic.shapes import Shapes
from segkit.ops.interactive.click_maps import disk_maps, distance_maps
from segkit.registry import REFINERS, TRANSFORMS, build
from segkit.viz.draw import draw_clicks, overlay

SIZE = (120, 160)
SCALE = 2

TRANSFORM_ARGUMENTS: dict[str, dict[str, Any]] = {
    "Blur": dict(low=1.0, high=3.0, p=1.0),
    "BrightnessContrast": dict(brightness=(-0.4, 0.4), contrast=(-0.4, 0.4), p=1.0),
    "CenterCrop": dict(size=(80, 80)),
    "ChannelShift": dict(limit=40, p=1.0),
    "ColorJitter": dict(p=1.0),
    "CutOut": dict(size=30, p=1.0),
    "Elastic": dict(sigma=12.0, p=1.0),
    "ElasticNoise": dict(p=1.0),
    "Flip": dict(p=1.0, direction=["horizontal", "vertical", "both"]),
    "FocusCrop": dict(size=(96, 96)),
    "Gamma": dict(low=0.4, high=2.5, p=1.0),
    "Grayscale": dict(p=1.0),
    "GridDistortion": dict(limit=0.6, p=1.0),
    "JPEG": dict(low=3, high=20, p=1.0),
    "Pad": dict(size=(140, 180)),
    "Photometric": {},
    "RandAugment": {},
    "RandomAffine": dict(degrees=20.0, shift=0.1, scale=(0.7, 1.3), p=1.0),
    "RandomCrop": dict(size=(80, 80)),
    "RandomErasing": dict(p=1.0),
    "RandomResize": dict(scale=(160, 120)),
    "RandomResizedCrop": dict(size=(80, 80)),
    "RandomRotate": dict(degrees=(-30, 30), p=1.0),
    "RandomScale": dict(low=0.5, high=1.4),
    "RandomScaleCrop": dict(size=(96, 96)),
    "RandomShortSide": dict(sides=[60, 90, 150]),
    "ReflectPad": dict(size=(140, 200)),
    "Resize": dict(size=(60, 120)),
    "Rot90": dict(p=1.0),
    "StretchedCrop": dict(size=(96, 96)),
}
"""Arguments of the transforms that move or color pixels of one image: values under which what they do is seen."""

REFINER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "ConvCRF": {},
    "DenseCRF": dict(bilateral_sigma=30.0),
    "LatticeDenseCRF": dict(bilateral_sigma=30.0),
    "WindowDenseCRF": dict(bilateral_sigma=30.0),
}
"""Refiners that need no network of their own."""


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        path: under the source folder of the site.
        text: what it shows, Markdown.
    """

    path: str
    text: str


def draw_all(folder: Path) -> dict[str, Picture]:
    """Draws the pictures of the reference.

    Args:
        folder: source folder of the site.

    Returns:
        Page of a class -> its picture.
    """
    dataset = Shapes("val", length=4, size=SIZE)
    (folder / "images" / "reference").mkdir(parents=True, exist_ok=True)
    found: dict[str, Picture] = {}
    for name in TRANSFORM_ARGUMENTS:
        text = f"Before, and three draws of {entry(name, TRANSFORM_ARGUMENTS[name])}: image above, labels below."
        found[f"reference/transforms/{name}.md"] = saved(folder, name, transform_picture(name, dataset), text)
    for name in REFINER_ARGUMENTS:
        text = f"Image, coarse prediction, refined by {entry(name, REFINER_ARGUMENTS[name])}."
        found[f"reference/refiners/{name}.md"] = saved(folder, name, refiner_picture(name, dataset), text)
    text = 'Clicks on an image; as `encoding="disks"`; as `encoding="distance"`. Green: object, red: background.'
    found["reference/models/ClickSegmentor.md"] = saved(folder, "ClickSegmentor", click_picture(dataset), text)
    return found


def entry(name: str, arguments: dict[str, Any]) -> str:
    """The entry of a config as code."""
    inner = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return f'`dict(type="{name}"{inner})`'


def saved(folder: Path, name: str, picture: np.ndarray, text: str) -> Picture:
    path = f"images/reference/{name}.jpg"
    assert cv2.imwrite(str(folder / path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return Picture(path, text)


def transform_picture(name: str, dataset: Shapes) -> np.ndarray:
    """An image with its labels, and three draws of a transform: image above, labels below."""
    sample = dataset.sample(0, np.random.default_rng(0))
    transform = build(dict(type=name, **TRANSFORM_ARGUMENTS[name]), TRANSFORMS, name)
    samples = [sample, *(transform(sample, np.random.default_rng(seed)) for seed in range(3))]
    return beside([column(one["image"], one["mask"], dataset) for one in samples])


def column(image: np.ndarray, mask: np.ndarray, dataset: Shapes) -> np.ndarray:
    image = np.clip(image, 0, 255).astype(np.uint8)
    return enlarged(np.concatenate([image, overlay(image, mask, dataset.palette)]))


def refiner_picture(name: str, dataset: Shapes) -> np.ndarray:
    """Image, the labels of a coarse prediction, and those of the refined one."""
    sample = dataset.sample(1, np.random.default_rng(0))
    image, mask = sample["image"], sample["mask"]
    coarse = coarse_probabilities(mask, len(dataset.classes))
    refiner = build(dict(type=name, **REFINER_ARGUMENTS[name]), REFINERS, name)
    tensors = torch.from_numpy(image).permute(2, 0, 1)[None].float(), torch.from_numpy(coarse)[None]
    with torch.no_grad():
        refined = refiner.refine(*tensors)[0].numpy()
    columns = [image] + [overlay(image, shown.argmax(0), dataset.palette, 0.6) for shown in (coarse, refined)]
    return beside([enlarged(one) for one in columns])


def click_picture(dataset: Shapes) -> np.ndarray:
    """Two clicks on an object and one beside it, and the maps that a network gets of them."""
    image = dataset.image(1)
    clicks = np.array([[40, 45, 0], [95, 75, 2], [20, 100, 1], [-1, -1, -1]], np.float32)  # y, x, order; two per sign
    batch = torch.from_numpy(clicks)[None]
    maps = [disk_maps(batch, SIZE)[0], 1 - distance_maps(batch, SIZE)[0]]
    columns = [draw_clicks(image, None, clicks)]
    for positive, negative in maps:
        columns.append((torch.stack([negative, positive, torch.zeros_like(positive)], 2) * 255).byte().numpy())
    return beside([enlarged(one) for one in columns])


def coarse_probabilities(mask: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities float32 [K,H,W] as of a network with a stride of 16: class maps averaged and enlarged."""
    height, width = mask.shape
    maps = []
    for k in range(classes):
        small = cv2.resize((mask == k).astype(np.float32), (width // 16, height // 16), interpolation=cv2.INTER_AREA)
        maps.append(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    stack = 0.9 * np.stack(maps) + 0.1 / classes
    return stack / stack.sum(0)


def enlarged(image: np.ndarray) -> np.ndarray:
    return image.repeat(SCALE, 0).repeat(SCALE, 1)


def beside(columns: list[np.ndarray], gap: int = 8) -> np.ndarray:
    """Puts pictures of any sizes side by side on white, their tops in line."""
    height = max(len(one) for one in columns)
    padded = []
    for one in columns:
        filled = np.full((height, one.shape[1] + gap, 3), 255, np.uint8)
        filled[: len(one), : one.shape[1]] = one
        padded.append(filled)
    return np.concatenate(padded, 1)[:, :-gap]

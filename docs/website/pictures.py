"""Pictures of the reference, drawn while the site is built: transforms before and after, refiners, clicks, curves."""

import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from segkit.data.prepare.segfix import boundary_targets
from segkit.data.semantic.shapes import Shapes
from segkit.data.transforms.base import Transform
from segkit.ops.edges import direction_classes, direction_offsets
from segkit.ops.interactive.click_maps import disk_maps, distance_maps
from segkit.registry import REFINERS, TRANSFORMS, build
from segkit.types import Meta, Sample
from segkit.viz.draw import draw_clicks, overlay
from website.curves import loss_pictures, schedule_pictures
from website.drawing import beside, boxed, enlarged, shown
from website.picture import Picture
from website.samples import SIZE, TRANSFORM_PICTURES, click_schemes

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
"""Refiners of colors, which need no network of their own."""

REFINERS_APART = ("ClassGate", "SegFix")
"""Refiners whose pictures are made with what a network would tell them."""

NO_REFINER_PICTURE = {"CascadePSP": "it needs a trained network"}
"""Refiners without a picture, and why."""


def draw_all(folder: Path) -> dict[str, Picture]:
    """Draws the pictures of the reference.

    Args:
        folder: source folder of the site.

    Returns:
        Page of a class -> its picture.
    """
    dataset = Shapes("val", length=4, size=SIZE)
    (folder / "images" / "reference").mkdir(parents=True, exist_ok=True)
    found = {**loss_pictures(folder), **schedule_pictures(folder)}
    for name in TRANSFORM_ARGUMENTS:
        text = f"Before, and three draws of {entry(name, TRANSFORM_ARGUMENTS[name])}: image above, labels below."
        found[f"reference/transforms/{name}.md"] = saved(folder, name, transform_picture(name, dataset), text)
    for name, draw in TRANSFORM_PICTURES.items():
        found[f"reference/transforms/{name}.md"] = saved(folder, name, *draw())
    for name in REFINER_ARGUMENTS:
        text = f"Image, coarse prediction, refined by {entry(name, REFINER_ARGUMENTS[name])}."
        found[f"reference/refiners/{name}.md"] = saved(folder, name, refiner_picture(name, dataset), text)
    text = "Image, coarse prediction, refined with the true offsets, as a perfect network would predict them."
    found["reference/refiners/SegFix.md"] = saved(folder, "SegFix", segfix_picture(dataset), text)
    text = "Image, a prediction with a class that the image does not hold, and the same after `ClassGate()`."
    found["reference/refiners/ClassGate.md"] = saved(folder, "ClassGate", gate_picture(dataset), text)
    text = 'Clicks on an image; as `encoding="disks"`; as `encoding="distance"`. Green: object, red: background.'
    found["reference/models/ClickSegmentor.md"] = saved(folder, "ClickSegmentor", click_picture(dataset), text)
    found["reference/runners/Interactive.md"] = saved(folder, "Interactive", *click_schemes())
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
    """An image with its labels, and three draws of a transform: image above, labels below.

    Where the transform moves pixels, images show the boxes of their objects, which move along.
    """
    sample = dataset.sample(0, np.random.default_rng(0))
    transform = build(dict(type=name, **TRANSFORM_ARGUMENTS[name]), TRANSFORMS, name)
    samples = [sample, *(transform(sample, np.random.default_rng(seed)) for seed in range(3))]
    moves = isinstance(transform, Transform) and transform.moves != "nothing"
    return beside([column(one, dataset, boxes=moves) for one in samples])


def column(sample: Sample, dataset: Shapes, *, boxes: bool) -> np.ndarray:
    image = shown(sample["image"])
    above, below = enlarged(image), enlarged(overlay(image, sample["mask"], dataset.palette))
    if boxes and "boxes" in sample:
        above = boxed(above, sample["boxes"], [dataset.palette[int(label)] for label in sample["labels"]])
    return np.concatenate([above, below])


def refiner_picture(name: str, dataset: Shapes) -> np.ndarray:
    """Image, the labels of a coarse prediction, and those of the refined one."""
    image, coarse, _ = coarse_prediction(dataset)
    refiner = build(dict(type=name, **REFINER_ARGUMENTS[name]), REFINERS, name)
    with torch.no_grad():
        return maps_beside(dataset, image, coarse, refiner.refine(image, coarse))


def coarse_prediction(dataset: Shapes) -> tuple[Tensor, Tensor, np.ndarray]:
    """An image float [1,3,H,W], a coarse prediction float [1,K,H,W], and the true labels."""
    sample = dataset.sample(1, np.random.default_rng(0))
    coarse = coarse_probabilities(sample["mask"], len(dataset.classes))
    image = torch.from_numpy(sample["image"]).permute(2, 0, 1)[None].float()
    return image, torch.from_numpy(coarse)[None], sample["mask"]


def maps_beside(dataset: Shapes, image: Tensor, *maps: Tensor) -> np.ndarray:
    """An image, and the labels of predictions over it."""
    picture = shown(image[0].permute(1, 2, 0).numpy())
    columns = [picture] + [overlay(picture, one[0].argmax(0).numpy(), dataset.palette, 0.6) for one in maps]
    return beside([enlarged(one) for one in columns])


def segfix_picture(dataset: Shapes) -> np.ndarray:
    """Refines by offsets in a file, which are made of the true labels."""
    from scipy.io import savemat

    image, coarse, labels = coarse_prediction(dataset)
    depth, angle = boundary_targets(labels, 255)
    degrees = torch.from_numpy(angle.astype(np.float32) * 2 - 180)[None]
    is_moved = torch.from_numpy(depth < 6)[None]
    offsets = direction_offsets(direction_classes(degrees, 8), is_moved, 8)[0].permute(1, 2, 0)
    with tempfile.TemporaryDirectory() as folder:
        savemat(f"{folder}/image.mat", {"mat": offsets.numpy()})
        refiner = build(dict(type="SegFix", offsets=folder, scale=4), REFINERS, "SegFix")
        refiner.begin([Meta(id="image", path="image.png")])
        return maps_beside(dataset, image, coarse, refiner.refine(image, coarse))


def gate_picture(dataset: Shapes) -> np.ndarray:
    """Takes out a class that a part of an object was given, though the image does not hold it."""
    image, coarse, labels = coarse_prediction(dataset)
    absent = next(k for k in range(len(dataset.classes)) if not (labels == k).any())
    rows, columns = np.nonzero(labels)
    wrong = coarse.clone()
    y, x = slice(int(rows.min()), int(np.median(rows))), slice(int(columns.min()), int(np.median(columns)))
    wrong[0, :, y, x] *= 0.3
    wrong[0, absent, y, x] += 0.7
    presence = torch.tensor([[0.95 if (labels == k).any() else 0.05 for k in range(len(dataset.classes))]])
    refiner = build(dict(type="ClassGate"), REFINERS, "ClassGate")
    return maps_beside(dataset, image, wrong, refiner.refine(image, wrong, presence=presence))


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

"""Pictures of what needs more than an image and its labels: transforms of objects, clicks and pairs, click schemes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from segkit.data.instances.shapes import ShapesInstances
from segkit.data.interactive.shapes import ShapesClicks
from segkit.data.semantic.shapes import Shapes
from segkit.data.transforms.schedule import HardThenSoft, of_step
from segkit.ops.interactive.next_click import next_training_clicks
from segkit.registry import TRANSFORMS, build
from segkit.runners.interactive.band_clicker import DistanceClicker
from segkit.runners.interactive.clicker import DeepestClicker
from segkit.types import Sample, default_palette
from segkit.viz.draw import CHOSEN, NEGATIVE, POSITIVE, colorize, draw_clicks, overlay
from website.drawing import below, beside, boxed, dotted, enlarged, gray, heat, shown

SIZE = (120, 160)
SEEDS = (0, 1, 2)

Drawn: TypeAlias = tuple[np.ndarray, str]
"""A picture and what it shows."""


def made(name: str, **arguments: Any) -> Any:
    """Builds a transform."""
    return build(dict(type=name, **arguments), TRANSFORMS, name)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def instance_panel(sample: Sample, dataset: ShapesInstances, *, masks: bool = True) -> np.ndarray:
    """An image with the boxes and, where wanted, the masks of its objects."""
    colors = [dataset.palette[int(label)] for label in sample["labels"]]
    picture = shown(sample["image"])
    if masks:
        labels = np.full(picture.shape[:2], 255, np.uint8)
        for mask, label in zip(np.asarray(sample["masks"]), sample["labels"]):
            labels[mask > 0] = label
        picture = overlay(picture, labels, dataset.palette, 0.6)
    return boxed(enlarged(picture), sample["boxes"], colors)


def box_masks() -> Drawn:
    dataset = ShapesInstances("val", length=1, size=SIZE)
    sample = dataset.sample(0)
    panels = [instance_panel(sample, dataset, masks=False), instance_panel(made("BoxMasks")(sample, rng()), dataset)]
    return beside(panels), "Boxes, and the masks that the transform makes of them."


def boxes_of_masks() -> Drawn:
    dataset = ShapesInstances("val", length=1, size=SIZE, boxes_only=False)
    cut = made("RandomAffine", degrees=40.0, p=1.0)(dataset.sample(0), rng(3))
    panels = [instance_panel(cut, dataset), instance_panel(made("BoxesOfMasks")(cut, rng()), dataset)]
    return beside(panels), "Boxes after a rotation, and the tight ones around the masks."


def until_box() -> Drawn:
    dataset = ShapesInstances("train", length=4, size=SIZE, boxes_only=False)
    crop = made("RandomCrop", size=(44, 44))
    kept = made("UntilBox", transforms=[dict(type="RandomCrop", size=(44, 44))])
    seeds = range(5)
    rows = [
        beside([instance_panel(one(dataset.sample(1), rng(seed)), dataset) for seed in seeds]) for one in (crop, kept)
    ]
    return below(rows), "Five crops; below, five of `UntilBox`, which start over where no object is left."


def until_object() -> Drawn:
    dataset = ShapesClicks("train", length=4, size=SIZE)
    crop = made("RandomCrop", size=(44, 44))
    kept = made("UntilObject", transforms=[dict(type="RandomCrop", size=(44, 44))], keep_background=0.0, min_area=1)
    rows = []
    for one in (crop, kept):
        panels = []
        for seed in range(5):
            sample = one(dataset.sample(1), rng(seed))
            layer = sample["layers"][..., 0]
            panels.append(enlarged(overlay(shown(sample["image"]), layer, default_palette(256), ignore=0)))
        rows.append(beside(panels))
    return below(rows), "Five crops; below, five of `UntilObject`, whose crops show some of an object."


def cell_weights() -> Drawn:
    dataset = Shapes("val", length=4, size=SIZE)
    sample = made("CellWeights")(dataset.sample(0), rng())
    labels = overlay(sample["image"], sample["mask"], dataset.palette)
    panels = [labels, heat(sample["pixel_weight"])]
    high = float(sample["pixel_weight"].max())
    return beside([enlarged(one) for one in panels]), f"Labels, and the weights of pixels, dark 1 to bright {high:.1f}."


def coarse_mask() -> Drawn:
    dataset = Shapes("val", length=4, size=SIZE)
    transform = made("CoarseMask", least=0.7, most=0.9, components=True)
    drawn = [transform(dataset.sample(0), rng(seed)) for seed in (0, 3, 4)]
    panels = [below([enlarged(gray(one["mask"])), enlarged(gray(one["coarse"]))]) for one in drawn]
    return beside([enlarged(dataset.image(0)), *panels]), "Three draws: the chosen object above, its coarse mask below."


def cut_mix() -> Drawn:
    dataset = Shapes("val", length=4, size=SIZE, instances=False)
    transform, first, second = made("CutMix", p=1.0), dataset.sample(0), dataset.sample(1)
    drawn = [first, second, *(transform.mix(first, second, rng(seed)) for seed in (1, 4))]
    panels = [
        enlarged(np.concatenate([one["image"], overlay(one["image"], one["mask"], dataset.palette)])) for one in drawn
    ]
    return beside(panels), "Two images with their labels, and two mixtures of them."


def hard_then_soft() -> Drawn:
    dataset = Shapes("val", length=1, size=SIZE)
    hard = [dict(type="RandomScaleCrop", size=(96, 96)), dict(type="ColorJitter", p=1.0)]
    transform: HardThenSoft = made("HardThenSoft", hard=hard, soft=[dict(type="Flip")], share=0.9)
    panels = []
    for step in (0, 45, 89, 90, 99):
        sample, draws = dataset.sample(0), rng(step)
        for change in of_step([transform], step, 100):
            sample = change(sample, draws)
        panels.append(enlarged(shown(sample["image"])))
    return beside(panels), "Steps 0, 45, 89, 90 and 99 of 100: hard is a crop with other colors, soft is a flip."


def mark_unlabelled() -> Drawn:
    dataset = Shapes("val", length=1, size=SIZE, background=False)
    sample = dataset.sample(0)
    padded = made("Pad", size=(140, 200))(made("MarkUnlabelled")(sample, rng()), rng())
    labels = colorize(padded["mask"], dataset.palette)
    panels = [shown(padded["image"]), labels, gray(padded["unlabelled"])]
    return beside([enlarged(one) for one in panels]), (
        "Image, labels with what is ignored in gray, and the marked pixels; the padding came later and is not marked."
    )


def random_points() -> Drawn:
    dataset = ShapesInstances("val", length=1, size=SIZE, boxes_only=False)
    sample, draws = dataset.sample(0), rng()
    masks = np.asarray(sample["masks"])
    boxes = sample["boxes"]
    places = draws.uniform(boxes[:, None, :2] + 1, boxes[:, None, 2:] - 1, (len(boxes), 10, 2)).astype(np.float32)
    known = [mask[of[:, 1].astype(int), of[:, 0].astype(int)] for mask, of in zip(masks, places)]
    sample = Sample(**{**sample, "points": places, "point_labels": np.array(known, np.int8)})
    transform = made("RandomPoints", count=5)
    panels = []
    for one in (sample, *(transform(sample, rng(seed)) for seed in SEEDS)):
        colors = [POSITIVE if label else NEGATIVE for label in one["point_labels"].ravel()]
        panels.append(dotted(instance_panel(one, dataset, masks=False), one["points"].reshape(-1, 2), colors))
    return beside(panels), "Ten points of each box, green on the object and orange beside it; three draws of five."


def sample_clicks() -> Drawn:
    dataset = ShapesClicks("train", length=4, size=SIZE)
    transform = made("SampleClicks")
    panels = []
    for seed in (0, 1, 2, 3):
        sample = transform(dataset.sample(1), rng(seed))
        picture = draw_clicks(enlarged(shown(sample["image"])), enlarged(sample["mask"] > 0), clicks_at_scale(sample))
        panels.append(picture)
    return beside(panels), "Four draws on one image: the object in blue, positive clicks green, negative ones orange."


def clicks_at_scale(sample: Sample) -> np.ndarray:
    """The clicks of a sample on its picture of twice the size."""
    clicks = sample["clicks"].copy()
    clicks[:, :2] = np.where(clicks[:, :2] >= 0, 2 * clicks[:, :2] + 1, -1)
    return clicks


def focus_on_object() -> Drawn:
    dataset = ShapesClicks("train", length=4, size=SIZE)
    clicks = made("SampleClicks", merge=0.0)
    transform = made("FocusOnObject", size=SIZE[0], small=500, specks=50, boundary=0.5)
    panels = []
    for seed in (0, 1, 2):
        sample = transform(clicks(dataset.sample(1), rng(seed)), rng(seed))
        y0, x0, y1, x1 = sample["focus"]
        inside = (sample["mask"] > 0).astype(np.uint8)
        picture = enlarged(overlay(shown(sample["image"]), inside, ((0, 0, 0), CHOSEN), ignore=0))
        part = np.concatenate([shown(sample["focus_image"].transpose(1, 2, 0)), gray(sample["focus_mask"])], 1)
        panels.append(below([boxed(picture, np.array([[x0, y0, x1, y1]]), [(213, 94, 0)]), part]))
    return beside(
        panels
    ), "Three draws: a part around the object or its boundary; below, the part enlarged and its mask."


TRANSFORM_PICTURES: dict[str, Callable[[], Drawn]] = {
    "BoxMasks": box_masks,
    "BoxesOfMasks": boxes_of_masks,
    "CellWeights": cell_weights,
    "CoarseMask": coarse_mask,
    "CutMix": cut_mix,
    "FocusOnObject": focus_on_object,
    "HardThenSoft": hard_then_soft,
    "MarkUnlabelled": mark_unlabelled,
    "RandomPoints": random_points,
    "SampleClicks": sample_clicks,
    "UntilBox": until_box,
    "UntilObject": until_object,
}
"""Transforms whose samples are more than an image with labels."""

NO_TRANSFORM_PICTURE = {"KeepClean": "it copies the image and changes no pixel"}
"""Transforms without a picture, and why."""


# click schemes


def predicted(clicks: list[tuple[int, int, bool]], size: tuple[int, int]) -> np.ndarray:
    """Stands in for a network: what lies within 22 pixels of a positive click, and nearer to it than to others."""
    y, x = np.mgrid[: size[0], : size[1]]
    away = {True: np.full(size, np.inf), False: np.full(size, np.inf)}
    for row, column, is_positive in clicks:
        away[is_positive] = np.minimum(away[is_positive], np.hypot(y - row, x - column))
    return (away[True] < 22) & (away[True] <= away[False])


def click_rows(clicks: list[tuple[int, int, bool]]) -> np.ndarray:
    """Clicks (y, x, is positive) as draw_clicks takes them, on a picture of twice the size."""
    rows = []
    for wanted in (True, False):
        of_sign = [(2 * y + 1, 2 * x + 1, order) for order, (y, x, sign) in enumerate(clicks) if sign is wanted]
        rows.append(np.array(of_sign, np.float32))
    count = max(len(rows[0]), len(rows[1]), 1)
    filled = np.full((2, count, 3), -1, np.float32)
    for half, of_sign in zip(filled, rows):
        half[: len(of_sign)] = of_sign.reshape(-1, 3)
    return filled.reshape(-1, 3)


def click_panel(image: np.ndarray, mask: np.ndarray, clicks: list[tuple[int, int, bool]]) -> np.ndarray:
    return draw_clicks(enlarged(image), enlarged(mask), click_rows(clicks))


def click_schemes() -> Drawn:
    """The first five clicks of the evaluation and of the training, and clicks of two bands."""
    dataset = Shapes("val", length=4, size=SIZE)
    sample = dataset.sample(1)
    masks = np.asarray(sample["masks"])
    target = masks[masks.sum((1, 2)).argmax()].astype(np.int64)
    rows = []
    for name in ("evaluation", "training"):
        clicks: list[tuple[int, int, bool]] = []
        panels = [click_panel(sample["image"], target > 0, [])]
        draws, noise, free = np.random.RandomState(0), torch.Generator().manual_seed(1), np.ones(SIZE, bool)
        for _ in range(4):
            mask = predicted(clicks, SIZE)
            if name == "evaluation":
                y, x, sign = DeepestClicker()(mask, target, free, draws)
            else:
                tensors = torch.from_numpy(mask)[None, None].float(), torch.from_numpy(target)[None]
                y, x, sign = next_training_clicks(*tensors, noise)[0].tolist()
            clicks.append((int(y), int(x), bool(sign)))
            free[int(y), int(x)] = False
            panels.append(click_panel(sample["image"], predicted(clicks, SIZE), clicks))
        rows.append(beside(panels))
    bands = []
    for low, high in ((0.0, 0.1), (0.4, 0.5), (0.9, 1.0), (0.0, 1.0)):
        draws, free = np.random.RandomState(0), np.ones(SIZE, bool)
        clicker = DistanceClicker(low, high)
        found = [clicker(np.zeros(SIZE, bool), target, free, draws) for _ in range(40)]
        bands.append(click_panel(sample["image"], target > 0, [(int(y), int(x), True) for y, x, _ in found]))
    rows.append(beside(bands))
    return below(rows), (
        "Above: the object, and the first four clicks of an evaluation, each in the middle of the largest error. "
        "Middle: those of a training, drawn from the inner part of that error. What is predicted, in blue, is a "
        "stand-in for a network. Below: 40 first clicks each of `inference.clicks.band` (0, .1), (.4, .5), (.9, 1) "
        "and (0, 1)."
    )

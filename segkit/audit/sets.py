"""Judges all labels of a data set, and draws what was found."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.audit.findings import Finding, ImageScore
from segkit.audit.judges import Judge
from segkit.audit.label_maps import LabelMapAudit
from segkit.audit.objects import ObjectAudit, Objects
from segkit.audit.parts import grown
from segkit.data.dataset import Dataset
from segkit.data.instances.base import InstanceDataset
from segkit.registry import ConfigError
from segkit.types import Color, default_palette
from segkit.viz import draw
from segkit.viz.errors import encoded, fitted
from segkit.viz.page.records import Picture

SIDE = 220
"""Longer side of the crops, in pixels."""


class Audit(NamedTuple):
    """What an audit found.

    Attributes:
        findings: the strongest first.
        images: the worst first.
        usual: t_k of each class, float [K].
        judged: images with labels.
        draw: makes the pictures of some findings, a tuple for each.
    """

    findings: list[Finding]
    images: list[ImageScore]
    usual: np.ndarray
    judged: int
    draw: Callable[[Sequence[Finding]], list[tuple[Picture, ...]]]


def audit_set(
    dataset: Dataset, judge: Judge, *, least: int | None = None, tick: Callable[[int], object] = lambda count: None
) -> Audit:
    """Judges the labels of a data set.

    Args:
        dataset: label maps, or objects.
        judge: predicts its images.
        least: pixels of the smallest part of a label map that is judged; None for 0.05 % of each image.
        tick: called with the number of images done.

    Raises:
        ConfigError: the labels are of a kind that is not judged, or no image has any.
        DataError: a file cannot be read, or predictions do not fit.
    """
    if isinstance(dataset, InstanceDataset):
        return _audit_objects(dataset, judge, tick)
    return _audit_maps(dataset, judge, least, tick)


def _audit_maps(dataset: Dataset, judge: Judge, least: int | None, tick: Callable[[int], object]) -> Audit:
    audit = LabelMapAudit(tuple(map(str, dataset.classes)), dataset.ignore, least)
    indices, predicted = {}, {}
    rng = np.random.default_rng(0)
    for index in range(len(dataset)):
        sample = dataset.sample(index, rng)
        if "mask" in sample:
            if sample["mask"].ndim != 2 or sample["mask"].dtype.kind == "f":
                raise ConfigError(
                    f"{type(dataset).__name__}: its labels are no maps of classes ({sample['mask'].shape}); label maps "
                    "and objects are judged"
                )
            path = sample["meta"]["path"]
            values, seen = judge.maps(dataset, index, sample["image"])
            audit.add(path, sample["mask"], values, seen=seen)
            # a compressed map is some kB, so that pictures need no second prediction
            best = values.argmax(0).astype(np.uint8 if len(values) < 256 else np.uint16)
            indices[path], predicted[path] = index, (zlib.compress(best.tobytes(), 1), best.dtype, best.shape)
        tick(1)
    _need_labels(len(indices), dataset)

    def drawn(findings: Sequence[Finding]) -> list[tuple[Picture, ...]]:
        palette = tuple(dataset.palette) or default_palette(len(dataset.classes))
        made: dict[int, tuple[Picture, ...]] = {}
        for path, places in _by_image(findings).items():
            sample = dataset.sample(indices[path], rng)
            packed, dtype, shape = predicted[path]
            seen = np.frombuffer(zlib.decompress(packed), dtype).reshape(shape)
            image = draw.to_rgb(sample["image"])
            for place in places:
                box = _view(findings[place], image)
                crops = [array[box[1] : box[3], box[0] : box[2]] for array in (image, sample["mask"], seen)]
                shown = [
                    draw.overlay(crops[0], crop.astype(np.int64), palette, 0.55, dataset.ignore) for crop in crops[1:]
                ]
                made[place] = _pictures(findings[place], box, crops[0], *shown)
        return [made[place] for place in range(len(findings))]

    return Audit(audit.findings(), audit.image_scores(), audit.usual_confidence(), len(indices), drawn)


def _audit_objects(dataset: InstanceDataset, judge: Judge, tick: Callable[[int], object]) -> Audit:
    audit = ObjectAudit(tuple(map(str, dataset.classes)))
    known: dict[str, tuple[int, Objects, Objects]] = {}
    rng = np.random.default_rng(0)
    for index in range(len(dataset)):
        sample = dataset.sample(index, rng)
        masks = sample.get("masks")
        labelled = Objects(
            np.asarray(sample["boxes"], np.float64),
            np.asarray(sample["labels"]),
            masks if isinstance(masks, list) else None,
            np.ones(len(sample["labels"])),
            np.asarray(sample["crowd"], bool),
        )
        found, seen = judge.objects(dataset, index, sample["image"])
        path = sample["meta"]["path"]
        audit.add(path, sample["meta"]["size"], labelled, found, seen=seen)
        known[path] = index, labelled, found
        tick(1)
    _need_labels(len(known), dataset)

    def drawn(findings: Sequence[Finding]) -> list[tuple[Picture, ...]]:
        made: dict[int, tuple[Picture, ...]] = {}
        for path, places in _by_image(findings).items():
            index, *sides = known[path]
            image = draw.to_rgb(dataset.image(index))
            for place in places:
                box = _view(findings[place], image)
                crop = image[box[1] : box[3], box[0] : box[2]]
                shown = [_with_objects(crop, side, box, tuple(dataset.palette)) for side in sides]
                made[place] = _pictures(findings[place], box, crop, *shown)
        return [made[place] for place in range(len(findings))]

    return Audit(audit.findings(), audit.image_scores(), audit.usual_confidence(), len(known), drawn)


def _need_labels(count: int, dataset: Dataset) -> None:
    if not count:
        raise ConfigError(f"{type(dataset).__name__}: none of its {len(dataset)} images has labels to audit")


def _by_image(findings: Sequence[Finding]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, finding in enumerate(findings):
        places.setdefault(finding.image, []).append(place)
    return places


def _view(finding: Finding, image: np.ndarray) -> tuple[int, int, int, int]:
    """The part of an image that is shown: the box and what is around it."""
    side = max(finding.box[2] - finding.box[0], finding.box[3] - finding.box[1])
    return grown(finding.box, max(24, side // 2), (image.shape[0], image.shape[1]))


LEAST_SHOWN = 0.3
"""Score of the found objects that are drawn."""


def _with_objects(
    crop: np.ndarray, objects: Objects, box: tuple[int, int, int, int], palette: Sequence[Color]
) -> np.ndarray:
    kept = np.flatnonzero(np.asarray(objects.scores) >= LEAST_SHOWN)
    x0, y0, x1, y1 = box
    picture = crop.copy()
    for index in kept.tolist():
        color = tuple(int(value) for value in palette[int(objects.labels[index])])
        if objects.masks is not None:
            mask = draw.decoded(objects.masks[index])[y0:y1, x0:x1]
            picture[mask] = (picture[mask] // 2 + np.array(color, np.uint8) // 2).astype(np.uint8)
        left, top, right, bottom = (objects.boxes[index] - [x0, y0, x0, y0]).round().astype(int).tolist()
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), color, 1)
    return picture


def _pictures(
    finding: Finding, view: tuple[int, int, int, int], image: np.ndarray, labels: np.ndarray, seen: np.ndarray
) -> tuple[Picture, ...]:
    """Crops of image, label and prediction, each with the box of the finding."""
    made = []
    for title, picture in (("image", image), ("label", labels), ("prediction", seen)):
        scale = SIDE / max(picture.shape[:2])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        picture = np.ascontiguousarray(cv2.resize(picture, size, interpolation=method))
        x0, y0, x1, y1 = (
            round((value - start) * scale) for value, start in zip(finding.box, (view[0], view[1], view[0], view[1]))
        )
        # white on black is seen on any color
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), 3)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), 1)
        made.append(Picture(title, encoded(fitted(picture, SIDE)), picture.shape[1], picture.shape[0]))
    return tuple(made)


def common_folder(dataset: Dataset) -> Path:
    """Returns the folder that all images of a data set lie below."""
    import os

    folders = {os.path.dirname(os.path.abspath(dataset.path(index))) for index in range(len(dataset))}
    return Path(os.path.commonpath(list(folders)))

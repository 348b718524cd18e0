"""Converts the instance masks of Pascal VOC 2012 and SBD to annotation files in COCO's format for VOCInstances."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.files.coco_json import read_coco, row_of
from segkit.data.files.masks import read_mask, values_of
from segkit.data.files.pairs import choose_split, some
from segkit.data.interactive.voc import VOID, read_instances
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.data.semantic.voc import CLASSES, augmented_names, read_sbd, split_list, stems
from segkit.files import DataError, write_whole

NUM_CLASSES = len(CLASSES)


class _Files(NamedTuple):
    """Label files by the name of the image: palette images of VOC, .mat files of SBD."""

    objects: dict[str, str]
    classes: dict[str, str]
    sbd_objects: dict[str, str]
    sbd_classes: dict[str, str]

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads objects and classes, [H,W] each; VOC's masks are preferred to SBD's, whose outlines are coarser."""
        if name in self.objects and name in self.classes:
            return read_mask(self.objects[name]), read_mask(self.classes[name])
        return read_instances(self.sbd_objects[name]), read_sbd(self.sbd_classes[name])

    def has(self, name: str) -> bool:
        """Whether the image has masks of objects and of classes."""
        is_voc = name in self.objects and name in self.classes
        return is_voc or (name in self.sbd_objects and name in self.sbd_classes)


def objects_of(objects: np.ndarray, classes: np.ndarray, source: str) -> list[dict]:
    """Makes an annotation, without ids, for each object of an image.

    Args:
        objects: [H,W] of 0, 1..n and 255 (void).
        classes: [H,W] of 0, 1..20 and 255.
        source: the image, for error messages.

    Returns:
        For each object its most frequent class, tight bbox, area in pixels and run-length code.

    Raises:
        DataError: the masks have different sizes, or an object has no class.
    """
    if objects.shape != classes.shape:
        raise DataError(f"{source}: objects of {objects.shape} pixels, classes of {classes.shape}; unpack them again")
    found = []
    for value in values_of(objects):
        if value == VOID:
            continue
        mask = objects == value
        counts = np.bincount(classes[mask].astype(np.int64), minlength=NUM_CLASSES)[1:NUM_CLASSES]
        if not counts.any():
            raise DataError(f"{source}: object {value} lies where the class mask has none of the 20 classes")
        found.append(dict(row_of(mask), category_id=int(counts.argmax()) + 1, iscrowd=0))
    return found


def image_id(name: str) -> int | str:
    """Turns a name such as 2007_000032 into the number 2007000032; a name that is no number stays."""
    digits = name.replace("_", "")
    return int(digits) if digits.isdecimal() else name


def _describe(name: str, files: _Files) -> dict:
    objects, classes = files.read(name)
    height, width = objects.shape
    return dict(height=height, width=width, objects=objects_of(objects, classes, name))


def prepare_voc_instances(root: Path, *, split: str, processes: int = 1, sbd: Path | None = None) -> Path:
    """Makes annotations/voc_2012_<split>.json. A finished file is left unchanged.

    Args:
        root: folder VOCdevkit/VOC2012.
        split: "train" or "val". With sbd, "train" is the 10,582 images of VOC and SBD without val, otherwise VOC's own
            train.
        processes: how many processes work at once.
        sbd: folder benchmark_RELEASE/dataset.

    Returns:
        The path of the file.

    Raises:
        DataError: masks are missing or wrong, or the finished file was made of other images.
    """
    choose_split(split, ("train", "val"), "voc_instances")
    path = root / "annotations" / f"voc_2012_{split}.json"
    names = augmented_names(root, sbd) if split == "train" and sbd is not None else split_list(root, split)
    if path.is_file():
        made = {Path(image["file_name"]).stem for image in read_coco(path).images}
        if made != set(names):
            raise DataError(
                f"{path}: made of other images ({len(made)}) than the split has now ({len(names)}); delete it to make "
                "it anew"
            )
        return path
    sources = [] if sbd is None else [stems(sbd / "inst", ".mat"), stems(sbd / "cls", ".mat")]
    voc = [stems(root / folder, ".png") for folder in ("SegmentationObject", "SegmentationClass")]
    files = _Files(*voc, *(sources or [{}, {}]))
    missing = [name for name in names if not files.has(name)]
    if missing:
        raise DataError(
            f"{root}: {len(missing)} of {len(names)} images have no masks of objects and classes: {some(missing)}; VOC "
            "expects SegmentationObject and SegmentationClass below root, SBD inst and cls below --sbd"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path.with_suffix(".part"), dict(set="voc_instances", split=split, sbd=sbd is not None))
    is_finished = False
    try:
        label = f"voc_instances {split}"
        found = run_jobs(names, partial(_describe, files=files), journal, processes=processes, label=label)
        write_whole(path, json.dumps(as_coco(found)).encode())
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return path


def as_coco(found: dict[str, dict]) -> dict:
    """Makes the content of a COCO file with the 20 classes in VOC's order.

    Args:
        found: height, width and objects of each image by its name.
    """
    images: list[dict] = []
    annotations: list[dict] = []
    for name, record in found.items():
        number = image_id(name)
        images.append(dict(id=number, file_name=f"{name}.jpg", height=record["height"], width=record["width"]))
        for entry in record["objects"]:
            annotations.append(dict(entry, id=len(annotations) + 1, image_id=number))
    categories = [dict(id=label, name=name) for label, name in enumerate(CLASSES) if label > 0]
    return dict(
        info=dict(description="Pascal VOC 2012 and SBD"), images=images, categories=categories, annotations=annotations
    )

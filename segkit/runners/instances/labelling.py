"""Masks for a COCO file of boxes, drawn by a promptable network: segkit label. n objects of an image, H W image."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segkit.data.files.coco_json import CocoFile, bbox_of, image_size, is_crowd, read_coco, row_of
from segkit.data.files.images import read_image
from segkit.data.files.named import find_named
from segkit.data.instances.coco import file_name
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.files import DataError, parse_json, read_bytes, write_whole
from segkit.ops.instances.prompted_masks import MaskFilter, largest, mask_numbers
from segkit.runners.instances.box_prompted import Drawn


class Draws(Protocol):
    """What draws masks in boxes; BoxPrompted does."""

    def draw(self, image: np.ndarray, boxes: np.ndarray) -> Iterator[Drawn]:
        """Yields the masks of boxes, float [n,4] x0, y0, x1, y1, of an image uint8 [H,W,3]."""
        ...


@dataclass(frozen=True)
class Labelling:
    """How the masks of a file are drawn.

    Attributes:
        boxes: COCO JSON file.
        images: folder of the images.
        out: COCO JSON file that is written.
        model: name of the network, for the journal and the file's info.
        least: what must hold of a mask.
        only_largest: whether masks are cut to their largest connected component.
        outside: whether file names may lead out of the folder.
    """

    boxes: Path
    images: Path
    out: Path
    model: str
    least: MaskFilter
    only_largest: bool = False
    outside: bool = False


def label(task: Labelling, network: Draws) -> Counter[str]:
    """Draws the masks of all objects without an outline and writes the file.

    No object is left out: one whose mask the filter stops keeps its box, without an outline and of mask_quality 0;
    crowds and objects that have an outline stay as they are. A run that was stopped goes on where it was, from
    OUT.journal.

    Args:
        task: what is drawn.
        network: draws.

    Returns:
        Numbers of objects: "drawn", "stopped" by the filter, "kept" as they were.

    Raises:
        DataError: a file is missing or wrong, or the journal was begun with other options.
    """
    content = parse_json(read_bytes(task.boxes), task.boxes)
    coco = read_coco(task.boxes)
    entries = {str(image["id"]): image for image in coco.images}
    names = [file_name(image) for image in coco.images]
    files = dict(zip(entries, find_named(task.images, names, coco.path, outside=task.outside), strict=True))
    about = dict(
        boxes=hashlib.sha256(read_bytes(task.boxes)).hexdigest()[:16],
        model=task.model,
        only_largest=task.only_largest,
        **asdict(task.least),
    )
    journal = Journal(task.out.with_name(f"{task.out.name}.journal"), about)
    is_finished = False
    try:

        def work(name: str) -> dict[str, Any]:
            return drawn(coco, entries[name], task.images / files[name], task, network)

        results = run_jobs(list(entries), work, journal, processes=1, label="label")
        counts = Counter({"drawn": 0, "stopped": 0, "kept": 0})
        for rows in coco.annotations.values():
            for entry in rows:
                new = results[str(entry["image_id"])].get(str(entry["id"]))
                counts["kept" if new is None else "drawn" if new["mask_quality"] else "stopped"] += 1
                entry |= new or {}
        annotations = [entry for image in coco.images for entry in coco.annotations[image["id"]]]
        write_whole(task.out, json.dumps({**content, "annotations": annotations}))
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return counts


def drawn(coco: CocoFile, image: dict, path: Path, task: Labelling, network: Draws) -> dict[str, Any]:
    """Draws the objects of one image.

    Args:
        coco: the file.
        image: entry of the image.
        path: file of the image.
        task, network: see label.

    Returns:
        What the annotation of each id gets: mask_quality, mask_numbers and, of masks that the filter lets pass,
        segmentation and area.

    Raises:
        DataError: the image cannot be read, has not 8 bits a channel or another size than the file says, or a box is
            wrong.
    """
    rows = [entry for entry in coco.annotations[image["id"]] if needs_mask(entry, coco.path)]
    if not rows:
        return {}
    pixels = read_image(path)
    size = image_size(image, coco.path)
    if pixels.shape[:2] != size:
        raise DataError(
            f"{path}: is {pixels.shape[0]} x {pixels.shape[1]} pixels, and {coco.path} says {size[0]} x {size[1]} "
            "(height x width); boxes of another size would be drawn at wrong places"
        )
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: holds {pixels.dtype} and not 8 bits a channel, which the network reads; convert it")
    corners = np.array([bbox_of(entry, f"{coco.path}, annotation {entry['id']}") for entry in rows], np.float64)
    corners[:, 2:] += corners[:, :2]
    usable = np.clip(corners, 0, np.array(size[::-1] * 2, np.float64))
    kept = np.flatnonzero((usable[:, 2:] - usable[:, :2]).min(axis=1) > 0)
    found: dict[str, Any] = {str(entry["id"]): dict(mask_quality=0.0) for entry in rows}
    ids = [str(rows[k]["id"]) for k in kept]
    if ids:
        boxes = usable[kept]
        start = 0
        for batch in network.draw(pixels, boxes.astype(np.float32)):
            stop = start + len(batch.logits)
            _add(found, ids[start:stop], batch, boxes[start:stop], task)
            start = stop
    return found


def _add(found: dict[str, Any], ids: list[str], batch: Drawn, boxes: np.ndarray, task: Labelling) -> None:
    """Writes down what the annotations of a batch of masks get."""
    import torch

    numbers = mask_numbers(batch.logits, batch.ious, torch.from_numpy(boxes))
    for name, mask, of_mask in zip(ids, (batch.logits > 0).cpu().numpy(), numbers, strict=True):
        quality = of_mask.quality(task.least)
        found[name] = dict(
            mask_quality=round(quality, 4), mask_numbers={key: round(value, 4) for key, value in vars(of_mask).items()}
        )
        if found[name]["mask_quality"] > 0:
            row = row_of(largest(mask) if task.only_largest else mask)
            found[name] |= dict(segmentation=row["segmentation"], area=row["area"])


def needs_mask(entry: dict, path: str) -> bool:
    """Returns whether an annotation is an object without an outline.

    Args:
        entry: of "annotations".
        path: its file, for errors.
    """
    return not entry.get("segmentation") and not is_crowd(entry, f"{path}, annotation {entry['id']}")

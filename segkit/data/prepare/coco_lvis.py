"""Converts COCO's things and stuff and LVIS v1's objects to the COCO+LVIS format that COCOLVISClicks reads.

Sofiiuk, Petrov, Konushin, ICIP 2022, https://arxiv.org/abs/2102.06583, section 5.1, with the numbers of the published
code: the overlap of equal masks is .80 in the paper, .70 in the code.
"""

import json
import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.files.flat_index import FlatIndex, cached_index
from segkit.data.files.lvis import lvis_file
from segkit.data.files.panoptic import read_ids, read_panoptic
from segkit.data.interactive import lvis as lvis_reader
from segkit.data.interactive.packing import MaskBox, box_iou_1d, hierarchy, masks_overlap, pack_masks
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.files import DataError, brief, inside, write_whole

MIN_AREA, MIN_STUFF_AREA = 80, 500
"""Pixels: instances have at least the first, stuff more than the second."""

SAME_BOX, SAME_LVIS_MASK = 0.70, 0.85
"""Limits above which two boxes, and two masks of LVIS, belong to one object."""


class Sources(NamedTuple):
    """The annotations of a split, and where its result goes.

    Args:
        lvis: index of LVIS' polygons.
        panoptic: index of COCO's panoptic annotations.
        rows: for each image name, its record in both indices.
        labels: folder of the panoptic PNGs.
        photographs: folder of COCO's images.
        out: folder of the split in the result.
        overlap: IoU of pixels above which a COCO mask is left out in favor of an LVIS mask.
    """

    lvis: FlatIndex
    panoptic: FlatIndex
    rows: dict[str, tuple[int, int]]
    labels: Path
    photographs: Path
    out: Path
    overlap: float


def panoptic_records(path: Path) -> Iterator[bytes]:
    """Yields a JSON record per image: [name of the PNG, ids of things (crowds too), ids of stuff]."""
    content = read_panoptic(path)
    is_thing = content.is_thing
    try:
        for entry in content.annotations:
            segments = entry["segments_info"]
            things = [segment["id"] for segment in segments if is_thing[segment["category_id"]]]
            stuff = [segment["id"] for segment in segments if not is_thing[segment["category_id"]]]
            yield json.dumps([inside(path.with_suffix(""), entry["file_name"], path), things, stuff]).encode()
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no panoptic annotations ({brief(error)})") from error


def open_sources(coco: Path, lvis: Path, out: Path, *, split: str, overlap: float) -> Sources:
    """Opens the annotations and finds the images that both LVIS' split and COCO's <split>2017 hold.

    Args:
        coco: folder of COCO.
        lvis: folder of LVIS.
        out: folder of the result.
        split: "train" or "val".
        overlap: see Sources.

    Raises:
        DataError: a file is missing or wrong, or the two have no image in common.
    """
    lvis_path = lvis_file(lvis, split)
    panoptic_path = coco / "annotations" / f"panoptic_{split}2017.json"
    lvis_index = cached_index([lvis_path], "lvis polygons", partial(lvis_reader.records, lvis_path))
    panoptic = cached_index([panoptic_path], "panoptic with crowds", partial(panoptic_records, panoptic_path))
    by_name = {json.loads(record.partition(b"\n")[0])[0]: row for row, record in enumerate(lvis_index)}
    names = [Path(json.loads(record)[0]).stem for record in panoptic]
    rows = {name: (by_name[name], row) for row, name in enumerate(names) if name in by_name}
    if not rows:
        raise DataError(f"{lvis_path} and {panoptic_path} have no image in common; are they of one split?")
    return Sources(
        lvis=lvis_index,
        panoptic=panoptic,
        rows=rows,
        labels=panoptic_path.with_suffix(""),
        photographs=coco / f"{split}2017",
        out=out / split,
        overlap=overlap,
    )


def box_of(mask: np.ndarray) -> MaskBox:
    """First and last row, first and last column of a mask, bool [H,W] with a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


class _BoxedMask(NamedTuple):
    """A mask, bool [H,W], with the box around it."""

    mask: np.ndarray
    box: MaskBox

    def is_same(self, other: "_BoxedMask", mask_iou: float) -> bool:
        """Whether both describe one object."""
        if box_iou_1d(self.box, other.box) <= SAME_BOX:  # most pairs end here
            return False
        return masks_overlap(self.mask, other.mask, box_iou=SAME_BOX, mask_iou=mask_iou)


def merged(coco: Sequence[np.ndarray], lvis: Sequence[np.ndarray], overlap: float) -> list[np.ndarray]:
    """Merges the masks of both data sets so that each object comes once.

    Args:
        coco: bool [H,W] each.
        lvis: bool [H,W] each.
        overlap: IoU of pixels above which a mask of COCO and one of LVIS belong to one object.

    Returns:
        The masks of COCO that LVIS does not have, then those of LVIS that equal no later mask of LVIS.
    """
    coco_masks = [_BoxedMask(mask, box_of(mask)) for mask in coco]
    lvis_masks = [_BoxedMask(mask, box_of(mask)) for mask in lvis]
    masks = [item.mask for item in coco_masks if not any(item.is_same(other, overlap) for other in lvis_masks)]
    for number, item in enumerate(lvis_masks, 1):
        if not any(item.is_same(other, SAME_LVIS_MASK) for other in lvis_masks[number:]):
            masks.append(item.mask)
    return masks


def convert_image(name: str, sources: Sources) -> list | None:
    """Writes masks/<name>.pickle and a link to the photograph.

    Returns:
        [number of instances, [node of the hierarchy or None for each]], or None for an image without objects.

    Raises:
        DataError: COCO and LVIS give the image different sizes.
    """
    lvis_row, panoptic_row = sources.rows[name]
    head, _, rows = sources.lvis[lvis_row].partition(b"\n")
    _, *size = json.loads(head)
    picture, things, stuff = json.loads(sources.panoptic[panoptic_row])
    ids = read_ids(sources.labels / picture)
    if ids.shape != tuple(size):
        raise DataError(
            f"{sources.labels / picture}: {ids.shape[1]}x{ids.shape[0]} pixels; LVIS says {size[1]}x{size[0]}"
        )
    lvis = [lvis_reader.filled(segmentation, tuple(size)) for _, segmentation in json.loads(rows)]
    coco = [ids == number for number in things]
    masks = merged(
        [mask for mask in coco if np.count_nonzero(mask) >= MIN_AREA],
        [mask for mask in lvis if np.count_nonzero(mask) >= MIN_AREA],
        sources.overlap,
    )
    if not masks:
        return None
    nodes, count = hierarchy(masks), len(masks)
    free = ~np.any(masks, axis=0)
    regions = [(ids == number) & free for number in stuff]
    masks += [region for region in regions if np.count_nonzero(region) > MIN_STUFF_AREA]
    layers, slots = pack_masks(masks)
    pictures = [cv2.imencode(".png", layer)[1] for layer in layers]
    write_whole(sources.out / "masks" / f"{name}.pickle", pickle.dumps((pictures, slots), protocol=4))
    _link(sources.photographs / f"{name}.jpg", sources.out / "images" / f"{name}.jpg")
    return [count, [nodes[number] for number in range(count)]]


def _link(photograph: Path, link: Path) -> None:
    """Links to COCO's photograph, or copies it, where the result has none of its own."""
    if link.exists() or not photograph.is_file():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    try:
        link.symlink_to(os.path.relpath(photograph, link.parent))
    except OSError:  # Windows without the right to make links, or a file system that has none
        shutil.copyfile(photograph, link)


def prepare(coco: Path, lvis: Path, out: Path, *, split: str, overlap: float = 0.70, processes: int = 1) -> Path:
    """Makes <out>/<split>/hannotation.pickle and masks/. A finished file is left unchanged.

    Args:
        coco: folder with annotations/panoptic_<split>2017.json and its PNGs.
        lvis: folder with <split>/lvis_<split>.json.
        out: folder of the result.
        split: "train" or "val".
        overlap: IoU of pixels above which a COCO mask is left out in favor of an LVIS mask, in (0, 1].
        processes: how many processes work at once.

    Returns:
        The path of hannotation.pickle.

    Raises:
        DataError: overlap is out of range, a file is missing or wrong, or an interrupted run had other options.
    """
    if not 0 < overlap <= 1:
        raise DataError(f"overlap = {overlap}: must be an IoU in (0, 1]; the published code has .70, the paper .80")
    path = out / split / "hannotation.pickle"
    if path.is_file():
        return path
    sources = open_sources(coco, lvis, out, split=split, overlap=overlap)
    journal = Journal(path.with_suffix(".part"), dict(set="coco_lvis", split=split, overlap=overlap))
    for name in [name for name, entry in journal.done.items() if entry is not None]:
        if not (path.parent / "masks" / f"{name}.pickle").is_file():
            del journal.done[name]
    is_finished = False
    try:
        work = partial(convert_image, sources=sources)
        results = run_jobs(list(sources.rows), work, journal, processes=processes, label=f"coco_lvis {split}")
        entries = {name: _entry(result) for name, result in results.items() if result is not None}
        write_whole(path, pickle.dumps(entries, protocol=4))
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return path


def _entry(result: list) -> dict:
    count, nodes = result
    return {"num_instance_masks": count, "hierarchy": dict(enumerate(nodes))}

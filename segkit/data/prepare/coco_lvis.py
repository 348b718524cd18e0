"""COCO things and stuff and LVIS v1 objects -> the COCO+LVIS format that COCOLVISClicks reads.

Sofiiuk, Petrov, Konushin, ICIP 2022, https://arxiv.org/abs/2102.06583, section 5.1, by the numbers of the published
code: the paper's overlap for equal masks is .80, the code's .70.
"""

import json
import os
import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.files.flat_index import FlatIndex, cached_index
from segkit.data.interactive import lvis
from segkit.data.interactive.packing import box_iou_1d, hierarchy, masks_overlap, pack_masks
from segkit.data.interactive.panoptic import read_ids, read_panoptic
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.files import DataError, write_whole

MIN_AREA, MIN_STUFF_AREA = 80, 500
"""Pixels: instances have at least the first, stuff more than the second."""

SAME_BOX, SAME_LVIS_MASK = 0.70, 0.85
"""Above them two boxes, and two masks of LVIS, are of one object."""


class Sources(NamedTuple):
    """Where the annotations of a split lie. lvis, panoptic: indices; rows: image name -> its places in both; labels:
    the folder of panoptic PNGs; photographs: of COCO; out: the folder of the split in the result."""

    lvis: FlatIndex
    panoptic: FlatIndex
    rows: dict[str, tuple[int, int]]
    labels: Path
    photographs: Path
    out: Path
    overlap: float


def panoptic_records(path: Path) -> Iterator[bytes]:
    """-> per image [name of the PNG, ids of things (crowds too), ids of stuff] as JSON."""
    entries, things = read_panoptic(path)
    for entry in entries:
        segments = entry["segments_info"]
        own = [one["id"] for one in segments if things[one["category_id"]]]
        stuff = [one["id"] for one in segments if not things[one["category_id"]]]
        yield json.dumps([entry["file_name"], own, stuff]).encode()


def open_sources(coco: Path, lvis: Path, out: Path, *, split: str, overlap: float) -> Sources:
    """split: "train" or "val" -> the images that both LVIS's split and COCO's <split>2017 hold."""
    lvis_path = lvis.lvis_file(lvis, split)
    panoptic_path = coco / "annotations" / f"panoptic_{split}2017.json"
    lvis_index = cached_index([lvis_path], "lvis polygons", partial(lvis.records, lvis_path))
    panoptic = cached_index([panoptic_path], "panoptic with crowds", partial(panoptic_records, panoptic_path))
    by_name = {json.loads(record.partition(b"\n")[0])[0]: row for row, record in enumerate(lvis_index)}
    names = [Path(json.loads(record)[0]).stem for record in panoptic]
    rows = {name: (by_name[name], row) for row, name in enumerate(names) if name in by_name}
    if not rows:
        raise DataError(f"{lvis_path} and {panoptic_path} have no image in common; are they of one split?")
    return Sources(
        lvis_index, panoptic, rows, panoptic_path.with_suffix(""), coco / f"{split}2017", out / split, overlap
    )


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """mask: bool [H,W] with a pixel -> first and last row, first and last column."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def merged(coco: Sequence[np.ndarray], lvis: Sequence[np.ndarray], overlap: float) -> list[np.ndarray]:
    """coco, lvis: bool [H,W] each -> the masks of COCO that LVIS does not have, then those of LVIS of which no later
    one is the same."""
    coco_boxes, boxes = [box_of(mask) for mask in coco], [box_of(mask) for mask in lvis]

    def is_same(first: tuple, second: tuple, limit: float) -> bool:
        if box_iou_1d(first[1], second[1]) <= SAME_BOX:  # most pairs end here
            return False
        return masks_overlap(first[0], second[0], box_iou=SAME_BOX, mask_iou=limit)

    pairs = list(zip(lvis, boxes))
    masks = [one[0] for one in zip(coco, coco_boxes) if not any(is_same(one, other, overlap) for other in pairs)]
    for place, one in enumerate(pairs):
        if not any(is_same(one, other, SAME_LVIS_MASK) for other in pairs[place + 1 :]):
            masks.append(one[0])
    return masks


def convert_image(name: str, sources: Sources) -> list | None:
    """Writes masks/<name>.pickle -> [number of instances, node or None of each], None for an image without objects."""
    lvis_row, panoptic_row = sources.rows[name]
    head, _, rows = sources.lvis[lvis_row].partition(b"\n")
    _, *size = json.loads(head)
    picture, things, stuff = json.loads(sources.panoptic[panoptic_row])
    ids = read_ids(sources.labels / picture)
    if ids.shape != tuple(size):
        raise DataError(
            f"{sources.labels / picture}: {ids.shape[1]}x{ids.shape[0]} pixels; LVIS says {size[1]}x{size[0]}"
        )
    lvis = [lvis.filled(segmentation, tuple(size)) for _, segmentation in json.loads(rows)]
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
    layers, places = pack_masks(masks)
    pictures = [cv2.imencode(".png", layer)[1] for layer in layers]
    write_whole(sources.out / "masks" / f"{name}.pickle", pickle.dumps((pictures, places), protocol=4))
    _link(sources.photographs / f"{name}.jpg", sources.out / "images" / f"{name}.jpg")
    return [count, [nodes[number] for number in range(count)]]


def _link(photograph: Path, place: Path) -> None:
    """A link to COCO's photograph where the result has none of its own."""
    if place.exists() or not photograph.is_file():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    place.symlink_to(os.path.relpath(photograph, place.parent))


def prepare(coco: Path, lvis: Path, out: Path, *, split: str, overlap: float = 0.70, processes: int = 1) -> Path:
    """Makes <out>/<split>/hannotation.pickle and masks/ -> the former's path; a finished one is left as it is.

    coco: annotations/panoptic_<split>2017.json with its PNGs; lvis: <split>/lvis_<split>.json. overlap: IoU of pixels
    from which a COCO mask is left out in favour of an LVIS mask.
    """
    if not 0 < overlap <= 1:
        raise DataError(f"overlap = {overlap}: an IoU in (0, 1]; .70 is the published code's, .80 the paper's")
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
        found = run_jobs(list(sources.rows), work, journal, processes=processes, label=f"coco_lvis {split}")
        entries = {name: _entry(entry) for name, entry in found.items() if entry is not None}
        write_whole(path, pickle.dumps(entries, protocol=4))
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return path


def _entry(result: list) -> dict:
    count, nodes = result
    return {"num_instance_masks": count, "hierarchy": dict(enumerate(nodes))}

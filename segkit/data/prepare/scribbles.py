"""Label maps of few labelled pixels: scribbles of XML files; scribbles, points and blocks made of full label maps.

Lin et al., ScribbleSup, CVPR 2016, https://arxiv.org/abs/1604.05144. H W image.
"""

import multiprocessing
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.pairs import some
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.data.prepare.shards import png
from segkit.data.semantic.partial_labels import label_file
from segkit.files import DataError, brief, write_whole
from segkit.readers.xml_file import read_xml
from segkit.types import IGNORE

WIDTH = 3
"""Width of lines, and side of dots, in pixels, as in published label maps of scribbles."""

CANDIDATES = 8
"""Ends that are drawn for a scribble, of which the one with the longest way inside of the class is taken."""

LEAST_PIXELS = 9
"""Connected pixels of a class below which it gets no mark."""

BLOCK = 32
"""Side of a block in pixels."""


@dataclass(frozen=True)
class Rule:
    """How label maps with few labels are made of full ones.

    Attributes:
        kind: "scribbles", "points" or "blocks".
        count: scribbles or points of each class and image.
        share: of the image's area that blocks cover.
        seed: of the random choices.
    """

    kind: str = "scribbles"
    count: int = 5
    share: float = 0.1
    seed: int = 0


def read_scribbles(path: Path, classes: Sequence[str]) -> list[tuple[int, np.ndarray]]:
    """Reads the polylines of an XML file, as ScribbleSup publishes them.

    Each element that has points (children <point> with <X> and <Y>) is a polyline; its class is the text of its <tag>.
    Names of elements may be written in any case.

    Args:
        path: the file.
        classes: names of the classes.

    Returns:
        The class and the points, float64 [n,2] x, y in pixels of the image, of each polyline.

    Raises:
        DataError: it is no XML, a class is not known, or a point has no numbers.
    """
    lines = []
    for element in read_xml(path).iter():
        points = _children(element, "point")
        if not points:
            continue
        tags = _children(element, "tag")
        name = (tags[0].text or "").strip() if tags else ""
        if name not in classes:
            raise DataError(f"{path}: a scribble of class {brief(name)}, which is none of {some(classes, 8)}")
        lines.append((classes.index(name), np.array([_point(point, path) for point in points], np.float64)))
    return lines


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if child.tag.lower() == name]


def _point(element: Element, path: Path) -> tuple[float, float]:
    try:
        x, y = (float(_children(element, axis)[0].text or "") for axis in ("x", "y"))
    except (IndexError, ValueError) as error:
        raise DataError(f"{path}: a point without the numbers <X> and <Y>; export the scribbles again") from error
    if not (abs(x) < 1e6 and abs(y) < 1e6):
        raise DataError(f"{path}: a point at {x}, {y}, outside of any image; export the scribbles again")
    return x, y


def draw_scribbles(lines: Sequence[tuple[int, np.ndarray]], size: tuple[int, int]) -> np.ndarray:
    """Draws polylines of width 3, and dots where there is one point; later ones lie above earlier ones.

    Args:
        lines: class and points float [n,2] x, y of each.
        size: (H, W).

    Returns:
        uint8 [H,W] of classes, 255 elsewhere.
    """
    canvas = np.full(size, IGNORE, np.uint8)
    for value, points in lines:
        canvas[_line(np.round(points).astype(np.int32), size)] = value
    return canvas


def _line(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A line of width 3 through pixels int32 [n,2] x, y, or a square of 3 pixels around a single one: bool [H,W]."""
    thin = np.zeros(size, np.uint8)
    if len(places) == 1:  # of which polylines draws nothing
        cv2.circle(thin, (int(places[0, 0]), int(places[0, 1])), 0, 1, -1)
    else:
        cv2.polylines(thin, [places.reshape(-1, 1, 2)], False, 1)
    return cv2.dilate(thin, np.ones((WIDTH, WIDTH), np.uint8)) > 0


def few_labels(labels: np.ndarray, rule: Rule, rng: np.random.Generator, ignore: int = IGNORE) -> np.ndarray:
    """Makes a label map with few labels of a full one.

    Every label is that of the full map. Scribbles and points: `count` for each class of the image, in its connected
    parts of 9 pixels or more, the largest part first, and again from the largest where there are fewer parts. A point
    is a square of 3 pixels at a random pixel of its part. A scribble is a line of width 3 from a random pixel towards
    the one of eight others whose way stays inside longest, and ends where the way leaves the part. Blocks: random
    squares of 32 pixels of a grid, as many as cover the share of the area.

    Args:
        labels: [H,W] of class indices.
        rule: what is made.
        rng: draws everything.
        ignore: label of pixels without a class.

    Returns:
        uint8 [H,W] of classes, 255 elsewhere.
    """
    if rule.kind == "blocks":
        chosen = _blocks(labels.shape, rule.share, rng)
    else:
        chosen = np.zeros(labels.shape, bool)
        for value in np.unique(labels[labels != ignore]):
            chosen |= _marks(labels == value, rule, rng)
    return np.where(chosen & (labels != ignore), labels, IGNORE).astype(np.uint8)


def _blocks(size: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    """Random blocks, bool [H,W]."""
    rows, columns = (-(-side // BLOCK) for side in size)
    number = rows * columns
    grid = np.zeros(number, bool)
    grid[rng.choice(number, min(max(round(share * number), 1), number), replace=False)] = True
    return grid.reshape(rows, columns).repeat(BLOCK, 0).repeat(BLOCK, 1)[: size[0], : size[1]]


def _marks(is_class: np.ndarray, rule: Rule, rng: np.random.Generator) -> np.ndarray:
    """The scribbles or points of one class, bool [H,W]; they do not leave it."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(is_class.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = [int(part) for part in np.argsort(-areas, kind="stable") if areas[part] >= LEAST_PIXELS]
    height, width = is_class.shape
    drawn = np.zeros(is_class.shape, bool)
    for number in range(rule.count if order else 0):
        part = parts == order[number % len(order)] + 1
        places = np.argwhere(part)[:, ::-1].astype(np.int32)
        start, *ends = places[rng.integers(len(places), size=1 + CANDIDATES)]
        way = start[None] if rule.kind == "points" else max((_way_inside(part, start, end) for end in ends), key=len)
        drawn |= _line(way, (height, width))
    return drawn & is_class


def _way_inside(part: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The pixels of a line until it leaves a part bool [H,W]: int32 [n,2] x, y, the start first."""
    steps = max(int(np.abs(end - start).max()), 1)
    way = np.round(start + np.linspace(0, 1, steps + 1)[:, None] * (end - start)).astype(np.int32)
    is_outside = ~part[way[:, 1], way[:, 0]]
    return way[: int(is_outside.argmax())] if is_outside.any() else way


def prepare_few_labels(dataset: Dataset, folder: Path, rule: Rule, *, processes: int = 1) -> tuple[int, int]:
    """Writes label maps with few labels of all labelled images of a data set: folder/ID.png.

    Files that are there stay, so that a broken run continues.

    Args:
        dataset: gives the full label maps.
        folder: of the files.
        rule: what is made.
        processes: how many processes work at once.

    Returns:
        How many files were written, and how many stayed.

    Raises:
        DataError: a mask cannot be read, or a file cannot be written.
    """
    indices = {dataset.ids[i]: i for i in range(len(dataset)) if dataset.has_mask(i)}
    write = partial(_write_made, dataset=dataset, folder=folder, rule=rule, indices=indices)
    return _write_all(list(indices), write, folder, processes)


def prepare_scribbles(dataset: Dataset, xml: Path, folder: Path, *, processes: int = 1) -> tuple[int, int]:
    """Writes label maps of scribbles in XML files, xml/ID.xml: folder/ID.png. As prepare_few_labels.

    Args:
        dataset: gives classes, and images for their sizes.
        xml: folder of the scribbles.
        folder: of the files.
        processes: how many processes work at once.
    """
    missing = [name for name in dataset.ids if not (xml / f"{name}.xml").is_file()]
    if missing:
        raise DataError(f"{xml}: {len(missing)} of {len(dataset)} images have no NAME.xml: {some(missing)}")
    indices = {name: i for i, name in enumerate(dataset.ids)}
    write = partial(_write_drawn, dataset=dataset, xml=xml, folder=folder, indices=indices)
    return _write_all(list(indices), write, folder, processes)


def _write_all(names: list[str], write: Callable[[str], None], folder: Path, processes: int) -> tuple[int, int]:
    left = [name for name in names if not label_file(folder, name).is_file()]
    journal = Journal(folder / ".scribbles.part", {"set": "scribbles"})
    is_finished = False
    try:
        run_jobs(left, write, journal, processes=processes, label="labels")
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return len(left), len(names) - len(left)


def _write_made(name: str, dataset: Dataset, folder: Path, rule: Rule, indices: dict[str, int]) -> None:
    _start_job()
    rng = np.random.default_rng([rule.seed, zlib.crc32(name.encode())])  # whatever other images there are
    _write(folder, name, few_labels(dataset.mask(indices[name]), rule, rng, dataset.ignore))


def _write_drawn(name: str, dataset: Dataset, xml: Path, folder: Path, indices: dict[str, int]) -> None:
    _start_job()
    height, width = dataset.image(indices[name]).shape[:2]
    lines = read_scribbles(xml / f"{name}.xml", dataset.classes)
    _write(folder, name, draw_scribbles(lines, (height, width)))


def _start_job() -> None:
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(0)  # each process has one core


def _write(folder: Path, name: str, labels: np.ndarray) -> None:
    write_whole(label_file(folder, name), png(labels), "choose another folder by --out")

"""Pictures of clicks on an object one after the other, with the mask that followed each.

Legend: H W image, n clicks of an object. Pictures are uint8 [H,W,3] RGB.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from segkit.viz.draw import (
    CHOSEN,
    FAINT,
    INK,
    NEGATIVE,
    PAPER,
    POSITIVE,
    decoded,
    drawing,
    grid,
    letters,
    shortened,
    to_rgb,
)

COLUMNS = 7
"""Cells of one line in the picture of an object."""
TRUTH = (240, 228, 66)
"""Outline of the object that is looked for: the yellow of Okabe and Ito, seen on green and on orange."""


class ClickRun(NamedTuple):
    """How one object was clicked: image [H,W,C]; truth int [H,W], 1 object, below 0 ignored; clicks float [n,3] of
    y, x, is_positive in pixels; ious float [n] in 0..1; masks: for each click a COCO run-length code or [H,W] (the last
    alone is fine: then there is a single cell)."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    clicks: np.ndarray
    ious: np.ndarray
    masks: Sequence


def numbered_clicks(picture: np.ndarray, clicks: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """clicks: float [n,3] y, x, is_positive in pixels of the picture before it was scaled by `scale` -> the picture
    with a green (positive) or red (negative) disk for each, its number on it; the last one lies on top, ringed."""
    radius = max(6, round(min(picture.shape[:2]) / 22))
    image, draw = drawing(picture)
    font = letters(round(radius * 1.35))
    for number, (y, x, is_positive) in enumerate(np.asarray(clicks, float).reshape(-1, 3), 1):
        center = ((x + 0.5) * scale, (y + 0.5) * scale)
        is_last = number == len(clicks)
        ring = (radius + (2 if is_last else 1), INK if is_last else PAPER)
        for r, color in (ring, (radius, POSITIVE if is_positive > 0.5 else NEGATIVE)):
            draw.ellipse((center[0] - r, center[1] - r, center[0] + r, center[1] + r), fill=color)
        draw.text(center, str(number), fill=PAPER, font=font, anchor="mm")
    return np.array(image)


def steps(run: ClickRun, cell: int = 320) -> np.ndarray:
    """Image with the object's outline, then for each click the mask that followed it and all clicks so far with the IoU
    below -> a picture of seven cells a line, each with its longer side `cell` pixels."""
    cells = [_titled(_scene(run, None, cell), run.name)]
    cells += [_titled(_scene(run, i, cell), _words(run, i)) for i in _kept(run)]
    lines = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return grid(lines, cell=max(cells[0].shape[:2]))


def overview(runs: Sequence[ClickRun], cell: int = 240) -> np.ndarray:
    """A line for each object: its outline, and the masks after its first, a middle and its last clicks."""
    rows, captions = [], []
    for run in runs:
        kept = _kept(run)
        shown = sorted({kept[round(share * (len(kept) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)}) if kept else []
        cells = [_scene(run, i, cell) for i in (None, *shown)]
        rows.append([_titled(one, "object" if i is None else _words(run, i)) for one, i in zip(cells, (None, *shown))])
        ious = f", IoU {100 * float(run.ious[-1]):.1f} after {len(run.clicks)} clicks" if len(run.ious) else ""
        captions.append(f"{run.name}{ious}")
    return grid(rows, captions=captions, cell=max(cell, 1))


def _kept(run: ClickRun) -> list[int]:
    """The clicks a mask is there for."""
    return list(range(len(run.clicks) - len(run.masks), len(run.clicks)))


def _words(run: ClickRun, i: int) -> str:
    return f"{i + 1}: IoU {100 * float(run.ious[i]):.1f}"


def _scene(run: ClickRun, i: int | None, cell: int) -> np.ndarray:
    """The image at a cell's size with the object's outline and, for a click i, the mask after it and clicks 0..i."""
    height, width = run.truth.shape
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = cv2.resize(to_rgb(run.image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    at_size = lambda mask: cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0  # noqa: E731
    if i is not None:
        mask = at_size(decoded(run.masks[i - len(run.clicks)]))
        picture[mask] = (picture[mask] * 0.45 + np.array(CHOSEN) * 0.55).astype(np.uint8)
    # the outline is thin beside a mask, so that an edge that is off can be seen
    lines, _ = cv2.findContours(at_size(run.truth == 1).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, lines, -1, TRUTH, 2 if i is None else 1)
    return picture if i is None else numbered_clicks(picture, run.clicks[: i + 1], scale)


def _titled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture with a line of text under it."""
    high = 20
    strip, draw = drawing(np.full((high, picture.shape[1], 3), PAPER, np.uint8))
    font = letters(13)
    draw.text((2, high // 2), shortened(text, font, picture.shape[1] - 4), fill=FAINT, font=font, anchor="lm")
    return np.concatenate([picture, np.array(strip)])

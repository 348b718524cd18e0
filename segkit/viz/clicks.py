"""Pictures of how an object was clicked: every click and the mask after it.

H W image, n clicks of an object. Pictures are uint8 [H,W,3] RGB.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from segkit.types import RLE, Color
from segkit.viz.draw import CHOSEN, NEGATIVE, POSITIVE, decoded, grid, to_rgb
from segkit.viz.text import FAINT, INK, PAPER, drawing, letters, shortened

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

COLUMNS = 7
"""Cells per line in the picture of an object."""

TRUTH = (240, 228, 66)
"""Outline of the true object: the yellow of Okabe and Ito, visible on green and on orange."""


class ClickRun(NamedTuple):
    """How one object was clicked.

    Args:
        name: of the object, for captions.
        image: [H,W,C].
        truth: int [H,W], 1 object, below 0 ignored.
        clicks: float [n,3] of y, x, is_positive in pixels.
        ious: float [n] in 0..1, after each click.
        masks: for each click a COCO run-length code or an array [H,W]; where there are fewer, they are those after the
            last clicks.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    clicks: np.ndarray
    ious: np.ndarray
    masks: Sequence[np.ndarray | RLE]


def numbered_clicks(picture: np.ndarray, clicks: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Draws numbered clicks as disks, green for positive and orange for negative ones; the last one is ringed.

    Args:
        picture: uint8 [H,W,3].
        clicks: float [n,3] y, x, is_positive in pixels of the picture before it was scaled.
        scale: factor by which the picture was scaled.

    Returns:
        uint8 [H,W,3].
    """
    radius = max(6, round(min(picture.shape[:2]) / 22))
    image, draw = drawing(picture)
    font = letters(round(radius * 1.35))
    for number, (y, x, is_positive) in enumerate(np.asarray(clicks, float).reshape(-1, 3), 1):
        center = ((x + 0.5) * scale, (y + 0.5) * scale)
        is_last = number == len(clicks)
        _disk(draw, center, radius + (2 if is_last else 1), INK if is_last else PAPER)
        _disk(draw, center, radius, POSITIVE if is_positive > 0.5 else NEGATIVE)
        draw.text(center, str(number), fill=PAPER, font=font, anchor="mm")
    return np.array(image)


def _disk(draw: "ImageDraw", center: tuple[float, float], radius: int, color: Color) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def steps(run: ClickRun, cell: int = 320) -> np.ndarray:
    """Draws a cell for the object, then one for each click with the mask after it, all clicks so far and the IoU.

    Args:
        run: how the object was clicked.
        cell: longer side of a cell in pixels.

    Returns:
        uint8 picture with seven cells a line.
    """
    cells = [_titled(_scene(run, None, cell), run.name)]
    cells += [_titled(_scene(run, i, cell), _caption(run, i)) for i in _with_mask(run)]
    lines = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return grid(lines, cell=max(cells[0].shape[:2]))


def overview(runs: Sequence[ClickRun], cell: int = 240) -> np.ndarray:
    """Draws a line for each object: its outline, and the masks after its first, some middle and its last click.

    Args:
        runs: how the objects were clicked.
        cell: longer side of a cell in pixels.

    Returns:
        uint8 [H,W,3].
    """
    rows, captions = [], []
    for run in runs:
        kept = _with_mask(run)
        shown = sorted({kept[round(share * (len(kept) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)}) if kept else []
        cells = [_titled(_scene(run, i, cell), _caption(run, i)) for i in shown]
        rows.append([_titled(_scene(run, None, cell), "object"), *cells])
        ious = f", IoU {100 * float(run.ious[-1]):.1f} after {len(run.clicks)} clicks" if len(run.ious) else ""
        captions.append(f"{run.name}{ious}")
    return grid(rows, captions=captions, cell=max(cell, 1))


def _with_mask(run: ClickRun) -> list[int]:
    """Numbers of the clicks that have a mask."""
    return list(range(len(run.clicks) - len(run.masks), len(run.clicks)))


def _caption(run: ClickRun, i: int) -> str:
    return f"{i + 1}: IoU {100 * float(run.ious[i]):.1f}"


def _scene(run: ClickRun, i: int | None, cell: int) -> np.ndarray:
    """Draws the image at a cell's size with the object's outline and, for a click i, its mask and clicks 0..i."""
    height, width = run.truth.shape
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = cv2.resize(to_rgb(run.image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    if i is not None:
        mask = _resized(decoded(run.masks[i - len(run.clicks)]), size)
        picture[mask] = (picture[mask] * 0.45 + np.array(CHOSEN) * 0.55).astype(np.uint8)
    # the outline is thin beside a mask, so that a wrong edge can be seen
    lines, _ = cv2.findContours(_resized(run.truth == 1, size).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, lines, -1, TRUTH, 2 if i is None else 1)
    return picture if i is None else numbered_clicks(picture, run.clicks[: i + 1], scale)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a mask to (width, height), bool."""
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def _titled(picture: np.ndarray, text: str) -> np.ndarray:
    """Adds a line of text under the picture."""
    height = 20
    strip, draw = drawing(np.full((height, picture.shape[1], 3), PAPER, np.uint8))
    font = letters(13)
    draw.text((2, height // 2), shortened(text, font, picture.shape[1] - 4), fill=FAINT, font=font, anchor="lm")
    return np.concatenate([picture, np.array(strip)])

"""Folders of labels for the tests of the annotation tools' formats."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from segkit.data.files.coco_json import draw
from segkit.data.formats.base import Shape

FIXTURES = Path(__file__).parents[1] / "fixtures" / "labels"


def picture(path: Path, size: tuple[int, int]) -> Path:
    """Writes a picture of noise, size (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def copied(fixture: str, folder: Path) -> Path:
    """Copies files that a tool wrote."""
    shutil.copytree(FIXTURES / fixture, folder, dirs_exist_ok=True)
    return folder


def drawn(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """bool [H,W] of a shape: its mask, or its pieces without its holes."""
    if shape.mask is not None:
        return draw(shape.mask, *size)
    mask = draw([outline.ravel().tolist() for outline in shape.outlines], *size)
    return mask & ~draw([hole.ravel().tolist() for hole in shape.holes], *size)

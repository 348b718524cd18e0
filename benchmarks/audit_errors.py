"""Errors put into label maps, for benchmarks/audit.py: five kinds, each with the box of its place."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from segkit.audit.findings import BOUNDARY, MISSING, SPURIOUS, SWAPPED, WRONG, Box
from segkit.audit.parts import Part, parts_of, surrounding_labels
from segkit.audit.places import box_of

LEAST = 0.003
"""Share of an image that an object has which is changed: smaller ones are easily overlooked by people, too."""


class LabelErrors:
    """Puts errors into label maps.

    Args:
        maps: integer [H,W] each.
        things: classes whose parts are objects.
        ignore: label that stays.
    """

    def __init__(self, maps: Sequence[np.ndarray], things: Sequence[int], ignore: int):
        self.maps, self.things, self.ignore = maps, tuple(things), ignore

    def put(self, kind: str, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Box] | None:
        """Returns changed labels and the box of the change; None where the map offers no place for it."""
        change: Callable = getattr(self, f"_{kind}")
        return change(labels.copy(), rng)

    def _objects(self, labels: np.ndarray) -> list[tuple[int, Part]]:
        least = int(LEAST * labels.size)
        return [(label, part) for label in self.things for part in parts_of(labels == label, least)]

    def _one(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[int, Part] | None:
        found = [(label, part) for label, part in self._objects(labels) if part.area < 0.25 * labels.size]
        return found[int(rng.integers(len(found)))] if found else None

    def _missing(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Box] | None:
        if (chosen := self._one(labels, rng)) is None:
            return None
        part = chosen[1]
        around = surrounding_labels(labels, part, self.ignore)
        if around is None:
            return None
        part.of(labels)[part.mask] = around[part.mask]
        return labels, part.box

    def _spurious(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Box] | None:
        """The outline of an object of another image, at a place without any object."""
        for _ in range(50):
            other = self.maps[int(rng.integers(len(self.maps)))]
            if (chosen := self._one(other, rng)) is None:
                continue
            label, part = chosen
            height, width = part.mask.shape
            if height > labels.shape[0] or width > labels.shape[1]:
                continue
            y, x = (int(rng.integers(labels.shape[i] - size + 1)) for i, size in enumerate((height, width)))
            here = labels[y : y + height, x : x + width]
            if np.isin(here[part.mask], (*self.things, self.ignore)).mean() < 0.05:
                here[part.mask] = label
                return labels, (x, y, x + width, y + height)
        return None

    def _wrong_class(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Box] | None:
        if (chosen := self._one(labels, rng)) is None:
            return None
        label, part = chosen
        others = [other for other in self.things if other != label]
        part.of(labels)[part.mask] = others[int(rng.integers(len(others)))]
        return labels, part.box

    def _boundary(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Box] | None:
        """An object with another outline, see other_outline."""
        if (chosen := self._one(labels, rng)) is None:
            return None
        label, part = chosen
        whole = np.zeros(labels.shape, np.uint8)
        part.of(whole)[part.mask] = 1
        changed = other_outline(whole, rng)
        around = surrounding_labels(labels, part, self.ignore)
        if around is None or not changed.any():
            return None
        part.of(labels)[part.mask] = around[part.mask]
        labels[(changed > 0) & (labels != self.ignore)] = label
        return labels, box_of(changed > 0)

    def _swapped(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Box] | None:
        """Two classes of 1 % of the image or more each."""
        values, counts = np.unique(labels[labels != self.ignore], return_counts=True)
        present = values[counts >= 0.01 * labels.size].tolist()
        if len(present) < 2:
            return None
        i, j = rng.choice(present, 2, replace=False).tolist()
        is_i, is_j = labels == i, labels == j
        labels[is_i], labels[is_j] = j, i
        return labels, box_of(is_i | is_j)


def other_outline(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves a mask, uint8 [H,W], by a quarter of the root of its area, or grows it by 15 % of that."""
    side = float(mask.sum()) ** 0.5
    if rng.random() < 0.5:
        angle, step = rng.random() * 2 * np.pi, 0.25 * side
        move = np.float32([[1, 0, round(step * np.cos(angle))], [0, 1, round(step * np.sin(angle))]])
        return cv2.warpAffine(mask, move, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    width = 2 * max(2, round(0.15 * side)) + 1
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))


KINDS = (MISSING, SPURIOUS, WRONG, BOUNDARY, SWAPPED)


def box_iou(first: Box, second: Box) -> float:
    """Returns the IoU of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)

"""The worst objects of an evaluation with clicks, for a page. H W image, n clicks of an object."""

from typing import cast

import cv2
import numpy as np

from segkit.engine.pictures import image_of, labels_of
from segkit.engine.worst import IGNORED, Rating, Worst, pictured, resized
from segkit.types import Batch, ClickPrediction, Prediction
from segkit.viz import draw
from segkit.viz.clicks import TRUTH, numbered_clicks
from segkit.viz.draw import NEGATIVE, POSITIVE
from segkit.viz.errors import EXCESS, RIGHT, WRONG, fitted, mask_errors
from segkit.viz.page.records import Card

MARGIN = 0.4
"""Part of an object's box by which the box is widened on each side."""

LEAST_SIDE = 96
"""Pixels of the image that a picture of an object shows at least."""

MOST_OF_IMAGE = 0.7
"""Part of the image from which on it is shown whole."""


class WorstClicks(Worst):
    """Keeps the objects that took the most clicks; of equally many those with the lowest IoU at last."""

    title = "Worst objects"
    explanation = (
        "Ordered by the number of clicks, then by the IoU after the last one. The first picture is the whole image "
        "with the object's outline, the others show what lies around the object. The small curve is the IoU after each "
        "click. A click enlarges a picture."
    )
    value_name = "IoU after the last click"
    noun = "objects"
    shows_classes = False
    key = (
        ("found", RIGHT),
        ("missed", WRONG),
        ("too much", EXCESS),
        ("ignored", None),
        ("click on the object", POSITIVE),
        ("click beside it", NEGATIVE),
        ("true outline", TRUTH),
    )

    def rate(self, prediction: Prediction, batch: Batch, i: int) -> Rating | None:
        """Rates object i of a batch; None where nothing was clicked."""
        ious = np.asarray(cast(ClickPrediction, prediction)["ious"], float)
        if not len(ious):
            return None
        last = float(100 * ious[-1])
        known = None if np.isnan(last) else last
        return Rating(str(batch["meta"][i]["id"]), known, (-float(len(ious)), round(last, 6)))

    def card(self, prediction: Prediction, batch: Batch, i: int, rating: Rating) -> Card:
        """Draws image | truth | prediction | error of object i of a batch."""
        found, labels = cast(ClickPrediction, prediction), labels_of(prediction, batch, i)
        assert labels is not None and rating.value is not None
        truth, mask, ignored = labels[0] == 1, labels[1] == 1, labels[0] == IGNORED
        image = resized(draw.to_rgb(image_of(batch, i)), truth.shape)
        clicks, ious = np.asarray(found["clicks"], float), np.asarray(found["ious"], float)
        y0, y1, x0, x1 = box = around(truth | mask, clicks)
        whole = image
        image, truth, mask, ignored = (part[y0:y1, x0:x1] for part in (image, truth, mask, ignored))
        scale = max(1, -(-self.side // 2 // max(image.shape[:2])))
        image, truth, mask, ignored = (_enlarged(part, scale) for part in (image, truth, mask, ignored))
        factor = min(1.0, self.side / max(image.shape[:2]))
        image, truth, mask, ignored = (self._fitted(part) for part in (image, truth, mask, ignored))
        shifted = clicks - np.array([y0, x0, 0]) if len(clicks) else clicks
        outlined = _outlined(image, truth)
        pictures = (
            pictured("image", self._overview(whole, labels[0] == 1, box)),
            pictured("truth", _tinted(outlined, truth)),
            pictured("prediction", numbered_clicks(_tinted(outlined, mask), shifted, scale * factor)),
            pictured("error", mask_errors(image, truth, mask, ignored)),
        )
        curve = tuple(float(100 * iou) for iou in ious)
        note = f"{len(ious)} clicks, IoU {rating.value:.1f} after the last, {np.nanmax(curve):.1f} at best"
        return Card(rating.badness, rating.name, note, pictures, curve=tuple(np.nan_to_num(curve).tolist()))

    def _overview(self, image: np.ndarray, truth: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """The whole image with the object's outline, and the part that the other pictures show."""
        shown = fitted(image, self.side)
        scale = max(1, -(-self.side // 2 // max(shown.shape[:2])))
        factor = scale * shown.shape[0] / image.shape[0]
        shown = _enlarged(shown, scale)
        small = resized_mask(truth, shown.shape[:2])
        picture = np.ascontiguousarray(_outlined(shown, small))
        if box != (0, truth.shape[0], 0, truth.shape[1]):
            y0, y1, x0, x1 = (round(value * factor) for value in box)
            cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), 1)
        return picture

    def _fitted(self, part: np.ndarray) -> np.ndarray:
        if part.ndim == 3:
            return fitted(part, self.side)
        return fitted(part.astype(np.uint8), self.side, are_labels=True) > 0


def around(mask: np.ndarray, clicks: np.ndarray) -> tuple[int, int, int, int]:
    """Returns y0, y1, x0, x1 of the part of an image around an object and its clicks.

    Args:
        mask: bool [H,W].
        clicks: float [n,3] y, x, is_positive.
    """
    points = np.argwhere(mask)
    if len(clicks):
        points = np.concatenate([points, clicks[:, :2].astype(int)])
    if not len(points):
        return 0, mask.shape[0], 0, mask.shape[1]
    sides = []
    for low, high, length in zip(points.min(0).tolist(), (points.max(0) + 1).tolist(), mask.shape):
        wanted = max((high - low) * (1 + 2 * MARGIN), LEAST_SIDE)
        start = max(0, round((low + high - wanted) / 2))
        sides += [start, min(length, round((low + high + wanted) / 2))]
    y0, y1, x0, x1 = sides
    is_most = (y1 - y0) * (x1 - x0) > MOST_OF_IMAGE * mask.size
    return (0, mask.shape[0], 0, mask.shape[1]) if is_most else (y0, y1, x0, x1)


def resized_mask(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resizes a mask, bool [H,W], to (height, width)."""
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    picture = np.ascontiguousarray(image.copy())
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture, lines, -1, TRUTH, max(1, round(min(image.shape[:2]) / 180)))


def _tinted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    picture = image.copy()
    picture[mask] = (0.45 * picture[mask] + 0.55 * np.array(draw.CHOSEN)).astype(np.uint8)
    return picture


def _enlarged(part: np.ndarray, scale: int) -> np.ndarray:
    return part if scale == 1 else part.repeat(scale, axis=0).repeat(scale, axis=1)

"""Evaluation click by click: each object is clicked where the prediction errs most until it is found.

Section 4 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. H W image, n clicks.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.models.bases import Network
from segkit.runners.interactive.advance import Advance, Session
from segkit.runners.interactive.clicker import mask_iou, next_click
from segkit.settings import ClickInference
from segkit.types import RLE, ClickPrediction

__all__ = ["ClickInference", "simulate"]


class Item:
    """One object that is being clicked.

    Args:
        session: the image, without clicks.
        target: int [H,W], object 1, rest 0, ignored -1.

    Attributes:
        mask: bool [H,W], predicted after the last click; empty before the first.
        not_clicked: bool [H,W], False at earlier clicks.
        ious: after each click, in 0..1.
        masks: after each click, where they are kept.
        seconds: this object's share of the time so far.
    """

    def __init__(self, session: Session, target: np.ndarray):
        self.session, self.target = session, target
        self.mask = np.zeros(target.shape, bool)
        self.not_clicked = np.ones(target.shape, bool)
        self.ious: list[float] = []
        self.masks: list[RLE] = []
        self.seconds = 0.0

    def click(self) -> None:
        """Adds the next click to the session."""
        click = next_click(self.mask, self.target, self.not_clicked)
        self.not_clicked[int(click.y), int(click.x)] = False
        self.session.add(click)

    def score(self, mask: np.ndarray, keep: bool) -> None:
        """Takes in the mask after the last click.

        Args:
            mask: bool [H,W].
            keep: whether it is kept.
        """
        self.mask = mask
        self.ious.append(mask_iou(mask, self.target))
        if keep:
            self.masks.append(_encoded(mask))

    def is_finished(self, settings: ClickInference) -> bool:
        """Returns whether the object is found, or has all its clicks."""
        num_clicks = len(self.ious)
        is_found = num_clicks > 0 and self.ious[-1] >= settings.target_iou and num_clicks >= settings.min_clicks
        return is_found or num_clicks >= settings.max_clicks

    def prediction(self, settings: ClickInference) -> ClickPrediction:
        """Returns the result, with masks where the settings keep them."""
        result = ClickPrediction(
            labels=self.mask.astype(np.uint8),
            clicks=np.array(self.session.clicks, np.float32).reshape(-1, 3),
            ious=np.array(self.ious, np.float32),
            seconds=self.seconds,
        )
        if settings.keep_masks:
            result["masks"] = self.masks
        return result


def simulate(
    model: Network, images: Sequence[Tensor], masks: Sequence[Tensor | np.ndarray], settings: ClickInference
) -> list[ClickPrediction]:
    """Clicks many objects at once, each exactly as if it were alone; objects that are found take no further part.

    Args:
        model: a click model in evaluation mode.
        images: uint8, or float in 0..255, RGB [3,H,W] each, of any sizes, on the model's device.
        masks: int [H,W] each, object 1, rest 0, ignored -1.
        settings: section inference.clicks.

    Returns:
        For each object "labels" uint8 [H,W], "clicks" float32 [n,3] of y, x, is_positive, "ious" float32 [n] after each
        click, "seconds" float (its share of each round), and with keep_masks "masks", one RLE per click. The IoU of two
        empty masks is 1.

    Raises:
        ConfigError: the model takes no clicks.
        ValueError: a mask has another size than its image.
    """
    advance = Advance(model, settings)
    items = [Item(Session(image), _target(image, mask)) for image, mask in zip(images, masks, strict=True)]
    active = [item for item in items if not item.is_finished(settings)]
    while active:
        start = time.perf_counter()
        for item in active:
            item.click()
        advance([item.session for item in active])
        for item, mask in zip(active, _masks(active, settings.threshold)):
            item.score(mask, settings.keep_masks)
        share = (time.perf_counter() - start) / len(active)
        for item in active:
            item.seconds += share
            if item.is_finished(settings):
                item.session.release()
        active = [item for item in active if not item.is_finished(settings)]
    return [item.prediction(settings) for item in items]


def _target(image: Tensor, mask: Tensor | np.ndarray) -> np.ndarray:
    target = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if target.shape != tuple(image.shape[-2:]):
        raise ValueError(f"mask of {target.shape} pixels for an image of {tuple(image.shape[-2:])}")
    return target


def _masks(items: Sequence[Item], threshold: float) -> list[np.ndarray]:
    """Predicted mask of each item, bool [H,W]; all of them take one transfer from the device."""
    flat = torch.cat([(item.session.probabilities > threshold).flatten() for item in items]).cpu().numpy()
    ends = np.cumsum([item.target.size for item in items])
    return [pixels.reshape(item.target.shape) for pixels, item in zip(np.split(flat, ends[:-1]), items)]


def _encoded(mask: np.ndarray) -> RLE:
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(mask, np.uint8))

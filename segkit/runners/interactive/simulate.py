"""Evaluation click by click: each object is clicked where the prediction errs most until it is found.

Section 4 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. H W image, n clicks.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.metrics.boundary import boundary_width, is_boundary
from segkit.models.bases import Network
from segkit.ops.interactive.progressive_merge import merge_at
from segkit.registry import ConfigError
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.band_clicker import DistanceClicker
from segkit.runners.interactive.clicker import Clicker, DeepestClicker, mask_iou
from segkit.runners.interactive.session import Session
from segkit.settings import ClickInference
from segkit.types import RLE, ClickPrediction

__all__ = ["ClickInference", "simulate"]


class Item:
    """One object that is being clicked.

    Args:
        session: the image, without clicks.
        target: int [H,W], object 1, rest 0, ignored -1.
        clicker: decides where it is clicked; None for where the error is deepest.
        seed: of the clicks that are drawn.

    Attributes:
        mask: bool [H,W], predicted after the last click; before the first that which the session starts from.
        not_clicked: bool [H,W], False at earlier clicks.
        ious: after each click, in 0..1.
        boundary_ious: after each click, where they are measured.
        masks: after each click, where they are kept.
        seconds: this object's share of the time so far.
        first_seconds: its share of the time until the first click was answered.
    """

    def __init__(self, session: Session, target: np.ndarray, clicker: Clicker | None = None, *, seed: int = 42):
        self.session, self.target = session, target
        self.clicker = clicker or DeepestClicker()
        self.rng = np.random.RandomState(seed)
        self.mask = np.zeros(target.shape, bool)
        if session.has_start:
            self.mask = (session.probabilities[0, 0] > 0.5).cpu().numpy()
        self.not_clicked = np.ones(target.shape, bool)
        self.ious: list[float] = []
        self.boundary_ious: list[float] = []
        self.masks: list[RLE] = []
        self.seconds = self.first_seconds = 0.0

    def click(self) -> None:
        """Adds the next click to the session."""
        click = self.clicker(self.mask, self.target, self.not_clicked, self.rng)
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

    def merged(self, mask: np.ndarray, settings: ClickInference) -> np.ndarray:
        """Returns the mask after the last click, of which an object that starts from a mask takes over a part alone.

        The merged mask is scored, clicked on and zoomed to, while the network reads its own prediction.

        Args:
            mask: bool [H,W], as predicted.
            settings: say whether masks are merged.
        """
        if not (settings.merge and self.session.has_start):
            return mask
        click = self.session.clicks[-1]
        mask = merge_at(mask, self.mask, int(click.y), int(click.x), moves_rest=settings.merge_rest)
        self.session.shown = torch.from_numpy(mask)[None, None].to(self.session.probabilities)
        return mask

    def measure_boundary(self) -> None:
        """Keeps the boundary IoU of the mask after the last click."""
        self.boundary_ious.append(boundary_iou(self.mask, self.target))

    def take(self, seconds: float) -> None:
        """Adds to the time that the object took."""
        self.seconds += seconds
        if len(self.ious) == 1:
            self.first_seconds = seconds

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
            image_seconds=min(self.session.image_seconds, self.first_seconds),
            first_seconds=self.first_seconds,
            device=name_of(self.session.image.device),
        )
        if settings.boundary_iou:
            result["boundary_ious"] = np.array(self.boundary_ious, np.float32)
        if settings.keep_masks:
            result["masks"] = self.masks
        return result


def boundary_iou(mask: np.ndarray, target: np.ndarray) -> float:
    """Returns the IoU of the bands along the outlines of a mask and of the object, in 0..1; 1 without any band.

    The bands lie inside of the masks and are .02 of the image's diagonal wide (Cheng et al., CVPR 2021). The outline of
    the object runs along ignored pixels, too, which do not count themselves.

    Args:
        mask: bool [H,W].
        target: int [H,W], object 1, rest 0, ignored -1.
    """
    is_object, is_valid = target == 1, target != -1
    width = boundary_width(mask.shape[0], mask.shape[1], 0.02)
    found, truth = (part & is_boundary(part.view(np.uint8), width) & is_valid for part in (mask, is_object))
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def simulate(
    model: Network,
    images: Sequence[Tensor],
    masks: Sequence[Tensor | np.ndarray],
    settings: ClickInference,
    *,
    starts: Sequence[Tensor | np.ndarray] | None = None,
    clickers: Sequence[Clicker] | None = None,
) -> list[ClickPrediction]:
    """Clicks many objects at once, each exactly as if it were alone; objects that are found take no further part.

    Args:
        model: a click model in evaluation mode.
        images: uint8, or float in 0..255, RGB [3,H,W] each, of any sizes, on the model's device.
        masks: int [H,W] each, object 1, rest 0, ignored -1.
        settings: section inference.clicks.
        starts: [H,W] each, 0 or 1, the mask that each object starts from; None starts from empty ones.
        clickers: of each object; None for the one that the settings name, by the distance to the error's border.

    Returns:
        For each object "labels" uint8 [H,W], "clicks" float32 [n,3] of y, x, is_positive, "ious" float32 [n] after each
        click, "seconds" float (its share of each round), and with keep_masks "masks", one RLE per click. The IoU of two
        empty masks is 1. "image_seconds" is the time that went into preparing the image once, and "first_seconds" all
        until the first click was answered; with boundary_iou "boundary_ious" float32 [n].

    Raises:
        ConfigError: the model takes no clicks, or does not read the mask that an object starts from.
        ValueError: a mask has another size than its image.
    """
    advance = Advance(model, settings)
    if starts is not None and not model.has_previous:
        raise ConfigError(
            "the objects start from masks, and this model reads none (model.previous_mask = False): score it from no "
            "mask (of DAVIS585 start=None)"
        )
    if clickers is None and settings.band is not None:
        clickers = [DistanceClicker(*settings.band)] * len(images)
    items = []
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        begun = None if starts is None else torch.from_numpy(_target(image, starts[i]).astype(np.float32))
        clicker = None if clickers is None else clickers[i]
        items.append(Item(Session(image, start=begun), _target(image, mask), clicker, seed=settings.seed))
    active = [item for item in items if not item.is_finished(settings)]
    while active:
        start = time.perf_counter()
        for item in active:
            item.click()
        advance([item.session for item in active])
        for item, mask in zip(active, _masks(active, settings.threshold)):
            item.score(item.merged(mask, settings), settings.keep_masks)
        share = (time.perf_counter() - start) / len(active)
        for item in active:
            item.take(share)
            if settings.boundary_iou:
                item.measure_boundary()
            if item.is_finished(settings):
                item.session.release()
        active = [item for item in active if not item.is_finished(settings)]
    return [item.prediction(settings) for item in items]


def name_of(device: torch.device) -> str:
    """Returns the name of a device, for those who compare seconds."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


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

"""How good the masks are that a promptable network draws in boxes: numbers of each mask, and what must hold of them.

Kirillov et al., Segment Anything, ICCV 2023, appendix B (stability score), https://arxiv.org/abs/2304.02643. n objects
of an image, H W image.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from segkit.constraints.named import Fraction
from segkit.ops.instances.query_results import mask_boxes

OFFSET = 1.0
"""By how much the threshold of the logits moves up and down for the stability."""


@dataclass(frozen=True)
class MaskFilter:
    """The least numbers of a mask that teaches; a mask below one of them has the quality 0.

    Attributes:
        iou: the IoU that the network predicts of its mask.
        stability: see `stability`.
        box: IoU of the mask's tight box with the box it was drawn for: a part of the object, or more than it, is less.
        filled: share of the box that the mask covers.
        component: share of the mask's pixels in its largest connected component.
    """

    iou: Fraction = 0.8
    stability: Fraction = 0.95
    box: Fraction = 0.6
    filled: Fraction = 0.05
    component: Fraction = 0.5


@dataclass(frozen=True)
class MaskNumbers:
    """Numbers of one mask, each in 0..1; see MaskFilter."""

    iou: float
    stability: float
    box: float
    filled: float
    component: float

    def quality(self, least: MaskFilter) -> float:
        """Returns the predicted IoU, 0 for a mask that the filter stops, and for one without a pixel."""
        passes = all(value >= vars(least)[name] for name, value in vars(self).items())
        return self.iou if passes and self.component > 0 else 0.0


def stability(logits: Tensor, offset: float = OFFSET) -> Tensor:
    """Computes how little masks change with the threshold: the IoU of those above +offset and above -offset.

    Args:
        logits: float [n,H,W], the mask is where they are above 0.
        offset: above 0.

    Returns:
        float32 [n] in 0..1, 0 for a mask without a pixel.
    """
    inner = (logits > offset).flatten(1).sum(1)
    outer = (logits > -offset).flatten(1).sum(1)
    return inner / outer.clamp_min(1)


def mask_numbers(logits: Tensor, ious: Tensor, boxes: Tensor) -> list[MaskNumbers]:
    """Computes the numbers of masks that were drawn for boxes.

    Args:
        logits: float [n,H,W].
        ious: predicted by the network, float [n]; those beyond 0..1 are cut.
        boxes: float [n,4] x0, y0, x1, y1 in pixels.
    """
    from torchvision.ops import box_iou

    masks = logits > 0
    steady, tight = stability(logits).tolist(), mask_boxes(masks)
    boxes = boxes.to(tight)
    fits = box_iou(tight, boxes).diagonal().nan_to_num().tolist()
    sure = ious.float().nan_to_num().clamp(0, 1).tolist()
    numbers = []
    for i, mask in enumerate(masks.cpu().numpy()):
        filled = covered(mask, boxes[i].tolist())
        numbers.append(MaskNumbers(sure[i], steady[i], fits[i], filled, int(largest(mask).sum()) / max(mask.sum(), 1)))
    return numbers


def covered(mask: np.ndarray, box: list[float]) -> float:
    """Returns the share of a box's area that a mask covers, at most 1.

    Args:
        mask: bool [H,W].
        box: x0, y0, x1, y1 in pixels.
    """
    x0, y0 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    inside = mask[y0 : int(np.ceil(box[3])), x0 : int(np.ceil(box[2]))]
    area = (box[2] - box[0]) * (box[3] - box[1])
    return min(float(inside.sum()) / area, 1.0) if area > 0 else 0.0


def largest(mask: np.ndarray) -> np.ndarray:
    """Returns the largest connected component of a mask, neighbours by side or corner.

    Args:
        mask: bool [H,W].

    Returns:
        bool [H,W], empty where the mask is.
    """
    count, labels, table, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    return labels == 1 + int(table[1:, cv2.CC_STAT_AREA].argmax())

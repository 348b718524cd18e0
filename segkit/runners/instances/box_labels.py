"""Masks in boxes by MAL's network: for the labels of other networks, and for scores.

Lan et al., MAL, CVPR 2023, section 3.1, https://arxiv.org/abs/2301.03992. n boxes of an image, H W image, h w masks.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from segkit.data.instances.box_crops import box_crop, extended_box, resized_crop, wrapped_crop
from segkit.data.transforms.operations import nearest_index, take
from segkit.models.mask_labeler import MaskLabeler
from segkit.ops.instances.prompted_masks import MaskFilter
from segkit.ops.resizing import resize
from segkit.runners.instances.box_prompted import Drawn

THRESHOLD = 0.1
"""Probability above which a pixel is in a mask, as in the authors' code."""

SURE = 1e-6
"""Probabilities are at least so far from 0 and 1 when they become logits."""

AT_ONCE = 8
"""Crops that are drawn in one batch."""

NO_FILTER = MaskFilter(iou=0.0, stability=0.0, box=0.0, filled=0.0, component=0.0)
"""As published, every mask teaches."""


def pasted(probabilities: Tensor, crop: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Puts the probabilities of a crop into its image.

    Args:
        probabilities: float [h,w], 0 outside of the box.
        crop: x0, y0, x1, y1 in pixels of the image, which it may leave.
        size: (H, W).

    Returns:
        float [H,W], 0 outside of the crop.
    """
    x0, y0, x1, y1 = crop
    inside = resize(probabilities[None], size=(y1 - y0, x1 - x0))[0]
    whole = probabilities.new_zeros(size)
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, size[0]), min(x1, size[1])
    whole[top:bottom, left:right] = inside[top - y0 : bottom - y0, left - x0 : right - x0]
    return whole


class BoxLabeler:
    """Draws a mask in each box by a trained MaskLabeler.

    Args:
        model: in evaluation mode.
        side: of the square that crops are resized to, in pixels, as in the training.
        threshold: probability above which a pixel belongs to the mask.
    """

    def __init__(self, model: MaskLabeler, side: int, *, threshold: float = THRESHOLD):
        self.model, self.side, self.threshold = model, side, threshold

    @torch.no_grad()
    def draw(self, image: np.ndarray, boxes: np.ndarray) -> Iterator[Drawn]:
        """Draws the boxes of an image, AT_ONCE of them in a batch.

        Args:
            image: uint8, or float in 0..255, [H,W,3] RGB.
            boxes: float [n,4] x0, y0, x1, y1 in pixels.

        Yields:
            The masks of the batches, in the order of the boxes. The network says nothing of their quality: ious are 1.
        """
        cut = torch.logit(torch.tensor(self.threshold)).item()
        for start in range(0, len(boxes), AT_ONCE):
            some = boxes[start : start + AT_ONCE].astype(np.float64)
            crops = [extended_box(box) for box in some.tolist()]
            found = self._found(image, some, crops)
            masks = [pasted(maps, crop, image.shape[:2]) for maps, crop in zip(found, crops)]
            logits = torch.stack(masks).logit(SURE) - cut
            yield Drawn(logits, logits.new_ones(len(some)))

    def _found(self, image: np.ndarray, boxes: np.ndarray, crops: Sequence[tuple[int, int, int, int]]) -> Tensor:
        """Probabilities of crops, float32 [n,h,w], 0 outside of the boxes."""
        device = self.model.mean.device
        squares = np.stack([resized_crop(wrapped_crop(image, crop), self.side) for crop in crops])
        inside = np.stack([self._box(box, crop, image.shape[:2]) for box, crop in zip(boxes.tolist(), crops)])
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        pixels = torch.from_numpy(squares).permute(0, 3, 1, 2).to(device)
        logits = cast(Tensor, self.model(pixels, torch.from_numpy(areas).to(device, torch.float32))["logits"])
        probabilities = logits[:, 0].float().sigmoid()
        return probabilities * resize(torch.from_numpy(inside).to(device).float(), size=probabilities.shape[1:])

    def _box(self, box: Sequence[float], crop: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
        """The box as a mask of the square, uint8 [side,side]."""
        mask = box_crop(box, crop, size, is_wrapped=False)
        return take(mask, *(nearest_index(length, self.side) for length in mask.shape))

"""Masks that are labels of unequal trust: Dice and the affinity of neighbours, weighted by the quality of each mask.

Cheng et al., BoxTeacher, CVPR 2023, section 3.4, https://arxiv.org/abs/2210.05174. B images, n objects of an image, m
predicted masks in the order of their images, H W image, h w masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.losses.instances.box_inst import valid_pixels
from segkit.losses.instances.warm_up import WarmUp
from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_masks import sampled_box_masks
from segkit.ops.instances.box_projection import vector_dice
from segkit.ops.instances.color_affinity import NEIGHBOURS, overlap, pairwise_sum
from segkit.registry import LOSSES
from segkit.types import Meta


@LOSSES.register
class NoisyMasks(Loss):
    """Noise-aware mask loss of BoxTeacher: Dice and pairwise affinity to masks of unequal quality.

    warm_up (mask sum q D + affinity sum q A) / max(number of masks with q > 0, 1), where q is the quality of a mask's
    label and D the Dice loss. A is the mean of -log(p q + (1 - p)(1 - q)) over pairs of a pixel in the box and one of
    its eight neighbours at distance 2 whose labels agree (eq. 6 to 9). Labels are cut to the box. It stands beside rows
    that learn from all boxes, such as FCOS and BoxInst, on masks of a teacher (runner BoxTeacher), of another model
    (`segkit label`), or of a file that has outlines for some objects alone (boxes_only="mixed").

    Args:
        mask: weight of the Dice loss.
        affinity: weight of the pairwise term.
        means: weight of the Dice losses of the means of rows and columns, 0 as published.
        agreement: least probability that the labels of a pair are one, with labels that are smoothed over 3 x 3 pixels;
            None weighs each pair by it.
        warm_up: steps over which the loss comes in.
        stride: of the masks.
        bottom: as of BoxInst: rows of the file whose pixels are no neighbours.
    """

    row = dict(on=["mask_logits", "objects"], target=["masks", "mask_quality", "boxes", "meta"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        mask: NonNegativeFloat = 0.5,
        affinity: NonNegativeFloat = 0.1,
        means: NonNegativeFloat = 0.0,
        *,
        agreement: Fraction | None = 0.5,
        warm_up: NonNegativeInt = 10000,
        stride: PositiveInt = 4,
        bottom: PositiveInt = 10,
    ):
        super().__init__()
        self.mask, self.affinity, self.means, self.agreement = mask, affinity, means, agreement
        self.stride, self.bottom = stride, bottom
        self.warm_up = WarmUp(warm_up, is_linear=True)

    def forward(
        self,
        mask_logits: Tensor,
        objects: list[Tensor],
        masks: list[Tensor],
        mask_quality: list[Tensor],
        boxes: list[Tensor],
        meta: list[Meta],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            mask_logits: float [m,H/stride,W/stride].
            objects: B of int64, for each mask of an image the index of the object it must become.
            masks: B of bool or uint8 [n,H,W].
            mask_quality: B of float [n] in 0..1.
            boxes: B of float [n,4] in pixels.
            meta: B of dict(size=(H0, W0), valid=(h, w)).

        Returns:
            float32 [] each: mask, affinity and, where it has a weight, means; 0 with a graph where there is no mask of
            a quality above 0.
        """
        logits = full_precision(mask_logits)
        size = (logits.shape[1] * self.stride, logits.shape[2] * self.stride)
        inside = [sampled_box_masks(corners, size, stride=self.stride).to(logits.device) for corners in boxes]
        labels = [self._small(mask.to(logits.device)) * box for mask, box in zip(masks, inside)]
        index = [of_image.to(logits.device) for of_image in objects]
        quality = torch.cat([q.to(logits.device).float()[i] for q, i in zip(mask_quality, index)])
        factor = self.warm_up().to(logits.device) / (quality > 0).sum().clamp_min(1)
        known = torch.cat([label[i] for label, i in zip(labels, index)])
        found = logits.sigmoid()
        terms = {
            "mask": self.mask * factor * (quality * vector_dice(found.flatten(1), known.flatten(1))).sum(),
            "affinity": self.affinity * factor * self._affinity(logits, labels, inside, quality, index, meta),
        }
        if self.means:
            rows = vector_dice(found.mean(2), known.mean(2))
            columns = vector_dice(found.mean(1), known.mean(1))
            terms["means"] = self.means * factor * (quality * (rows + columns)).sum()
        return terms

    def _small(self, masks: Tensor) -> Tensor:
        """The middle pixel of each block, float32 [n,h,w]."""
        first = self.stride // 2
        return masks[:, first :: self.stride, first :: self.stride].float()

    def _affinity(
        self,
        logits: Tensor,
        labels: list[Tensor],
        inside: list[Tensor],
        quality: Tensor,
        index: list[Tensor],
        meta: list[Meta],
    ) -> Tensor:
        """The sum over masks of quality times the mean pairwise loss, float32 []."""
        size = (logits.shape[1] * self.stride, logits.shape[2] * self.stride)
        first = self.stride // 2
        valid = valid_pixels(meta, size, bottom=self.bottom)[:, first :: self.stride, first :: self.stride]
        counts = [len(of_image) for of_image in index]
        total = logits.new_zeros(()) + 0 * logits.sum()
        rows = zip(logits.split(counts), labels, inside, quality.split(counts), index, valid.to(logits.device))
        for of_image, label, box, q, chosen, is_valid in rows:
            kept = q > 0
            if not kept.any():
                continue
            agree = self.agreeing(label, is_valid)
            sums = (agree.sum(1, dtype=box.dtype) * box).sum((1, 2)).clamp_min(1)
            weights = agree[chosen[kept]].transpose(0, 1).unsqueeze(0)
            scale = box[chosen[kept]] * (q[kept] / sums[chosen[kept]]).view(-1, 1, 1)
            total = total + pairwise_sum(of_image[kept], scale, weights, (int(kept.sum()),))
        return total

    def agreeing(self, labels: Tensor, valid: Tensor) -> Tensor:
        """Finds the pairs of pixels whose labels agree.

        Args:
            labels: float [n,h,w] of 0 and 1.
            valid: bool [h,w], pixels that can be a neighbour.

        Returns:
            bool [n,8,h,w], whether those of a pixel and its neighbour in that direction do; float32, how probably,
            where `agreement` is None.
        """
        around = F.avg_pool2d(labels.unsqueeze(1), 3, stride=1, padding=1)[:, 0]
        smooth = (labels + around) / 2
        is_hard = self.agreement is not None  # a byte for each pair: there are eight maps of each mask
        dtype = torch.bool if is_hard else labels.dtype
        pairs = labels.new_zeros(len(labels), len(NEIGHBOURS), *labels.shape[1:], dtype=dtype)
        for k, shift in enumerate(NEIGHBOURS):
            here, there = overlap(shift, labels.shape[1:])
            a, b = smooth[:, *here], smooth[:, *there]
            same = a * b + (1 - a) * (1 - b)
            weight = same if self.agreement is None else same >= self.agreement
            pairs[:, k][:, *here] = weight * valid[there]
        return pairs

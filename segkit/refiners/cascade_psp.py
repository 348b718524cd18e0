"""CascadePSP, Cheng et al., CVPR 2020, https://arxiv.org/abs/2005.02551: masks refined by a trained cascade.

H W image, h w the image that the network sees.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeInt, Range
from segkit.models.cascade_segmentor import CascadeSegmentor
from segkit.refiners._trained import load_trained
from segkit.refiners.base import Refiner
from segkit.registry import REFINERS

Cascade: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]
"""cascade(image, coarse, os8, os4): takes a normalized image float [1,3,h,w] and masks float [1,1,h,w] in -1..1 as
CascadeSegmentor.run does; returns the probabilities float [1,1,h,w] of the last pass at strides 1 and 4."""

DIVISOR = 8
"""The network's sides are multiples of it."""

DROPPED = 16
"""Pixels at the inner sides of a tile that are not used."""

SMALLEST_SIDE = 66
"""Least side of a tile: below, tiles would not move on."""

LOW, HIGH = 0.1, 0.9
"""Shares of the object in a tile between which it is refined."""

MARGIN = 0.125
"""By how much of its sides the box around an object is enlarged on each side."""


def cascade_of(network: CascadeSegmentor) -> Cascade:
    """Returns what the functions of this module call, of a trained network."""

    def cascade(image: Tensor, coarse: Tensor, os8: Tensor | None, os4: Tensor | None) -> tuple[Tensor, Tensor]:
        outputs = network.run(image, coarse, os8, os4)
        return outputs["logits"].float().sigmoid(), outputs["pass3.os4.logits"].float().sigmoid()

    return cascade


def padded_cascade(
    cascade: Cascade, image: Tensor, coarse: Tensor, os8: Tensor | None = None, os4: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Calls a cascade on sides padded to multiples of 8, the image with 0 and masks with -1, and crops its results.

    As published, both sides are padded where one needs it: one that is a multiple already by 8 more pixels.
    """
    height, width = coarse.shape[-2:]
    if height % DIVISOR or width % DIVISOR:
        below, beside = (DIVISOR - side % DIVISOR for side in (height, width))
        margin = (0, beside, 0, below)
        image = F.pad(image, margin)
        coarse = F.pad(coarse, margin, value=-1.0)
        os8, os4 = (None if mask is None else F.pad(mask, margin, value=-1.0) for mask in (os8, os4))
    final, at_4 = cascade(image, coarse, os8, os4)
    return final[..., :height, :width], at_4[..., :height, :width]


def scaled(x: Tensor, side: int, mode: str) -> Tensor:
    """Resizes float [1,C,H,W] so that its longer side is `side`; modes as of torch's interpolate."""
    factor = side / max(x.shape[-2:])
    corners = None if mode == "area" else False
    if min(int(length * factor) for length in x.shape[-2:]) < 1:
        # of a line of pixels one is left
        size = [max(int(length * factor), 1) for length in x.shape[-2:]]
        return F.interpolate(x, size, mode=mode, align_corners=corners)
    return F.interpolate(x, scale_factor=factor, mode=mode, align_corners=corners)


def refine_mask(cascade: Cascade, image: Tensor, mask: Tensor, *, side: int, is_fast: bool) -> Tensor:
    """Refines a mask: the whole image at a longer side of `side`, then tiles of the full size along the outline.

    Smaller images are enlarged. The tiles are refined by the last two passes, starting from the result of the first
    step.

    Args:
        cascade: the network.
        image: float [1,3,H,W], normalized.
        mask: float [1,1,H,W], -1 or 1 (the object).
        side: longer side of the first step, and side of the tiles.
        is_fast: leaves out the tiles.

    Returns:
        float [1,1,H,W], the probability of the object.
    """
    size = (mask.shape[-2], mask.shape[-1])
    seen, coarse = image, mask
    if max(size) > side:
        seen, coarse = scaled(image, side, "area"), scaled(mask, side, "area")
    elif max(size) < side:
        seen, coarse = scaled(image, side, "bicubic"), scaled(mask, side, "bilinear")
    final, at_4 = padded_cascade(cascade, seen, coarse)
    if is_fast:
        if max(size) < side:
            return F.interpolate(final, size, mode="area")
        return final if max(size) == side else F.interpolate(final, size, mode="bilinear", align_corners=True)
    final, at_4 = (F.interpolate(maps, size, mode="bilinear", align_corners=False) for maps in (final, at_4))
    return _refine_tiles(cascade, image, (final > 0.5).float(), 2 * at_4 - 1, side)


def _refine_tiles(cascade: Cascade, image: Tensor, mask: Tensor, os8: Tensor, side: int) -> Tensor:
    """The mean of the tiles, and the mask, float [1,1,H,W] of 0 and 1, where there is none."""
    height, width = mask.shape[-2:]
    total, count = torch.zeros_like(mask), torch.zeros_like(mask)
    step = side // 2 - 2 * DROPPED
    for left in _starts(width, side, step):
        for top in _starts(height, side, step):
            bottom, right = min(top + side, height), min(left + side, width)
            tile = (..., slice(top, bottom), slice(left, right))
            if not LOW <= float(mask[tile].mean()) <= HIGH:
                continue
            final, _ = padded_cascade(cascade, image[tile], 2 * mask[tile] - 1, os8[tile])
            # what lies at the image's border is kept
            rows = slice(DROPPED * (top != 0), bottom - top - DROPPED * (bottom != height))
            columns = slice(DROPPED * (left != 0), right - left - DROPPED * (right != width))
            total[tile][..., rows, columns] += final[..., rows, columns]
            count[tile][..., rows, columns] += 1
    return torch.where(count == 0, mask, total / count.clamp_min(1))


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where tiles begin; those that would reach beyond the end are shifted back, and each stands once."""
    return list(dict.fromkeys(max(min(i * step, length - side), 0) for i in range(length // step + 1)))


def refine_classes(
    refine: Callable[[Tensor, Tensor], Tensor],
    image: Tensor,
    coarse: Tensor,
    *,
    min_pixels: int,
    background: Sequence[int] = (),
    background_factor: float = 1.0,
) -> Tensor:
    """Refines each connected object of a label map, in its box enlarged by a quarter.

    A pixel takes the class of the largest probability above 1/2, and keeps its label where there is none.

    Args:
        refine: takes a normalized image float [1,3,h,w] and a mask float [1,1,h,w] of -1 and 1, and returns
            probabilities.
        image: float [1,3,H,W], normalized.
        coarse: probabilities of the classes, float [1,K,H,W].
        min_pixels: smaller objects are not refined.
        background: classes whose probabilities are multiplied by `background_factor` first.
        background_factor: in 0..1.

    Returns:
        float [1,K,H,W]. Where a class was taken it has that probability, and the others share the rest as before.
    """
    labels = coarse[0].argmax(0)
    best, winner = torch.zeros_like(coarse[0, 0]), labels.clone()
    for label, box, mask in _objects(labels.cpu().numpy(), min_pixels):
        part = torch.from_numpy(2 * mask.astype(np.float32) - 1).to(coarse.device)[None, None]
        found = refine(image[(..., *box)], part)[0, 0] * (background_factor if label in background else 1.0)
        is_better = (found > 0.5) & (found > best[box])
        best[box] = torch.where(is_better, found, best[box])
        winner[box] = torch.where(is_better, label, winner[box])
    chosen = F.one_hot(winner, coarse.shape[1]).permute(2, 0, 1).to(coarse.dtype)
    others = coarse[0] * (1 - chosen)
    rest = others.sum(0)
    # where the others have nothing, the class that was taken has all
    sure = torch.where(rest > 0, best, 1.0)
    mixed = chosen * sure + others * ((1 - sure) / torch.where(rest > 0, rest, 1.0))
    return torch.where(best > 0, mixed, coarse[0])[None]


def _objects(labels: np.ndarray, min_pixels: int) -> list[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Class, enlarged box (rows, columns) and mask in the box, bool [h,w], of each connected object of a label map."""
    height, width = labels.shape
    objects = []
    for label in np.unique(labels).tolist():
        number, parts, boxes, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        for part in range(1, number):
            left, top, wide, high, area = (int(value) for value in boxes[part])
            if area < min_pixels:
                continue
            beside, below = int(wide * MARGIN), int(high * MARGIN)
            box = (
                slice(max(top - below, 0), min(top + high + below, height)),
                slice(max(left - beside, 0), min(left + wide + beside, width)),
            )
            objects.append((label, box, parts[box] == part))
    return objects


@REFINERS.register
class CascadePSP(Refiner):
    """CascadePSP: refines masks along their outlines, on the whole image and then in tiles of its full size.

    Of one channel the object is where the probability is above 1/2. Of several classes each connected object is refined
    in its box enlarged by a quarter, and a pixel takes the class of the largest probability above 1/2, or keeps its
    label. The network does not know classes, so it refines maps of any.

    Args:
        checkpoint: of a training (configs/cascadepsp), or of `segkit convert` from the published file.
        side: longer side in pixels of the image in the first step, and side of the tiles; smaller images are enlarged.
            It sets time and memory.
        is_fast: leaves out the tiles.
        min_pixels: smaller objects are not refined.
        background: classes whose probabilities are multiplied by background_factor first, as the authors do for 35
            classes of ADE20K.
        background_factor: that factor.

    Raises:
        ValueError: side is below 66, at which tiles no longer move on.
        DataError: the checkpoint is missing, damaged, or of another network.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        side: Annotated[int, Range(SMALLEST_SIDE)] = 900,
        *,
        is_fast: bool = False,
        min_pixels: NonNegativeInt = 5,
        background: tuple[NonNegativeInt, ...] = (),
        background_factor: Fraction = 0.51,
    ):
        super().__init__()
        if side < SMALLEST_SIDE:
            raise ValueError(
                f"side = {side}: must be {SMALLEST_SIDE} or more; tiles move on by side / 2 - {2 * DROPPED} pixels"
            )
        self.side, self.is_fast, self.min_pixels = side, is_fast, min_pixels
        self.background, self.background_factor = tuple(background), background_factor
        network = load_trained(
            checkpoint,
            lambda network: isinstance(network, CascadeSegmentor),
            "a network of CascadePSP (configs/cascadepsp)",
        )
        self.network = cast(CascadeSegmentor, network)

    @torch.no_grad()
    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refines maps of probabilities; see Refiner.refine. The result has no gradient.

        Raises:
            ValueError: the image has not three channels.
        """
        if image.shape[1] != 3:
            raise ValueError(f"an image of {image.shape[1]} channels: CascadePSP refines masks of RGB images")
        normalized = self.network.normalize(image)
        refined = [self._refine(normalized[i : i + 1], coarse[i : i + 1]) for i in range(len(image))]
        return torch.cat(refined)

    def _refine(self, image: Tensor, coarse: Tensor) -> Tensor:
        if coarse.shape[1] == 1:
            is_object = coarse > 0.5
            if int(is_object.sum()) < self.min_pixels:
                return coarse
            return self._refine_mask(image, 2 * is_object.to(coarse.dtype) - 1)
        return refine_classes(
            self._refine_mask,
            image,
            coarse,
            min_pixels=self.min_pixels,
            background=self.background,
            background_factor=self.background_factor,
        )

    def _refine_mask(self, image: Tensor, mask: Tensor) -> Tensor:
        return refine_mask(cascade_of(self.network), image, mask, side=self.side, is_fast=self.is_fast)

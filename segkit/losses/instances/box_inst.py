"""BoxInst: masks learnt from boxes by projections and colors. Tian et al., CVPR 2021,
https://arxiv.org/abs/2012.02310. B images, n instances in the order of their images, H W image, h w masks."""

import torch
from torch import Tensor

from segkit.losses.base import Loss
from segkit.losses.instances.warm_up import WarmUp
from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_masks import sampled_box_masks
from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.color_affinity import color_similarity, pair_count, pairwise_sum, small_lab
from segkit.registry import LOSSES


@LOSSES.register
class BoxInst(Loss):
    """mean P + warm_up sum over pairs of -log(p q + (1 - p)(1 - q)) / number of pairs, P the box projection; pairs
    are a pixel of the box and one of its eight neighbours at distance 2 whose color is like its own (eq. 3 and 8 of
    the paper).

    A row of a head that gives masks of chosen places: on=["mask_logits", "objects"], target=["image", "boxes", "meta"],
    at="native". projection, pairwise: weights; similarity: smallest that makes colors alike; warm_up: steps over which
    the pairwise term comes in; stride: of the masks; bottom: rows at the bottom of the original image, where many
    have a border, whose colors do not count.
    """

    row = dict(on=["mask_logits", "objects"], target=["image", "boxes", "meta"], at="native")

    def __init__(
        self,
        projection: float = 1.0,
        pairwise: float = 1.0,
        similarity: float = 0.3,
        warm_up: int = 10000,
        stride: int = 4,
        bottom: int = 10,
    ):
        super().__init__()
        self.projection, self.pairwise, self.similarity = projection, pairwise, similarity
        self.stride, self.bottom = stride, bottom
        self.warm_up = WarmUp(warm_up, is_linear=True)

    def forward(
        self, mask_logits: Tensor, objects: list[Tensor], image: Tensor, boxes: list[Tensor], meta: list[dict]
    ) -> dict[str, Tensor]:
        """mask_logits: float [n,H/stride,W/stride]; objects: B of int64, for each mask of an image the object that it
        is to be; image: uint8 or float [B,3,H,W] in 0..255, RGB, 0 where padded; boxes: B of float [n,4] in pixels;
        meta: B of dict(size=(H0, W0), valid=(h, w)) -> dict of float32 []: projection, pairwise; 0 with a graph
        without a mask."""
        size, counts = tuple(image.shape[2:]), [len(one) for one in objects]
        known = [
            sampled_box_masks(corners[one.to(corners.device)], size, stride=self.stride)
            for corners, one in zip(boxes, objects)
        ]
        known = torch.cat(known)
        logits = full_precision(mask_logits)
        projection = box_projection(logits.sigmoid(), known).sum() / max(len(logits), 1)
        valid = valid_pixels(meta, size, bottom=self.bottom).to(image.device)
        alike = self.alike(image, valid)
        pairs = pairwise_sum(logits, known, alike, counts) / pair_count(known, alike, counts).clamp_min(1)
        return {"projection": self.projection * projection, "pairwise": self.pairwise * self.warm_up() * pairs}

    def alike(self, image: Tensor, valid: Tensor) -> Tensor:
        """image: [B,3,H,W] in 0..255; valid: bool [B,H,W] -> float32 [B,8,h,w], 1 for pairs of alike colors."""
        first = self.stride // 2
        valid = valid[:, first :: self.stride, first :: self.stride]
        return (color_similarity(small_lab(image, stride=self.stride), valid) >= self.similarity).float()


def valid_pixels(meta: list[dict], size: tuple[int, int], *, bottom: int = 10) -> Tensor:
    """meta: B of dict(size=(H0, W0) of the file, valid=(h, w) of the image in its padding); size: (H, W) -> bool
    [B,H,W], False in the padding and in the lowest `bottom` rows of the file, scaled to the image."""
    valid = torch.zeros(len(meta), *size, dtype=torch.bool)
    for row, facts in zip(valid, meta):
        height, width = facts.get("valid", size)
        removed = int(bottom * float(height) / float(facts["size"][0]))
        row[: max(height - removed, 0), :width] = True
    return valid

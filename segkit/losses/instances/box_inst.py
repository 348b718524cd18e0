"""BoxInst: masks learned from boxes by projections and colors.

Tian et al., CVPR 2021, https://arxiv.org/abs/2012.02310. B images, n instances in the order of their images, H W image,
h w masks.
"""

import torch
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.losses.instances.warm_up import WarmUp
from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_masks import sampled_box_masks
from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.color_affinity import color_similarity, pair_count, pairwise_sum, small_lab
from segkit.registry import LOSSES
from segkit.types import Meta


@LOSSES.register
class BoxInst(Loss):
    """BoxInst's mask loss: box projection plus agreement of neighbouring pixels of like color.

    mean P + warm_up sum over pairs of -log(p q + (1 - p)(1 - q)) / number of pairs, where P is the box projection. A
    pair is a pixel of the box and one of its eight neighbours at distance 2 whose color is like its own (eq. 3 and 8 of
    the paper). For heads that return masks of sampled locations.

    Args:
        projection: weight of the box projection.
        pairwise: weight of the pairwise term.
        similarity: least color similarity of a pair.
        warm_up: steps over which the pairwise term comes in.
        stride: of the masks.
        bottom: rows at the bottom of the original image, where many images have a border, whose colors do not count.
    """

    row = dict(on=["mask_logits", "objects"], target=["image", "boxes", "meta"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        projection: NonNegativeFloat = 1.0,
        pairwise: NonNegativeFloat = 1.0,
        similarity: Fraction = 0.3,
        warm_up: NonNegativeInt = 10000,
        stride: PositiveInt = 4,
        bottom: PositiveInt = 10,
    ):
        super().__init__()
        self.projection, self.pairwise, self.similarity = projection, pairwise, similarity
        self.stride, self.bottom = stride, bottom
        self.warm_up = WarmUp(warm_up, is_linear=True)

    def forward(
        self, mask_logits: Tensor, objects: list[Tensor], image: Tensor, boxes: list[Tensor], meta: list[Meta]
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            mask_logits: float [n,H/stride,W/stride].
            objects: B of int64, for each mask of an image the index of the object it must become.
            image: uint8 or float [B,3,H,W] in 0..255, RGB, 0 where padded.
            boxes: B of float [n,4] in pixels.
            meta: B of dict(size=(H0, W0), valid=(h, w)).

        Returns:
            float32 [] each: projection, pairwise; 0 with a graph where there is no mask.
        """
        height, width = image.shape[2:]
        counts = [len(index) for index in objects]
        known = torch.cat(
            [
                sampled_box_masks(corners[index.to(corners.device)], (height, width), stride=self.stride)
                for corners, index in zip(boxes, objects)
            ]
        )
        logits = full_precision(mask_logits)
        projection = box_projection(logits.sigmoid(), known).sum() / max(len(logits), 1)
        valid = valid_pixels(meta, (height, width), bottom=self.bottom).to(image.device)
        alike = self.alike(image, valid)
        pairs = pairwise_sum(logits, known, alike, counts) / pair_count(known, alike, counts).clamp_min(1)
        return {"projection": self.projection * projection, "pairwise": self.pairwise * self.warm_up() * pairs}

    def alike(self, image: Tensor, valid: Tensor) -> Tensor:
        """Finds the pairs of pixels of like color.

        Args:
            image: [B,3,H,W] in 0..255.
            valid: bool [B,H,W], pixels whose colors count.

        Returns:
            float32 [B,8,h,w], 1 where a pixel and its neighbour in that direction are alike.
        """
        first = self.stride // 2
        valid = valid[:, first :: self.stride, first :: self.stride]
        return (color_similarity(small_lab(image, stride=self.stride), valid) >= self.similarity).float()


def valid_pixels(meta: list[Meta], size: tuple[int, int], *, bottom: int = 10) -> Tensor:
    """Returns which pixels belong to the image and not to its padding or lowest rows, bool [B,H,W].

    Args:
        meta: B of dict(size=(H0, W0) of the file, valid=(h, w) of the image in its padding).
        size: (H, W) of the padded images.
        bottom: lowest rows of the file that do not count, scaled to the image.
    """
    valid = torch.zeros(len(meta), *size, dtype=torch.bool)
    for image, record in zip(valid, meta):
        height, width = record.get("valid", size)
        removed = int(bottom * float(height) / float(record["size"][0]))
        image[: max(height - removed, 0), :width] = True
    return valid

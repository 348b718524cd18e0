"""A pixel loss at chosen points. Kirillov et al., PointRend, CVPR 2020, section 3.3,
https://arxiv.org/abs/1912.08193. B batch, K classes, H W image, n points."""

import torch
from torch import Tensor, nn

from segkit.losses.base import Loss
from segkit.registry import LOSSES


@LOSSES.register
class AtPoints(Loss):
    """A loss of pixels, taken on points as if they were an image of one row.

    loss: any loss of logits [B,K,H,W] and target [B,H,W], its reduction is the one here; align_corners: the model's.
    """

    row = dict(on=["points.logits", "points.places"], target="mask")

    parts = {"loss": LOSSES}

    def __init__(self, loss: nn.Module, align_corners: bool = False):
        super().__init__()
        self.loss = loss
        self.align_corners = align_corners

    def forward(self, logits: Tensor, places: Tensor, target: Tensor) -> Tensor:
        """logits: float [B,K,n]; places: float [B,n,2], x and y in 0..1; target: int64 [B,H,W], or [B,K,H,W]
        -> float [], the loss against the label of the pixel each point falls on."""
        return self.loss(logits.unsqueeze(2), labels_at(target, places, self.align_corners).unsqueeze(-2))


def labels_at(target: Tensor, places: Tensor, align_corners: bool = False) -> Tensor:
    """target: [...,H,W]; places: float [B,n,2], x and y with 0 and 1 at the borders of the image, or with align_corners
    at the centres of its outer pixels -> [...,n], the nearest pixel's label; B is the first dimension of target."""
    height, width = target.shape[-2:]
    size = places.new_tensor([width, height])
    pixel = (places * (size - 1)).round() if align_corners else (places * size).floor()
    column, row = torch.minimum(pixel.clamp_min(0), size - 1).long().unbind(2)
    index = (row * width + column).view(len(places), *(1,) * (target.dim() - 3), -1)
    flat = target.flatten(-2)
    return flat.gather(-1, index.expand(*flat.shape[:-1], -1))

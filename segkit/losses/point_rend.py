"""A pixel loss at chosen points.

Kirillov et al., PointRend, CVPR 2020, section 3.3, https://arxiv.org/abs/1912.08193. B batch, K classes, H W image,
n points.
"""

import torch
from torch import Tensor, nn

from segkit.losses.base import Loss
from segkit.registry import LOSSES


@LOSSES.register
class AtPoints(Loss):
    """Computes a pixel loss on points, as if they were an image of one row.

    Args:
        loss: any loss of logits [B,K,H,W] and target [B,H,W]; it says how points are averaged.
        align_corners: the model's own setting.
    """

    row = dict(on=["points.logits", "points.places"], target="mask")

    parts = {"loss": LOSSES}

    def __init__(self, loss: nn.Module, align_corners: bool = False):
        super().__init__()
        self.loss = loss
        self.align_corners = align_corners

    def forward(self, logits: Tensor, points: Tensor, target: Tensor) -> Tensor:
        """Computes the loss against the label of the pixel that each point falls on.

        Args:
            logits: float [B,K,n].
            points: float [B,n,2], x and y in 0..1.
            target: int64 [B,H,W], or [B,K,H,W].

        Returns:
            float [].
        """
        return self.loss(logits.unsqueeze(2), labels_at(target, points, self.align_corners).unsqueeze(-2))


def labels_at(target: Tensor, points: Tensor, align_corners: bool = False) -> Tensor:
    """Returns the label of the pixel nearest to each point, [...,n].

    Args:
        target: [...,H,W], its first dimension is B.
        points: float [B,n,2], x and y; 0 and 1 are the borders of the image, or with align_corners the centres of its
            outer pixels.
        align_corners: see points.
    """
    height, width = target.shape[-2:]
    size = points.new_tensor([width, height])
    pixel = (points * (size - 1)).round() if align_corners else (points * size).floor()
    column, row = torch.minimum(pixel.clamp_min(0), size - 1).long().unbind(2)
    index = (row * width + column).view(len(points), *(1,) * (target.dim() - 3), -1)
    flat = target.flatten(-2)
    return flat.gather(-1, index.expand(*flat.shape[:-1], -1))

"""Semantic encoding loss: which classes an image holds.

Zhang et al., EncNet, CVPR 2018, section 3.1, https://arxiv.org/abs/1803.08904. B batch, K classes, H W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class ClassPresence(Loss):
    """Binary cross entropy of each class's presence in the image.

    Mean over classes, then over the images that have a valid pixel. Large and small objects count alike. EncNet gives
    it weight 0.2. With one output, of a model of one class, it is the presence of label 1.

    Args:
        ignore: label that is left out.
    """

    row = dict(on="presence", target="mask")

    def __init__(self, ignore: int = IGNORE):
        super().__init__()
        self.ignore = ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K], one per class and image.
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        logits = full_precision(logits)
        num_images, num_classes = logits.shape
        target = target.flatten(1).long()
        valid = target != self.ignore
        if num_classes == 1:
            target = torch.where(valid, 1 - target, target)  # label 1 in the first column, 0 in the spare one
        # ignored pixels go to a spare column
        index = torch.where(valid, target, num_classes)
        present = logits.new_zeros(num_images, num_classes + 1).scatter_(1, index, 1.0)[:, :num_classes]
        values = F.binary_cross_entropy_with_logits(logits, present, reduction="none").mean(1)
        has_label = valid.any(1)
        return (values * has_label).sum() / has_label.sum().clamp_min(1)

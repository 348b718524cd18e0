"""Soft intersection over union of click targets.

B batch, K channels, H W image.
"""

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES


@LOSSES.register
class SoftIoU(Loss):
    """1 - soft IoU of each sample, averaged over samples.

    1 - sum p t / sum max(p, t) with p = sigmoid(x) and the target t, RITM's form, which takes soft labels too. A sample
    without foreground gives 1. One without valid pixels adds 0 and is counted (the published code reports the constant
    1 there, equally without gradient).

    Args:
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
        eps: added to the denominator.
    """

    row = dict(target="mask")

    def __init__(self, ignore: float | None = None, eps: NonNegativeFloat = 1e-8):
        super().__init__()
        self.ignore, self.eps = ignore, eps

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: [B,K,H,W] in 0..1, or [B,H,W] where K = 1.

        Returns:
            float [].
        """
        logits = full_precision(logits)
        label, valid = dense_target(logits, target, self.ignore)
        p = logits.sigmoid()
        overlap = (p * label).flatten(1).sum(1)
        union = (torch.maximum(p, label) * valid).flatten(1).sum(1)
        return ((1 - overlap / (union + self.eps)) * valid.flatten(1).any(1)).mean()

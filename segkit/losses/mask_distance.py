"""The loss of CascadePSP's masks: cross entropy and distances of probabilities, by weight.

B batch, H W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision, mean_over
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES, ConfigError
from segkit.types import IGNORE


@LOSSES.register
class MaskDistance(Loss):
    """Binary cross entropy, L1 and L2 distance of a mask and its label, weighted, each a mean over the valid pixels.

    The cross entropy takes the label as 1 where it is above 1/2; the distances are those of sigmoid(x) and the label
    itself. Cheng et al., CascadePSP, CVPR 2020, section 3.1, https://arxiv.org/abs/2005.02551, which weights the terms
    by the pass and the stride of a mask.

    Args:
        bce: weight of the cross entropy; a term of weight 0 is left out.
        l1: weight of the mean absolute difference.
        l2: weight of the mean squared difference.
        ignore: value of the target that is left out.

    Raises:
        ConfigError: all weights are 0.
    """

    row = dict(target="mask")

    def __init__(
        self,
        bce: NonNegativeFloat = 1.0,
        l1: NonNegativeFloat = 0.0,
        l2: NonNegativeFloat = 0.0,
        ignore: float = IGNORE,
    ):
        super().__init__()
        if not bce and not l1 and not l2:
            raise ConfigError("MaskDistance: bce, l1 and l2 are all 0, so that nothing is trained; set one of them")
        self.weights = {"bce": bce, "l1": l1, "l2": l2}
        self.ignore = ignore

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            logits: float [B,1,H,W].
            target: [B,1,H,W] or [B,H,W] in 0..1.

        Returns:
            Weighted terms "bce", "l1" and "l2", as far as they have a weight, float [], 0 where nothing is valid.
        """
        logits = full_precision(logits)
        label, valid = dense_target(logits, target, self.ignore)
        difference = logits.sigmoid() - label
        values = {
            "bce": F.binary_cross_entropy_with_logits(logits, (label > 0.5).to(logits.dtype), reduction="none"),
            "l1": difference.abs(),
            "l2": difference.square(),
        }
        return {
            name: weight * mean_over(torch.where(valid, values[name], 0.0).sum(), valid.sum(), valid.numel(), "valid")
            for name, weight in self.weights.items()
            if weight
        }

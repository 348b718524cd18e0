"""The loss of STDC's detail head, Fan et al., CVPR 2021, https://arxiv.org/abs/2104.13188.

B batch, K outputs, H W image.
"""

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat
from segkit.losses.base import Loss
from segkit.losses.binary_cross_entropy import BinaryCrossEntropy
from segkit.losses.region import Dice
from segkit.ops.averaging import full_precision
from segkit.ops.edges import label_details
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class Detail(Loss):
    """Detail loss of STDC: binary cross entropy and Dice loss on where the labels change.

    Section 3.3, eq. 1 and 2, in the form of mmsegmentation. The target is made of the labels' values at three scales
    (`segkit.ops.edges.label_details`). The cross entropy is divided by all elements, ignored ones included. Fan et al.,
    STDC, CVPR 2021, https://arxiv.org/abs/2104.13188.

    Args:
        threshold: above which a change of the labels, and the sum over the scales, is detail.
        scales: weights of the full, half and quarter size. With the published ones the quarter alone never is detail.
        train_ignored: trains ignored pixels, whose label counts like that of a class, as the published code does.
        ignore: label that is left out.
    """

    row = dict(target="mask")

    def __init__(
        self,
        threshold: NonNegativeFloat = 0.1,
        scales: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = (0.6, 0.3, 0.1),
        train_ignored: bool = False,
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.threshold, self.scales = threshold, tuple(scales)
        self.train_ignored, self.ignore = train_ignored, ignore
        self.cross_entropy = BinaryCrossEntropy(average="all", ignore=IGNORE)
        self.dice = Dice(
            activation="sigmoid",
            squared=True,
            eps=2e-3,
            per_image=True,
            joint=True,
            mask_ignored=not train_ignored,
            absent="count",
            ignore=IGNORE,
        )

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Computes both terms.

        Args:
            logits: float [B,2,H,W] of no detail and detail, or [B,1,H,W] of detail.
            target: int64 [B,H,W], labels.

        Returns:
            "cross_entropy" and "dice", float [] each.
        """
        details = label_details(target, self.threshold, self.scales)
        if not self.train_ignored:
            details = torch.where(target == self.ignore, IGNORE, details)
        logits = full_precision(logits)
        return {"cross_entropy": self.cross_entropy(logits, details), "dice": self.dice(logits, details)}

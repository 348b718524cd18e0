"""MicroSeg: the outputs for what is unknown are kept apart from each other.

Zhang et al., Mining Unseen Classes via Regional Objectness: A Simple Baseline for Incremental Segmentation, NeurIPS
2022, https://arxiv.org/abs/2211.06866.
"""

import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.registry import LOSSES


@LOSSES.register
class UnknownContrast(Loss):
    """Contrast of the maps of several unknown outputs: each shall be like itself alone.

    -log softmax_j (u_i . u_j) at j = i, averaged over the maps and the batch, where u are the maps as unit vectors of
    their pixels. What is compared with (u_j) gets no gradient. MicroSeg, section 3.4. Takes no target.
    """

    row = dict(on="unknown", at="native")

    def forward(self, unknown: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            unknown: float [B,U,h,w], logits of the unknown outputs, U of 2 or more.

        Returns:
            float [].
        """
        maps = F.normalize(full_precision(unknown).flatten(2), dim=2)
        similarity = maps @ maps.detach().transpose(1, 2)
        return -similarity.log_softmax(2).diagonal(dim1=1, dim2=2).mean()

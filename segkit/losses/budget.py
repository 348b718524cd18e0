"""A budget of operations for networks that choose what they compute.

Li et al., Learning Dynamic Routing for Semantic Segmentation, CVPR 2020, section 3.5, https://arxiv.org/abs/2003.10401.
"""

from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.registry import LOSSES


@LOSSES.register
class FLOPsBudget(Loss):
    """Squared distance of a network's expected cost from its budget, both as shares of a total.

    (mean(cost) / total - share)^2, over the images of the batch, Li et al., CVPR 2020, equation 9. The row's weight is
    dict(value=0.8, after=76000, warmup=3800) where the budget sets in at that step and rises over the next ones.

    Args:
        total: 1e6 operations of the whole network, for the size that the model counts. The default is the published
            one of 16 layers at 768 x 768.
        share: of the total that the images may cost on average.
    """

    row = dict(on="expected_mflops", at="native")

    def __init__(self, total: PositiveFloat = 26300.0, share: NonNegativeFloat = 0.1):
        super().__init__()
        self.total, self.share = total, share

    def forward(self, mflops: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            mflops: float [B], 1e6 operations that each image is expected to cost.

        Returns:
            float [].
        """
        return (full_precision(mflops).mean() / self.total - self.share) ** 2

"""FocalClick's loss of the refined mask, Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574, section 3.4.

B batch, K channels, H W image.
"""

from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.log_sigmoid import NORMALIZER_EPS, normalized_focal
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES


@LOSSES.register
class WeightedFocal(Loss):
    """Normalized focal loss with a larger weight on the pixels near the boundary.

    The terms of NormalizedFocal, of each pixel times v = share * boundary + (1 - share), summed over the whole batch
    and divided by the sum of v over all pixels, ignored ones too, as published: a mostly ignored batch weighs less.

    Args:
        share: weight w of the boundary; 0 weighs all pixels alike, 1 counts the boundary alone.
        alpha: alpha_t is alpha where t > 0.5 and 1 - alpha elsewhere.
        gamma: how much well classified pixels are down-weighted.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target=["focus_mask", "boundary"])

    def __init__(
        self,
        share: Fraction = 0.5,
        alpha: NonNegativeFloat = 0.5,
        gamma: NonNegativeFloat = 2.0,
        ignore: float | None = None,
    ):
        super().__init__()
        self.share, self.alpha, self.gamma, self.ignore = share, alpha, gamma, ignore

    def forward(self, logits: Tensor, target: Tensor, boundary: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: [B,K,H,W] in 0..1, or [B,H,W] where K = 1.
            boundary: of the target's shape, 1 near the boundary and 0 elsewhere.

        Returns:
            float [].
        """
        logits = full_precision(logits)
        label, valid = dense_target(logits, target, self.ignore)
        terms = normalized_focal(logits, label, valid, alpha=self.alpha, gamma=self.gamma)
        weight = self.share * boundary.to(terms.dtype).view_as(terms) + (1 - self.share)
        return (terms * weight).sum() / (weight.sum() + NORMALIZER_EPS)

"""Normalized focal loss of interactive segmentation.

Sofiiuk et al., ICCV 2019 (AdaptIS), section 3.3; RITM, Sofiiuk et al., arXiv 2102.06583, section 3.3. B batch, K
channels, H W image.
"""

from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.log_sigmoid import normalized_focal
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES


@LOSSES.register
class NormalizedFocal(Loss):
    """Normalized focal loss: focal factors of mean 1 in each sample, so that its total gradient does not fade.

    -alpha_t m (1 - p_t)^gamma log p_t with p_t = 1 - |t - s(x)| and m = n / sum of (1 - p_t)^gamma over the n valid
    pixels of the sample and channel; s is the sigmoid and t the target. Mean over a sample's valid pixels, then over
    samples; a sample without valid pixels adds 0 and is counted.

    The published code takes log(min(p_t + 1e-12, 1)) of a rounded p_t: its gradient jumps 20,000-fold near logit -18 on
    positives and is exactly 0 from +17 on negatives. Here log p_t comes from log-sigmoids; elsewhere both agree.

    Args:
        alpha: alpha_t is alpha where t > 0.5 and 1 - alpha elsewhere.
        gamma: how much well classified pixels are down-weighted.
        max_mult: upper bound of the normalized factor; None is no bound (RITM writes -1).
        detach: lets no gradient through m.
        sum_pixels: sums over the pixels of a sample instead of averaging.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")

    def __init__(
        self,
        alpha: NonNegativeFloat = 0.5,
        gamma: NonNegativeFloat = 2.0,
        max_mult: PositiveFloat | None = None,
        detach: bool = True,
        sum_pixels: bool = False,
        ignore: float | None = None,
    ):
        super().__init__()
        self.alpha, self.gamma, self.max_mult = alpha, gamma, max_mult
        self.detach, self.sum_pixels, self.ignore = detach, sum_pixels, ignore

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
        values = normalized_focal(
            logits,
            label,
            valid,
            alpha=self.alpha,
            gamma=self.gamma,
            max_mult=self.max_mult,
            detach=self.detach,
        )
        per_sample = values.flatten(1).sum(1)
        if not self.sum_pixels:
            per_sample = per_sample / valid.flatten(1).sum(1).to(values.dtype).clamp_min(1)
        return per_sample.mean()

"""Normalized focal loss of interactive segmentation. Sofiiuk et al., ICCV 2019 (AdaptIS), section 3.3; RITM, Sofiiuk et
al., arXiv 2102.06583, section 3.3. B batch, K channels, H W image."""

from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.log_sigmoid import balance, focal_parts
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES


@LOSSES.register
class NormalizedFocal(Loss):
    """-alpha_t m (1 - p_t)^gamma log p_t, p_t = 1 - |t - s(x)|, with m = n / sum of (1 - p_t)^gamma over the n valid
    pixels of the sample and channel: the factors of a sample have mean 1, so its total gradient does not fade.

    alpha_t is alpha where t > 0.5 and 1 - alpha elsewhere. max_mult: upper bound of the normalized factor, None for
    none (RITM writes -1). detach: no gradient through m. ignore: -1 in click targets. sum_pixels: sum over the pixels
    of a sample in place of their mean. Reduction: mean over a sample's valid pixels, then over samples; a sample
    without valid pixels adds 0 and is counted.

    The published code takes log(min(p_t + 1e-12, 1)) of a rounded p_t: its gradient jumps 20,000-fold near logit -18 on
    positives and is exactly 0 from +17 on negatives. Here log p_t comes from log-sigmoids; elsewhere both agree.
    """

    row = dict(target="mask")

    def __init__(
        self,
        alpha: float = 0.5,
        gamma: float = 2.0,
        max_mult: float | None = None,
        detach: bool = True,
        sum_pixels: bool = False,
        ignore: float = -1,
    ):
        super().__init__()
        self.alpha, self.gamma, self.max_mult = alpha, gamma, max_mult
        self.detach, self.sum_pixels, self.ignore = detach, sum_pixels, ignore
        self.eps = 1e-12

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits: float [B,K,H,W]; target: 0..1 of the same shape, or [B,H,W] where K = 1 -> float []."""
        logits = full_precision(logits)
        label, valid = dense_target(logits, target, self.ignore)
        beta, minus_log = focal_parts(logits, label, self.gamma)
        beta = beta * valid
        number = valid.flatten(2).sum(2).to(beta.dtype)
        multiplier = number / (beta.flatten(2).sum(2) + self.eps)
        if self.detach:
            multiplier = multiplier.detach()
        beta = beta * multiplier.unflatten(1, (-1,) + (1,) * (beta.dim() - 2))
        if self.max_mult is not None:
            beta = beta.clamp_max(self.max_mult)
        values = beta * minus_log * balance(label, self.alpha)
        per_sample = values.flatten(1).sum(1)
        if not self.sum_pixels:
            per_sample = per_sample / number.sum(1).clamp_min(1)
        return per_sample.mean()

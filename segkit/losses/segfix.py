"""The loss of SegFix, Yuan et al., ECCV 2020, https://arxiv.org/abs/2007.04269.

B batch, D classes of directions, H W image, h w features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.edges import DIRECTIONS, direction_classes
from segkit.ops.resizing import resize
from segkit.registry import LOSSES, ConfigError
from segkit.types import IGNORE


@LOSSES.register
class SegFixLoss(Loss):
    """Cross-entropy of boundary against interior, and of directions where a boundary is predicted.

    As in the published code: both maps are resized to the labels' size with corners aligned; the directions count where
    the predicted probability of a boundary exceeds 0.5, be it true or not. In both terms class c weighs 1 minus its
    share of the pixels that count, in a weighted mean over the batch. Where nothing counts, as while no boundary is
    predicted, or all that counts is of one class, a term is 0; in the published code it is NaN.

    Args:
        ignore: label of pixels that do not count.
    """

    row = dict(on=["logits", "direction"], target=["mask", "angle"], at="native")

    def __init__(self, ignore: int = IGNORE):
        super().__init__()
        self.ignore = ignore

    def forward(self, logits: Tensor, direction: Tensor, target: Tensor, angle: Tensor) -> dict[str, Tensor]:
        """Computes both terms.

        Args:
            logits: float [B,2,h,w], interior and boundary.
            direction: float [B,D,h,w], D one of DIRECTIONS.
            target: int64 [B,H,W]: 0 interior, 1 boundary, or `ignore`.
            angle: float [B,H,W], degrees of atan2(y, x).

        Returns:
            "boundary" and "direction", float [] each.

        Raises:
            ConfigError: the maps have another number of channels.
        """
        if logits.shape[1] != 2 or direction.shape[1] not in DIRECTIONS:
            raise ConfigError(
                f"SegFixLoss: outputs of {logits.shape[1]} and {direction.shape[1]} channels; must be those of "
                "SegFixHead with model.num_classes = 2"
            )
        size = (target.shape[-2], target.shape[-1])
        logits = resize(full_precision(logits), size=size, align_corners=True)
        direction = resize(full_precision(direction), size=size, align_corners=True)
        is_valid = target != self.ignore
        is_predicted = logits.detach().softmax(1)[:, 1] > 0.5
        classes = direction_classes(angle, direction.shape[1])
        return {
            "boundary": _balanced(logits, target, is_valid),
            "direction": _balanced(direction, classes, is_valid & is_predicted),
        }


def _balanced(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """The weighted mean of the cross-entropy over the pixels that count, float []; 0 where nothing weighs."""
    labels = torch.where(counts, labels, 0)
    sizes = torch.stack([((labels == i) & counts).sum() for i in range(logits.shape[1])])
    shares = sizes / sizes.sum().clamp_min(1)
    weights = (1 - shares).to(logits.dtype)[labels] * counts
    values = F.cross_entropy(logits, labels, reduction="none")
    return (values * weights).sum() / weights.sum().clamp_min(torch.finfo(logits.dtype).tiny)

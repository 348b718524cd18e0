"""STAR: old classes are replayed as features, the encoder is held where the teacher sees them, new ones keep away.

Chen et al., Saving 100x Storage: Prototype Replay for Reconstructing Training Sample Distribution in Class-Incremental
Semantic Segmentation, NeurIPS 2023. The network has no output for the background: output c is the class of label
c + 1, and a pixel of which no class is certain is background. B batch, K old classes, N new ones, H W image, h w
features.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat, OneOf
from segkit.losses.base import Loss
from segkit.losses.incremental.dkd import IGNORED, NewClassBCE
from segkit.ops.averaging import full_precision, zero_of
from segkit.ops.incremental.prototypes import EPSILON, PRESENT, old_labels
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class ReplayBCE(Loss):
    """Binary cross entropy of the new classes on the images, on replayed old features, and on more old background.

    (L_images + w_f L_replay + w_b L_background) / (1 + w_f + w_b), each the mean over its pixels, summed over the new
    classes. On the images a class is positive where it is the label, and what is replayed is negative for all of them.
    w_f and w_b are the shares of what is replayed in the positions of the batch. STAR, section 3.2. The runner gives
    "replay.logits", "replay.background" and "replay.weight".

    Args:
        pos_weight: weight of positives on the images; 4 on VOC and 30 on ADE in the authors' runs.
        ignored: whether ignored pixels are "negative" for each class (the authors') or "left_out".
        ignore: label of ignored pixels.
    """

    row = dict(on=["logits", "replay.logits", "replay.background", "replay.weight"], target="mask")

    def __init__(
        self,
        pos_weight: NonNegativeFloat = 4.0,
        ignored: Annotated[str, OneOf(IGNORED)] = "negative",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.of_images = NewClassBCE(pos_weight, ignored=ignored, ignore=ignore)

    def forward(self, logits: Tensor, replayed: Tensor, background: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K + N,H,W].
            replayed: float [n,N], the new classes' logits of replayed features.
            background: float [m,N], their logits where the images show background of the steps before.
            weight: float [2], w_f and w_b.
            target: int64 [B,H,W]; 0 is the background.

        Returns:
            float [].
        """
        old = logits[:, : logits.shape[1] - replayed.shape[1]]
        of_images = self.of_images(logits, old, target)
        weight = weight.to(of_images.dtype)
        total = of_images + weight[0] * _as_negatives(replayed) + weight[1] * _as_negatives(background)
        return total / (1 + weight.sum())


def _as_negatives(logits: Tensor) -> Tensor:
    """Mean over pixels of softplus, summed over classes; 0 with a graph for no pixels.

    logits: float [n,N].
    """
    return F.softplus(full_precision(logits)).sum() / max(len(logits), 1)


@LOSSES.register
class PseudoRegionMSE(Loss):
    """Squared error of the features where the teacher finds an old class and the step labels nothing.

    sum |z - t|^2 R / (C sum R) over the positions of the maps z of the student and t of the teacher. R is the region
    of pixels labelled as background in which a logit of the teacher is above the threshold, resized to the maps. 0
    where there is no such pixel. STAR, section 3.3; row weight 5. The teacher gets no gradient.

    Args:
        threshold: logit above which the teacher's class is present; 0.5 as the authors have it, a probability of 0.62.
    """

    row = dict(on=["embedding", "teacher.embedding", "teacher.logits"], target="mask", at="native")

    def __init__(self, threshold: Fraction = PRESENT):
        super().__init__()
        self.threshold = threshold

    def forward(self, features: Tensor, teacher_features: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            features: float [B,C,h,w].
            teacher_features: float [B,C,h,w].
            teacher_logits: float [B,K,h,w].
            target: int64 [B,H,W]; 0 is the background.

        Returns:
            float [].
        """
        logits = full_precision(teacher_logits.detach())
        logits = F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
        region = (old_labels(logits, self.threshold) > 0) & (target == 0)
        return region_mse(features, teacher_features, region)


def region_mse(features: Tensor, teacher_features: Tensor, region: Tensor) -> Tensor:
    """Averages the squared error of features over a region, 0 where it is empty.

    Args:
        features, teacher_features: float [B,C,h,w].
        region: bool [B,H,W].

    Returns:
        float [].
    """
    features = full_precision(features)
    weight = F.interpolate(
        region[:, None].to(features.dtype), features.shape[-2:], mode="bilinear", align_corners=False
    )
    error = (features - teacher_features.detach().to(features.dtype)).square() * weight
    size = features.shape[1] * weight.sum()
    return error.sum() / torch.where(size > 0, size, 1.0)


@LOSSES.register
class PrototypeContrast(Loss):
    """Keeps the new classes away from the old ones: 1 / distance of a new prototype to the nearest old one.

    The mean over the N new classes. A new class's prototype is the normalised mean of the directions z / |z| of the
    batch, weighted by its label resized to the map. A class that the batch does not show adds 1 and no gradient, as in
    the authors' code. STAR, section 3.3; row weight 0.05. The runner gives "prototypes"; old classes without a pixel
    are left out.
    """

    row = dict(on=["embedding", "prototypes", "logits"], target="mask", at="native")

    def forward(self, features: Tensor, prototypes: Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            features: float [B,C,h,w].
            prototypes: float [K,C], unit vectors of the old classes, zeros where one has no pixel.
            logits: float [B,K + N,h,w], of which only the number is used.
            target: int64 [B,H,W]; 0 is the background.

        Returns:
            float [].
        """
        z, num_old, num_classes = full_precision(features), len(prototypes), logits.shape[1]
        labels = torch.arange(num_old + 1, num_classes + 1, device=target.device)
        shown = (target[:, None] == labels[:, None, None]).to(z.dtype)
        weight = F.interpolate(shown, z.shape[-2:], mode="bilinear", align_corners=False)
        summed = torch.einsum("bnhw,bchw->nc", weight, F.normalize(z, dim=1, eps=EPSILON))
        new, old = F.normalize(summed, dim=1, eps=EPSILON), prototypes.detach().to(z.dtype)
        is_known = old.square().sum(1) > 0
        squared = (new[:, None] - old).square().sum(2)
        nearest = squared.masked_fill(~is_known, 4.0).amin(1)  # no two unit vectors are farther apart than 2
        is_shown = weight.sum((0, 2, 3)) > 0
        nearest = torch.where(is_shown, nearest.clamp_min(EPSILON), 1.0)
        return nearest.rsqrt().mean() + zero_of(features)

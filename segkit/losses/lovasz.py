"""Lovász losses: convex surrogates of 1 - IoU.

Berman et al., CVPR 2018, https://arxiv.org/abs/1705.08790. B batch, K classes, H W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt
from segkit.losses.base import Loss
from segkit.ops.averaging import float_vector, full_precision
from segkit.ops.lovasz import lovasz_weights
from segkit.ops.pixel_targets import dense_target
from segkit.ops.region_sums import count_by_class
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class LovaszSoftmax(Loss):
    """Lovász-Softmax loss: convex surrogate of 1 - IoU, averaged over classes.

    The Lovász extension of the Jaccard loss at the errors |[y = c] - softmax(x)_c| of each class c (eq. 11 and 12).

    Args:
        per_image: computes the loss of each image, then the mean over images (one without valid pixels adds 0 and is
            counted). False takes the batch as one image.
        only_present: averages over the classes that occur in the sample; False over all classes.
        classes: indices of the classes that count; None is all.
        class_weight: K numbers that multiply the classes' losses; the divisor remains the number of classes.
        ignore: label that is left out.
    """

    row = dict(target="mask")
    one_channel = "LovaszHinge"
    classes: Tensor | None
    class_weight: Tensor | None

    def __init__(
        self,
        per_image: bool = False,
        only_present: bool = True,
        classes: list[NonNegativeInt] | None = None,
        class_weight: list[NonNegativeFloat] | None = None,
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.per_image, self.only_present, self.ignore = per_image, only_present, ignore
        chosen = None if classes is None else torch.tensor(classes)
        self.register_buffer("classes", chosen, persistent=False)
        self.register_buffer("class_weight", float_vector(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        self.need_channels(logits)
        logits = full_precision(logits).flatten(2)
        target = target.flatten(1)
        num_classes = logits.shape[1]
        valid = target != self.ignore
        index = target.long() * valid
        p = logits.softmax(1)
        slope, constant = self._linear_form(p.detach(), index, valid)
        loss = (p * slope).sum(2) + constant
        true = count_by_class(index, valid.to(p.dtype), num_classes)
        if not self.per_image:
            loss, true = loss.sum(0, keepdim=True), true.sum(0, keepdim=True)
        counts = true > 0 if self.only_present else torch.ones_like(true, dtype=torch.bool)
        if self.class_weight is not None:
            loss = loss * self.class_weight.to(loss.dtype)
        if self.classes is not None:
            loss, counts = loss.index_select(1, self.classes), counts.index_select(1, self.classes)
        return (torch.where(counts, loss, 0.0).sum(1) / counts.sum(1).clamp_min(1)).mean()

    def _linear_form(self, p: Tensor, index: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Slope [B,K,N] and constant [B,K] of the loss, sum of p slope + constant; p: [B,K,N]; index, valid: [B,N].

        An error is p or, at the true class, 1 - p, so the loss is linear in p as long as the order of errors stays.
        """
        num_images, num_classes, _ = p.shape
        with torch.no_grad():
            position = index.unsqueeze(1)
            mask = valid.unsqueeze(1)
            # -(1 - p) and not p - 1: the sign of a zero marks foreground
            at_label = torch.where(mask, -(1 - p.gather(1, position)), 0.0)
            signed_errors = (p * mask).scatter_(1, position, at_label)
            row = torch.arange(num_classes, device=p.device).view(1, -1, 1)
            num_rows = num_classes
            if self.per_image:
                row = row + num_classes * torch.arange(num_images, device=p.device).view(-1, 1, 1)
                num_rows = num_classes * num_images
            weights = lovasz_weights(signed_errors, row, num_rows)
            weights = weights.mul_(mask)
            at_label = weights.gather(1, position)
            constant = count_by_class(index, at_label.squeeze(1), num_classes)
            return weights.scatter_(1, position, -at_label), constant


@LOSSES.register
class LovaszHinge(Loss):
    """Lovász hinge loss: convex surrogate of 1 - IoU for one class.

    The Lovász extension of the Jaccard loss at the hinge errors max(0, 1 - x s), where s is +1 on foreground and -1
    elsewhere (eq. 9 and 10). Several channels (multi-label) form one set of pixels, as in segmentation_models_pytorch.

    Args:
        per_image: computes the loss of each image, then the mean over images (one without valid pixels adds 0 and is
            counted). False takes the batch as one image.
        elu: elu(1 - x s) + 1 replaces the hinge: correct pixels beyond the margin keep a small gradient.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")

    def __init__(self, per_image: bool = False, elu: bool = False, ignore: float | None = None):
        super().__init__()
        self.per_image, self.elu, self.ignore = per_image, elu, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: [B,K,H,W] of 0 and 1, or [B,H,W] where K = 1.

        Returns:
            float [].
        """
        logits = full_precision(logits)
        label, valid = dense_target(logits, target, self.ignore)
        foreground = label > 0.5
        margin = 1 - torch.where(foreground, logits, -logits)
        errors = (F.elu(margin) + 1 if self.elu else F.relu(margin)) * valid
        signed_errors = torch.where(foreground, -errors, errors).detach()
        num_images = logits.shape[0]
        row = torch.zeros(1, dtype=torch.int64, device=logits.device)
        if self.per_image:
            row = torch.arange(num_images, device=logits.device).view(-1, *(1,) * (logits.dim() - 1))
        num_rows = num_images if self.per_image else 1
        weights = lovasz_weights(signed_errors, row, num_rows)
        return (errors * weights).sum() / num_rows

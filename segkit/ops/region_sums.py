"""Sums over pixels that Dice, Jaccard, Tversky and MCC are computed from, without a one-hot copy of the label.

B batch, K classes, H W image. With probabilities p and labels g of the valid pixels: overlap = sum p g, predicted =
sum p, true = sum g, each [B,K].
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.pixel_targets import valid_pixels
from segkit.registry import ConfigError

ACTIVATIONS = ("softmax", "sigmoid", "none")
"""How logits become probabilities; "none" for inputs that are probabilities already."""


class RegionSums(NamedTuple):
    """Sums of each image and class.

    Attributes:
        overlap: float [B,K], sum p g.
        predicted: float [B,K], sum p or sum p^2.
        true: float [B,K], sum g or sum g^2.
        valid: float [B,K], the number of pixels that take part.
    """

    overlap: Tensor
    predicted: Tensor
    true: Tensor
    valid: Tensor


def region_sums(
    logits: Tensor,
    target: Tensor,
    *,
    activation: str = "softmax",
    squared: bool = False,
    ignore: float | None = None,
    mask_ignored: bool = True,
) -> RegionSums:
    """Sums probabilities, labels and their products over the valid pixels of each image and class.

    Args:
        logits: float [B,K,H,W].
        target: int64 [B,H,W] of class indices (of 0 and 1 for K = 1), or of the logits' shape with values in 0..1.
        activation: "softmax", "sigmoid" or "none", which takes probabilities.
        squared: whether predicted = sum p^2 and true = sum g^2.
        ignore: label of pixels that take no part; None leaves out 255 and -1.
        mask_ignored: False counts the prediction on ignored pixels in `predicted`, as mmsegmentation's Dice does.

    Returns:
        The sums, in float32 for logits of half precision.

    Raises:
        ValueError: for an unknown activation, or a softmax over one class.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation = {activation!r}: must be one of {', '.join(map(repr, ACTIVATIONS))}")
    if activation == "softmax" and logits.shape[1] == 1:
        raise ConfigError(
            "a softmax over one class is constant: use activation='sigmoid' with one channel of logits, or "
            "model.num_classes = 2"
        )
    logits = full_precision(logits)
    if target.dim() == logits.dim() - 1 and logits.shape[1] == 1:
        target = target.unsqueeze(1)
    if target.dim() == logits.dim():
        probabilities = _activate(logits, activation)
        return _dense_sums(probabilities, target, squared=squared, ignore=ignore, mask_ignored=mask_ignored)
    valid = valid_pixels(target, ignore)
    index = target.long() * valid
    true = count_by_class(index, valid.to(logits.dtype), logits.shape[1])
    number = valid.flatten(1).sum(1, keepdim=True).to(logits.dtype).expand_as(true)
    if activation == "softmax":
        overlap, predicted = _SoftmaxSums.apply(logits, index, valid, squared, mask_ignored)
        return RegionSums(overlap, predicted, true, number)
    probabilities = _activate(logits, activation)
    at_label = probabilities.gather(1, index.unsqueeze(1)).squeeze(1) * valid
    if mask_ignored:
        probabilities = probabilities * valid.unsqueeze(1)
    predicted = _sum_pixels(probabilities.square() if squared else probabilities)
    return RegionSums(count_by_class(index, at_label, logits.shape[1]), predicted, true, number)


def count_by_class(index: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """Sums values over the pixels of each class.

    Each image row is summed by itself first: rows run in parallel, and few numbers meet in one float32 sum.

    Args:
        index: int64 [B,H,W], the class of each pixel.
        values: float [B,H,W].
        num_classes: K.

    Returns:
        float [B,K].
    """
    rows = index.shape[1] if index.dim() > 2 else 1
    shape = (index.shape[0], rows, -1)
    sums = values.new_zeros(index.shape[0], rows, num_classes)
    return sums.scatter_add(2, index.reshape(shape), values.reshape(shape)).sum(1)


def _activate(logits: Tensor, activation: str) -> Tensor:
    if activation == "none":
        return logits
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(1)


def _sum_pixels(values: Tensor) -> Tensor:
    return values.flatten(2).sum(2)


def _dense_sums(
    probabilities: Tensor, target: Tensor, *, squared: bool, ignore: float | None, mask_ignored: bool
) -> RegionSums:
    """Sums for a target [B,K,H,W] of the logits' shape."""
    valid = valid_pixels(target, ignore)
    label = torch.where(valid, target, 0).to(probabilities.dtype)
    overlap = _sum_pixels(probabilities * label)
    if mask_ignored:
        probabilities = probabilities * valid
    if squared:
        probabilities, label = probabilities.square(), label.square()
    number = _sum_pixels(valid).to(probabilities.dtype)
    return RegionSums(overlap, _sum_pixels(probabilities), _sum_pixels(label), number)


class _SoftmaxSums(torch.autograd.Function):
    """Sums of a softmax over pixels with their gradient in closed form: one tensor of the logits' size is kept.

    With a_k the gradient to overlap_k and b_k that to predicted_k, the gradient to p_k is q_k = b_k + a_k [k = y] (2
    b_k p_k in place of b_k in the squared form), and the gradient to the logits is p_k (q_k - sum_j p_j q_j).
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, index: Tensor, valid: Tensor, squared: bool, mask_ignored: bool
    ) -> tuple[Tensor, Tensor]:
        """Takes logits float [B,K,...], index int64 [B,...], valid bool [B,...]; returns overlap, predicted [B,K]."""
        p = logits.softmax(1)
        if mask_ignored:
            p = p.mul_(valid.unsqueeze(1))
        at_label = p.gather(1, index.unsqueeze(1)).squeeze(1) * valid
        ctx.save_for_backward(p, index, at_label)
        ctx.squared = squared
        flat = p.flatten(2)
        predicted = torch.linalg.vector_norm(flat, dim=2).square() if squared else flat.sum(2)
        return count_by_class(index, at_label, p.shape[1]), predicted

    @staticmethod
    def backward(ctx: Any, to_overlap: Tensor, to_predicted: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Takes the gradients float [B,K] to both sums; returns the gradient to the logits [B,K,...]."""
        p, index, at_label = ctx.saved_tensors
        spread = (-1,) + (1,) * (p.dim() - 2)
        b = to_predicted.unflatten(1, spread)
        grad = p * b
        if ctx.squared:
            grad = grad.mul_(p).mul_(2)
        a = to_overlap.gather(1, index.flatten(1)).view_as(at_label) * at_label
        mean = grad.sum(1) + a
        grad = grad.addcmul_(p, mean.unsqueeze(1), value=-1)
        grad = grad.scatter_add_(1, index.unsqueeze(1), a.unsqueeze(1))
        return grad, None, None, None, None

"""Overlaps of a prediction with its label, per image and class, without a one-hot copy of the label.

B batch, K classes, H W image. What Dice, Jaccard, Tversky and MCC are made of: with probabilities p and labels g of the
valid pixels, overlap = sum p g, predicted = sum p, true = sum g, each [B,K].
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision

ACTIVATIONS = ("softmax", "sigmoid", "none")


class RegionSums(NamedTuple):
    """overlap, predicted, true: float [B,K]; valid: float [B,K], the number of pixels that take part."""

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
    ignore: float = 255,
    mask_ignored: bool = True,
) -> RegionSums:
    """logits: float [B,K,H,W]; target: int64 [B,H,W] of class indices (for K = 1 of 0 and 1), or the logits' shape with
    values in 0..1; activation: one of ACTIVATIONS, "none" takes probabilities; squared: predicted = sum p^2 and
    true = sum g^2; mask_ignored: False leaves the prediction on ignored pixels in `predicted` (mmseg's Dice)."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation = {activation!r}: there are {', '.join(ACTIVATIONS)}")
    if activation == "softmax" and logits.shape[1] == 1:
        raise ValueError("a softmax over one class is constant: use activation='sigmoid' with one channel of logits")
    logits = full_precision(logits)
    if target.dim() == logits.dim() - 1 and logits.shape[1] == 1:
        target = target.unsqueeze(1)
    if target.dim() == logits.dim():
        return _dense_sums(_activate(logits, activation), target, squared, ignore, mask_ignored)
    valid = target != ignore
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
    """Sums values [B,H,W] over the pixels of each class of index int64 [B,H,W] -> [B,K].

    Each image row is summed for itself first: rows run in parallel and few numbers meet in one float32 sum.
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


def _dense_sums(probabilities: Tensor, target: Tensor, squared: bool, ignore: float, mask_ignored: bool) -> RegionSums:
    valid = target != ignore
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

    With L's gradients a_k to overlap_k and b_k to predicted_k, the gradient to p_k is q_k = b_k + a_k [k = y]
    (2 b_k p_k in the squared form) and to the logits p_k (q_k - sum_j p_j q_j).
    """

    @staticmethod
    def forward(ctx, logits: Tensor, index: Tensor, valid: Tensor, squared: bool, mask_ignored: bool):
        """logits: float [B,K,...]; index: int64 [B,...]; valid: bool [B,...] -> overlap [B,K], predicted [B,K]."""
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
    def backward(ctx, to_overlap: Tensor, to_predicted: Tensor):
        """to_overlap, to_predicted: float [B,K] -> the gradient to the logits [B,K,...]."""
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

"""What the losses between a student and the teacher of the step before share. B batch, C classes of the student, K of
the teacher, H W image."""

from torch import Tensor

from segkit.ops.averaging import mean_over


def num_old_classes(logits: Tensor, teacher_logits: Tensor, *, needs_new: bool) -> int:
    """-> K, the width of the teacher's logits; ValueError where C < K, or C = K and needs_new."""
    num_classes, num_old = logits.shape[1], teacher_logits.shape[1]
    if num_classes < num_old or (needs_new and num_classes == num_old):
        raise ValueError(
            f"the logits have {num_classes} classes and the teacher's {num_old}: the student has to know all classes "
            f"of the teacher{' and at least one more' if needs_new else ''}"
        )
    return num_old


def labelled_mean(
    values: Tensor, target: Tensor | None, *, pixel_weight: Tensor | None, average: str, ignore: int
) -> Tensor:
    """Mean of a loss over pixels; the ones labelled `ignore` count 0.

    values: float [B,H,W]; target: int64 [B,H,W], None where all pixels are valid; pixel_weight: float [B,H,W] or None,
    multiplies the values and leaves the divisor alone -> float [].
    """
    valid = values.new_ones(values.shape) if target is None else (target != ignore).to(values.dtype)
    weight = valid if pixel_weight is None else valid * pixel_weight
    return mean_over((values * weight).sum(), valid.sum(), values.numel(), average)

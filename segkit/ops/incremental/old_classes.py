"""Helpers of losses between a student and the teacher of the step before.

B batch, K classes of the student, K_old of the teacher, H W image.
"""

from torch import Tensor

from segkit.ops.averaging import mean_over


def num_old_classes(logits: Tensor, teacher_logits: Tensor, *, needs_new: bool) -> int:
    """Returns K_old, the number of channels of the teacher's logits, after checking it against the student's.

    Args:
        logits: float [B,K,H,W] of the student.
        teacher_logits: float [B,K_old,h,w].
        needs_new: whether the student must have classes that the teacher lacks.

    Raises:
        ValueError: where K < K_old, or K = K_old and needs_new.
    """
    num_classes, num_old = logits.shape[1], teacher_logits.shape[1]
    if num_classes < num_old or (needs_new and num_classes == num_old):
        raise ValueError(
            f"the student's logits have {num_classes} classes and the teacher's {num_old}: the student must have all "
            f"classes of the teacher{' and at least one more' if needs_new else ''}"
        )
    return num_old


def labelled_mean(
    values: Tensor, target: Tensor | None, *, pixel_weight: Tensor | None, average: str, ignore: int
) -> Tensor:
    """Averages a loss over pixels; those labelled `ignore` count as 0.

    Args:
        values: float [B,H,W], the loss of each pixel.
        target: int64 [B,H,W], or None where all pixels are valid.
        pixel_weight: float [B,H,W] or None; multiplies the values, but not the divisor.
        average: "valid", "all" or "global", see mean_over.
        ignore: label of pixels that take no part.

    Returns:
        float [].
    """
    valid = values.new_ones(values.shape) if target is None else (target != ignore).to(values.dtype)
    weight = valid if pixel_weight is None else valid * pixel_weight
    return mean_over((values * weight).sum(), valid.sum(), values.numel(), average)

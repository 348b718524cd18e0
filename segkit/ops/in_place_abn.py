"""Conversion between the weights of in-place activated batch normalization and the scales of batch normalization.

In-place ABN: Rota Bulo et al., CVPR 2018, https://arxiv.org/abs/1712.02616.
"""

from torch import Tensor

EPS = 1e-5
"""What in-place ABN adds to the absolute value of its weight."""


def in_place_scale(weight: Tensor) -> Tensor:
    """Converts a weight of in-place ABN to the scale of an equal batch normalization, |weight| + eps.

    The sign of a weight has no effect in in-place ABN. Without eps the logits of a deep network change visibly.

    Args:
        weight: float [C], of inplace_abn 1.0.11 or 1.1.0.

    Returns:
        float [C].
    """
    return weight.abs() + EPS


def in_place_weight(scale: Tensor) -> Tensor:
    """Converts the scale of a batch normalization to a weight of in-place ABN with that scale.

    Args:
        scale: float [C], not negative.

    Returns:
        float [C]; 0, which in-place ABN reads as a scale of eps, where the scale is below eps.

    Raises:
        ValueError: for a negative scale, which in-place ABN cannot have.
    """
    if bool((scale < 0).any()):
        raise ValueError(
            f"{int((scale < 0).sum())} of {len(scale)} scales are negative, which in-place ABN cannot represent; "
            "convert to plain batch normalization instead: 'mib_abn' or 'csseg_abn'"
        )
    return (scale - EPS).clamp(min=0)

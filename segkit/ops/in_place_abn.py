"""The scale of in-place activated batch normalization, Rota Bulo et al., CVPR 2018, https://arxiv.org/abs/1712.02616."""

from torch import Tensor

EPS = 1e-5


def in_place_scale(weight: Tensor) -> Tensor:
    """weight: float [C] of in-place ABN (inplace_abn 1.0.11 and 1.1.0) -> the scale batch normalization needs to do the
    same: |weight| + eps. The sign of a weight never shows there; the eps alone moves a deep net's logits visibly."""
    return weight.abs() + EPS


def in_place_weight(scale: Tensor) -> Tensor:
    """scale: float [C] of batch normalization -> a weight of in-place ABN with that scale. ValueError for a negative
    scale, which in-place ABN cannot have; one below eps becomes eps."""
    if bool((scale < 0).any()):
        raise ValueError(
            f"{int((scale < 0).sum())} of {len(scale)} scales are negative; in-place ABN has none: write the form 'abn'"
        )
    return (scale - EPS).clamp(min=0)

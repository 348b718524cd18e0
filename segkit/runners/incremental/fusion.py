"""Weights of a step fused with those of the step before: runner.fuse.

EWF: Xiao et al., Endpoints Weight Fusion for Class Incremental Semantic Segmentation, CVPR 2023. K classes before a
step, with the background, N new ones.
"""

import math

import torch
from torch import Tensor, nn

FUSIONS = ("endpoints",)
"""Values of runner.fuse: EWF's, the weights before a step and after it."""


def endpoint_share(num_old: int, num_new: int) -> float:
    """Returns the weight of the newest model, sqrt(N / (K + N)).

    Args:
        num_old: K.
        num_new: N.
    """
    return math.sqrt(num_new / (num_old + num_new))


@torch.no_grad()
def fuse_endpoints(model: nn.Module, old: dict[str, Tensor], *, num_old: int, num_new: int) -> None:
    """Replaces the weights of a model by (1 - a) old + a new, a of endpoint_share, in place.

    That holds for every number with a fraction that both have under one name, running statistics included; what is new
    in the step stays.

    Args:
        model: after the step.
        old: state dict before the step, by the names of the model.
        num_old: K.
        num_new: N.
    """
    share = endpoint_share(num_old, num_new)
    for name, value in model.state_dict().items():
        before = old.get(name)
        if before is not None and value.is_floating_point():
            value.mul_(share).add_(before.to(value.device, value.dtype), alpha=1 - share)

"""Depthwise convolution by kernels of each image's own, as DMNet (ICCV 2019) and CaC-Net
(https://arxiv.org/abs/2004.08222) predict them."""

import torch.nn.functional as F
from torch import Tensor


def convolve_each(x: Tensor, kernels: Tensor, *, dilation: int = 1) -> Tensor:
    """x: float [B,C,h,w]; kernels: float [B,C,s,s], s odd -> float [B,C,h,w]: each channel of each image convolved by
    its own kernel, with zeros around the map."""
    groups, size = x.shape[0] * x.shape[1], kernels.shape[-1]
    # One group per image and channel: all images in one convolution.
    filtered = F.conv2d(
        x.reshape(1, groups, *x.shape[-2:]),
        kernels.reshape(groups, 1, size, size).to(x.dtype),
        padding=size // 2 * dilation,
        dilation=dilation,
        groups=groups,
    )
    return filtered.reshape(x.shape)

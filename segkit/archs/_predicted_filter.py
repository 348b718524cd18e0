"""Depthwise convolution with kernels that are predicted for each image.

Used by DMNet (ICCV 2019) and CaC-Net (https://arxiv.org/abs/2004.08222).
"""

import torch.nn.functional as F
from torch import Tensor


def convolve_each(x: Tensor, kernels: Tensor, *, dilation: int = 1) -> Tensor:
    """Convolves each channel of each image with its own kernel.

    Args:
        x: float [B,C,h,w].
        kernels: float [B,C,s,s], s odd.
        dilation: dilation of all kernels.

    Returns:
        Float [B,C,h,w]; the map is padded with zeros.
    """
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

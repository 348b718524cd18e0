"""sRGB to CIE L*a*b* under D65 (2 degrees): IEC 61966-2-1 and CIE 15."""

import torch
from torch import Tensor

XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(image: Tensor) -> Tensor:
    """image: uint8 [B,3,H,W] -> float32 [B,3,H,W], L in 0..100; in float64 inside: a small difference of colours is
    what is asked of it."""
    value = image.double() / 255
    linear = torch.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    red, green, blue = linear.unbind(1)
    parts = []
    for weights, white in zip(XYZ_OF_RGB, WHITE):
        share = (weights[0] * red + weights[1] * green + weights[2] * blue) / white
        root = share.clamp_min(0.008856) ** (1 / 3)
        parts.append(torch.where(share > 0.008856, root, 7.787 * share + 16 / 116))
    x, y, z = parts
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1).float()

"""Canny's edges of images as an operator that torch.compile and torch.export take as one node.

A program that torch.export has saved is loaded after importing this module.

B batch, C channels, H W image.
"""

import numpy as np
import torch
from torch import Tensor


@torch.library.custom_op("segkit::canny", mutates_args=())
def canny(image: Tensor, low: float, high: float) -> Tensor:
    """Finds Canny's edges by OpenCV, on the CPU, with Sobel kernels of 3 x 3 and |dx| + |dy| as the gradient.

    Args:
        image: uint8 [B,C,H,W]; at each pixel the channel of the largest gradient counts.
        low, high: thresholds of the gradient: above `high` an edge begins, and it goes on above `low`.

    Returns:
        float32 [B,1,H,W] on the image's device: 255 on edges, 0 elsewhere. It has no gradient.
    """
    import cv2

    pixels = image.detach().permute(0, 2, 3, 1).cpu().numpy()
    edges = np.stack([cv2.Canny(np.ascontiguousarray(picture), low, high) for picture in pixels])
    return torch.from_numpy(edges).unsqueeze(1).to(image.device, torch.float32)


@canny.register_fake
def _(image: Tensor, low: float, high: float) -> Tensor:
    return torch.empty(image.shape[0], 1, *image.shape[2:], dtype=torch.float32, device=image.device)

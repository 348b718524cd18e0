"""Published outputs of CRFs on real crops of 16x16 and 64x64 pixels with 4 classes; of the larger every second pixel.

pydensecrf 2723c7fa, ConvCRF 09306378, and exact sums over all pairs of pixels in float64.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "fixtures" / "refine"


@lru_cache(maxsize=2)
def outputs(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def image(size: int) -> Tensor:
    return torch.from_numpy(outputs("dense_crf")[f"image{size}"]).permute(2, 0, 1)[None].float()


def logits(size: int) -> Tensor:
    return torch.from_numpy(outputs("dense_crf")[f"logits{size}"])[None]


def stored(x: Tensor) -> Tensor:
    """What the files hold of a map [1,K,H,W]."""
    return x[0, :, ::2, ::2] if x.shape[-1] == 64 else x[0]


def two_colors(noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """A red disc on blue, 64x80 pixels, and its sure mask, float [1,2,64,80]."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    disc = ((y - 30) ** 2 + (x - 42) ** 2 < 20**2).float()
    pixels = torch.stack([disc * 200, disc * 0 + 40, (1 - disc) * 200])[None]
    grain = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3)) * noise
    return (pixels + grain).clamp(0, 255), torch.stack([1 - disc, disc])[None]


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())

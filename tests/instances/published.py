"""Published numbers of box-supervised methods as tensors, and how far ours are from them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "fixtures" / "box2mask"


def load(topic: str) -> dict[str, Tensor]:
    """tests/fixtures/box2mask/<topic>.npz -> its arrays; half precision (rounded inputs) as float32."""
    with np.load(FOLDER / f"{topic}.npz") as arrays:
        tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def off(ours: Tensor, published: Tensor) -> float:
    """Largest difference over the largest published number."""
    assert ours.shape == published.shape, (ours.shape, published.shape)
    return float((ours.detach() - published).abs().max() / published.abs().max())

"""Numbers of methods that learn from boxes, points and scribbles, as stored in tests/fixtures/boxes."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "fixtures" / "boxes"


def load(topic: str) -> dict[str, Tensor]:
    """<topic>.npz -> its arrays; half precision (rounded inputs) as float32."""
    with np.load(FOLDER / f"{topic}.npz") as arrays:
        tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def load_json(topic: str) -> dict:
    return json.loads((FOLDER / f"{topic}.json").read_text(encoding="utf-8"))


def unpacked(bits: Tensor, width: int) -> Tensor:
    """uint8 packed along the last axis -> bool [...,width]."""
    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, count=width).astype(bool))

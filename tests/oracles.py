"""Published reference outputs under weights that anyone can make again: each tensor follows from its published name."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.registry import build_model

ROOT = Path(__file__).parents[1]
TOLERANCE = 3e-5
"""Of the whole tensor's standard deviation; the references' own noise is a fifth of it."""

ENCODERS = ("backbone.layer", "encoder.layer")


@contextmanager
def threads(number: int) -> Iterator[None]:
    """torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fixture(topic: str, model: str) -> tuple[dict, dict[str, np.ndarray]]:
    """-> dict(names, outputs, ...) and the stored slices of tests/fixtures/<topic>/<model>."""
    folder = Path(__file__).parent / "fixtures" / topic
    content = json.loads(gzip.decompress((folder / f"{model}.json.gz").read_bytes()))
    with np.load(folder / f"{model}.npz") as arrays:
        return content, {name: arrays[name] for name in arrays.files}


def weights_of(names: dict[str, list[int]]) -> dict[str, Tensor]:
    """Published names and shapes -> the reference's weights."""
    return {
        name: (_kept if name.startswith(ENCODERS) else _weight)(name, tuple(shape)) for name, shape in names.items()
    }


@lru_cache(maxsize=700)
def _kept(name: str, shape: tuple[int, ...]) -> Tensor:
    """Of encoders, which several references share: making the numbers takes longer than using them."""
    with torch.inference_mode(False):  # the first to ask may run in it, and others need gradients
        return _weight(name, shape)


def _weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers seeded by the name's checksum, scaled by what the tensor is for."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode()) & (2**31 - 1)).standard_normal(shape)
    if name.endswith(".running_var"):
        value = 1 + np.abs(normal) / 10
    elif name.endswith((".running_mean", "bias")):
        value = normal * 0.1
    elif len(shape) > 1:
        value = normal * np.sqrt(1 / np.prod(shape[1:]))
    else:
        value = 1 + normal * 0.1 if shape else 0.5
    return torch.from_numpy(np.asarray(value, np.float32))


def reference_model(config: str, key_map: str, names: dict, options: tuple[str, ...]) -> nn.Module:
    """A model of configs/_base_/models with the reference's weights, in eval; its input is normalized already."""
    path = ROOT / "configs/_base_/models" / f"{config}.py"
    cfg = load_config(path, ["model.backbone.pretrained=None"] * _is_timm(path) + list(options))
    with torch.device("meta"):
        model = build_model(cfg["model"])
    keys = load_map(key_map)
    keys.check({name: tuple(shape) for name, shape in names.items()}, model.state_dict())
    kept = {name: shape for name, shape in names.items() if keys.rename(name)[0] is not None}
    model.load_state_dict(keys.apply(weights_of(kept)), strict=True, assign=True)
    model.mean, model.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    return model.eval()


def _is_timm(path: Path) -> bool:
    return 'type="Timm"' in path.read_text()


def image(seed: int, size: tuple[int, int]) -> Tensor:
    """The reference's input of that seed, float32 [1,3,H,W]."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((1, 3, *size)).astype(np.float32))


def error(ours: Tensor, stored: np.ndarray, entry: dict) -> float:
    """Largest difference on the stored slice, in standard deviations of the whole tensor."""
    index = tuple(_slice(part) for part in entry["slice"].strip("[]").split(","))
    part = ours[index].numpy()
    assert part.shape == stored.shape, (part.shape, stored.shape)
    return float(np.abs(part - stored).max() / entry["std"])


def _slice(text: str) -> slice:
    parts = [int(part) if part.strip() else None for part in text.split(":")]
    return slice(*parts)

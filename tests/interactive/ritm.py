"""RITM's networks as the references have them: variants, weights that follow from names, inputs."""

import json
import lzma
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segkit.convert.keymap import load_map
from segkit.convert.ritm_file import model_section
from segkit.registry import build_model

FIXTURES = Path(__file__).parents[1] / "fixtures/ritm"
TINY = FIXTURES / "tiny_hrnet_w4.pth"
"""A file in the official form: half precision, HRNet of width 4."""


@lru_cache
def networks() -> dict[str, dict]:
    """Variant -> shapes, config (as in an official file), slow, params, giga; fixtures/pack_ritm.py says what."""
    return json.loads(lzma.decompress((FIXTURES / "networks.json.xz").read_bytes()))


@lru_cache(maxsize=3000)
def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers seeded by the published name's checksum, scaled by what the tensor is for."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if leaf == "running_var":
        value = 1 + np.abs(normal) / 10
    elif leaf in ("running_mean", "bias"):
        value = normal / 10
    else:
        value = normal / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1 + normal / 10
    return torch.from_numpy(value.astype(np.float32))


def published_weights(variant: str) -> dict[str, Tensor]:
    return {name: weight(name, tuple(shape)) for name, shape in networks()[variant]["shapes"].items()}


def model_of(variant: str) -> nn.Module:
    """The network its official description names, with the reference's weights, in eval."""
    with torch.device("meta"):
        model = build_model(model_section(networks()[variant]["config"]))
    own = {name: value.clone() for name, value in load_map("ritm").apply(published_weights(variant)).items()}
    model.load_state_dict(own, strict=True, assign=True)
    mean, std = model.backbone.mean, model.backbone.std
    model.mean, model.std = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1)
    return model.eval()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """-> image float32 [2,3,96,128] in 0..255, clicks [2,12,3] of six per sign, previous [2,1,96,128]."""
    y, x = np.mgrid[0:96, 0:128].astype(np.float64)
    waves = [[np.sin((y * (b + 1) + x * (c + 2)) / (7 + 3 * c + 5 * b)) for c in range(3)] for b in range(2)]
    blobs = [[np.exp(-(((y - 38.4) / 20) ** 2 + ((x - 128 * (0.3 + 0.3 * b)) / 30) ** 2))] for b in range(2)]
    clicks = torch.full((2, 12, 3), -1.0)
    clicks[0, 0], clicks[0, 1] = torch.tensor([30, 40, 0]), torch.tensor([50.4, 60.6, 2])
    clicks[0, 6] = torch.tensor([80, 100, 1])
    clicks[1, 0], clicks[1, 6], clicks[1, 7] = torch.tensor([[0, 0, 0], [95, 127, 1], [48, 3, 2]])
    image = torch.from_numpy(0.5 + 0.5 * np.array(waves)).float() * 255
    return image, clicks, torch.from_numpy(np.array(blobs)).float()

"""SimpleClick's and SegNext's networks as the references have them: weights that follow from names, inputs, taps."""

import gzip
import json
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.registry import build_model
from tests.archs_table import MODELS

FIXTURES = Path(__file__).parents[1] / "fixtures/simpleclick"

NETWORKS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "simpleclick_xtiny448": ("simpleclick", "simpleclick_xt", ()),
    "simpleclick_base448": ("simpleclick", "simpleclick_b", ()),
    "simpleclick_base448_x4": ("simpleclick_x4", "simpleclick_b", ("model.head.upsample=4",)),
    "simpleclick_base896": (
        *("simpleclick", "simpleclick_b"),
        ("model.backbone.img_size=[896,896]", "model.neck.channels=[256,256,256,256]"),
    ),
    "simpleclick_huge448": ("simpleclick", "simpleclick_h", ()),
    "segnext_base448_sax2": ("segnext_clicks", "segnext_clicks_b", ("model.backbone.img_size=[448,448]",)),
    "segnext_base448_sax1": (
        *("segnext_clicks", "segnext_clicks_b"),
        ("model.backbone.img_size=[448,448]", "model.fusion_depth=1"),
    ),
    "segnext_base448_naive": (
        *("segnext_clicks", "segnext_clicks_b"),
        ("model.backbone.img_size=[448,448]", "model.fusion_depth=0"),
    ),
    "segnext_base1024_sax2": ("segnext_clicks", "segnext_clicks_b", ()),
}
"""Published network -> key map, file of configs/_base_/models, what differs from it."""


@lru_cache
def published(name: str) -> dict:
    """{"shapes": {official name: shape}, "stats": parameters, unused ones, giga multiply-adds}."""
    return json.loads(gzip.decompress((FIXTURES / "networks.json.gz").read_bytes()))[name]


def weight(name: str, shape: list[int]) -> Tensor:
    """Normal numbers seeded by the official name's checksum, scaled by what the tensor is for."""
    normal = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if name.endswith("bias"):
        value = normal / 10
    elif "pos_embed" in name or "cls_token" in name:
        value = normal / 5
    elif len(shape) > 1:
        value = normal * np.sqrt(1 / np.prod(shape[1:]))
    else:
        value = 1 + normal / 10
    return torch.from_numpy(np.asarray(value, np.float32))


def section(name: str) -> dict:
    """The section `model` of a published network, without weights to fetch."""
    _, base, options = NETWORKS[name]
    return load_config(MODELS / f"{base}.py", ["num_classes=1", "model.backbone.pretrained=None", *options])["model"]


def empty(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(section(name))


def model_of(name: str) -> nn.Module:
    """The network with the weights that follow from the official names, in evaluation mode."""
    model = empty(name)
    official = {key: weight(key, shape) for key, shape in published(name)["shapes"].items()}
    model.load_state_dict(load_map(NETWORKS[name][0]).apply(official), strict=True, assign=True)
    model.mean, model.std = (torch.tensor(v).view(1, -1, 1, 1) for v in (model.backbone.mean, model.backbone.std))
    return model.eval()


def inputs(height: int, width: int, batch: int, points: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Returns image float32 [B,3,H,W] in 0..255, clicks [B,2 * points,3], and previous probabilities [B,1,H,W]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [[np.sin((y * (b + 1) + x * (c + 2)) / (7 + 3 * c + 5 * b)) for c in range(3)] for b in range(batch)]
    blobs = [
        [np.exp(-(((y - height * 0.4) / (height * 0.2)) ** 2 + ((x - width * center) / (width * 0.25)) ** 2))]
        for center in (0.3 + 0.3 * (b % 2) for b in range(batch))
    ]
    clicks = torch.full((batch, 2 * points, 3), -1.0)
    first = (((0.31, 0.31, 0), (0.52, 0.47, 2)), ((0.83, 0.78, 1),))
    second = (((0.0, 0.0, 0),), ((0.99, 0.99, 1), (0.5, 0.02, 2)))
    for b in range(batch):
        for sign, rows in enumerate((first, second)[b % 2]):
            for j, (row, column, order) in enumerate(rows):
                clicks[b, sign * points + j] = torch.tensor([int(row * height), int(column * width), order])
    image = torch.from_numpy((0.5 + 0.5 * np.array(waves)).astype(np.float32)) * 255
    return image, clicks, torch.from_numpy(np.array(blobs).astype(np.float32))


def thinned(values: Tensor, most: int) -> np.ndarray:
    """Rows and columns of a map at the smallest common stride that keeps at most so many positions."""
    height, width = values.shape[-2:]
    stride = next(s for s in range(1, 999) if -(-height // s) * -(-width // s) <= most)
    return values[..., ::stride, ::stride].numpy()


def tokens(values: Tensor) -> np.ndarray:
    """Some tokens and channels of float [B,N,C]."""
    return values[:, :: max(values.shape[1] // 12, 1), :: max(values.shape[2] // 16, 1)].numpy()


def cells(values: Tensor) -> np.ndarray:
    """Some channels and positions of float [B,C,h,w]."""
    return values[:, :: values.shape[1] // 8, :: values.shape[2] // 6, :: values.shape[3] // 6].numpy()

"""Weights by the rule of the measured class steps, and networks small enough to train in a test."""

import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs.mib_deeplab import MiBDeepLabHead
from segkit.models.bases import Backbone
from segkit.models.growing_segmentor import GrowingSegmentor

FOLDER = Path(__file__).parents[1] / "fixtures/steps"


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name) as arrays:
        return {key: arrays[key] for key in arrays.files}


def by_rule(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weights of an entry by its published name."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        return torch.rand(shape, generator=generator) + 0.5
    if len(shape) == 4:
        return torch.randn(shape, generator=generator) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
    if key.endswith("weight"):
        return torch.rand(shape, generator=generator) * 0.2 + (0.2 if "bn3" in key or "proj_bn" in key else 0.9)
    return torch.randn(shape, generator=generator) * 0.1


class Body(Backbone):
    """Convolution of stride 4 with an activated normalization, as the measured tiny network of MiB's code."""

    mean, std = (127.5,) * 3, (63.75,) * 3
    channels, strides = (8,), (4,)

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, stride=4, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        return [F.leaky_relu(self.bn(self.conv(image)), 0.01)]


def mib_net(**steps: tuple[int, ...]) -> GrowingSegmentor:
    """Four classes at first; weights by the rule."""
    head = MiBDeepLabHead((8,), 4, channels=6, hidden=5, pooling=32)
    model = GrowingSegmentor(4, Body(), head, **steps)
    load_published(model, {})
    return model


def published_name(name: str) -> str:
    """Of an entry of mib_net in MiB's code."""
    name = name.replace("backbone.", "body.").replace("head.classifier.steps.", "cls.")
    return name.replace("head.classifier.", "cls.0.")


def load_published(model: GrowingSegmentor, weights: dict[str, np.ndarray]) -> None:
    """Loads entries by their published names; the others are by the rule."""
    state = model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            key = published_name(name)
            value.copy_(torch.from_numpy(weights[key]) if key in weights else by_rule(key, tuple(value.shape)))


def train(model: nn.Module, batches, losses, rate: float, epochs: int = 2) -> list[float]:
    """SGD with the poly schedule over all batches; returns the mean of the first loss of each epoch."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate, momentum=0.9, nesterov=True, weight_decay=1e-4)
    total, means = epochs * len(batches), []
    model.train()
    for epoch in range(epochs):
        values = []
        for number, (image, label) in enumerate(batches):
            done = epoch * len(batches) + number
            optimizer.param_groups[0]["lr"] = rate * (1 - done / total) ** 0.9
            value, added = losses(image, label)
            optimizer.zero_grad()
            (value + added).backward()
            optimizer.step()
            values.append(float(value.detach()))
        means.append(sum(values) / len(values))
    return means


def mib_batches(step: int) -> list[tuple[Tensor, Tensor]]:
    """The three batches of a step."""
    arrays = stored("ewf_mib.npz")
    images = torch.from_numpy(arrays[f"batch/step{step}/images_u8"])
    labels = torch.from_numpy(arrays[f"batch/step{step}/labels_3x3"].astype(np.int64))
    labels = labels.repeat_interleave(11, 1).repeat_interleave(11, 2)
    return [(images[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)]


def resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)

"""Checkpoints of random weights and a head that finds fixed objects, for the commands of the labelling loop."""

from pathlib import Path

import torch
from torch import Tensor, nn

from segkit.engine import checkpoint
from segkit.models.bases import InstanceHead
from segkit.types import Found, Meta, Outputs
from tests.exported import checkpoint_of, config

SCORES = (0.9, 0.6, 0.02)
LABELS = (1, 0, 1)


class ThreeObjects(InstanceHead):
    """Finds the left half (class 1, score .9), the upper half (class 0, .6) and a pixel (class 1, .02) of any."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(in_channels[-1], num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        return {"logits": self.classifier(features[-1])}

    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        found = []
        for height, width in (one["size"] for one in meta):
            masks = torch.zeros(3, height, width, dtype=torch.bool)
            masks[0, :, : width // 2] = True
            masks[1, : height // 2] = True
            masks[2, -1, -1] = True
            found.append(Found(torch.tensor(SCORES), torch.tensor(LABELS), masks, torch.zeros(3, 4)))
        return found


def semantic(path: Path, seed: int = 0) -> Path:
    """A checkpoint of six classes."""
    net = checkpoint_of(config(), path)
    if seed:
        content = checkpoint.read_any(path)
        torch.manual_seed(seed)
        net.head.classifier.weight.data += 0.5 * torch.randn_like(net.head.classifier.weight)
        checkpoint.save(path, {**content, "model": net.state_dict()})
    return path


def instances(path: Path) -> Path:
    """A checkpoint of two classes, trees and cars."""
    cfg = config(2, runner=dict(type="BoxSupervised", divisor=1))
    cfg["model"]["head"] = dict(type="tests.labelling.made:ThreeObjects")
    checkpoint_of(cfg, path, ["tree", "car"])
    return path

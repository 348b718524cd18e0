"""Stand-ins for a trained cascade: the one of the published numbers, and one that keeps the mask."""

from pathlib import Path

import torch
from torch import Tensor

from segkit.engine import checkpoint
from segkit.models.cascade_segmentor import CascadeSegmentor
from segkit.registry import build_model

TINY = dict(
    type="CascadeSegmentor",
    num_classes=1,
    backbone=dict(type="TimmRawStem", name="resnet18", dilations=((1, 2), (1, 4))),
    head=dict(type="CascadePSPHead", channels=8, up_channels=(8, 8, 4), mask_channels=4),
)


class Published:
    """The network of the published numbers of inference: a formula that sees all of its inputs."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, image: Tensor, coarse: Tensor, os8: Tensor | None, os4: Tensor | None) -> tuple[Tensor, Tensor]:
        self.sizes.append((coarse.shape[-2], coarse.shape[-1]))
        final = (2 * coarse + 0.5 * image.mean(1, keepdim=True)).sigmoid()
        if os8 is not None:
            final = 0.5 * final + 0.25 * (os8 + 1)
        if os4 is not None:
            final = 0.9 * final + 0.05 * (os4 + 1)
        return final, 0.75 * final


def keeps(image: Tensor, coarse: Tensor, os8: Tensor | None, os4: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gives back the coarse mask."""
    return (coarse + 1) / 2, (coarse + 1) / 2


def saved(folder: Path) -> str:
    """A checkpoint of a small network with random weights."""
    torch.manual_seed(0)
    network = build_model(TINY)
    assert isinstance(network, CascadeSegmentor)
    path = folder / "tiny.pt"
    checkpoint.save(path, dict(model=network.state_dict(), config={"model": TINY}, classes=["background", "object"]))
    return str(path)

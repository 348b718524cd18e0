"""Click maps by the published clickability network.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 4. H W image.
"""

import functools
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from segkit.convert.keymap import load_map
from segkit.convert.published import read_published
from segkit.files import DataError
from segkit.models.clickability_network import ClickabilityNetwork
from segkit.ops.interactive.click_density import as_input, letter_box
from segkit.registry import ConfigError, build_model

MODEL = dict(
    type="ClickabilityNetwork",
    num_classes=1,
    backbone=dict(type="MSCAN", channels=(64, 128, 320, 512), depths=(3, 3, 12, 3)),
    head=dict(type="LightHamHead", channels=512, levels=4, fixed_bases=True),
)
"""The published network, 27.6 million parameters."""


@functools.lru_cache(maxsize=1)
def load_clickability(path: str | Path, device: torch.device) -> ClickabilityNetwork:
    """Loads the published clickability network.

    Args:
        path: its .pth file; nothing in it is executed.
        device: where it goes.

    Returns:
        The network in evaluation mode.

    Raises:
        DataError: the file is damaged, or of another network.
    """
    weights, _ = read_published(path)
    network = build_model(MODEL)
    keys = load_map("rclicks")
    try:
        keys.check({name: tuple(value.shape) for name, value in weights.items()}, network.state_dict())
    except ConfigError as error:
        raise DataError(f"{path}: is no clickability network of RClicks ({error})") from error
    network.load_state_dict(keys.apply(weights), strict=True)
    return cast(ClickabilityNetwork, network.to(device).eval())


@torch.no_grad()
def predict_click_map(
    network: ClickabilityNetwork, image: Tensor, mask: np.ndarray, error: np.ndarray, *, side: int = 416
) -> np.ndarray:
    """Predicts how likely users click each pixel of an image.

    Args:
        network: in evaluation mode.
        image: uint8, or float in 0..255, RGB [3,H,W].
        mask: bool [H,W], the object.
        error: bool [H,W], the part that is missed or too much; the object itself before the first click.
        side: of the square that the image is fitted into, in pixels.

    Returns:
        float32 [H,W] in 0..1.
    """
    height, width = image.shape[-2:]
    box, device = letter_box((height, width), side), network.mean.device
    # zeros around the image are the mean color, as in the published code
    normalized = network.normalize(image[None].to(device))[0].permute(1, 2, 0).cpu().numpy()
    masks = torch.cat([as_input(box, mask), as_input(box, error)], dim=1)
    found = network.click_maps(as_input(box, normalized).to(device), masks.to(device))
    return box.restore(found)[0, 0].clamp_min(0).cpu().numpy()

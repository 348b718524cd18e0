"""Proposed regions as one more channel of the images that a network takes (MicroSeg)."""

import torch
from torch import Tensor

from segkit.registry import ConfigError
from segkit.settings import InferenceSettings, TTASettings
from segkit.types import Batch


def with_proposals(batch: Batch) -> Batch:
    """Returns a batch whose images have the numbers of proposed regions as their last channel, where it holds some."""
    if "proposals" not in batch:
        return batch
    return Batch(**{**batch, "image": as_input(batch["image"], batch["proposals"])})


def as_input(image: Tensor, proposals: Tensor) -> Tensor:
    """Puts proposed regions, uint8 [B,H,W], behind the channels of images [B,C,H,W], of whose dtype they become."""
    return torch.cat([image, proposals.unsqueeze(1).to(image.dtype)], 1)


def check_inference(inference: InferenceSettings) -> None:
    """Checks that predictions keep the numbers of regions as they are.

    Raises:
        ConfigError: views of other sizes are averaged, or images are padded.
    """
    scales = TTASettings(**inference.tta).scales if inference.tta is not None else (1.0,)
    if any(scale != 1 for scale in scales) or inference.pad_divisor > 1:
        raise ConfigError(
            "inference: proposed regions (runner.proposals) are numbers, which views of other sizes and padded images "
            "would change; leave out inference.pad_divisor and set inference.tta.scales to [1.0]"
        )

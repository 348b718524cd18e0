"""A pass of the teacher over all training images before a step, for losses that measure something there (PLOP)."""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn
from torch import Tensor

from segkit import dist
from segkit.data.loader import to_device, train_loader
from segkit.models.segmentor import Segmentor
from segkit.runners.incremental.proposals import with_proposals

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


def unready_losses(loop: "Loop") -> list[Any]:
    """Returns the losses that need a pass over the training images before the step, and have had none."""
    # a loss from outside segkit may be any module
    return [loss for loss in loop.criterion.losses if not getattr(loss, "is_ready", True)]


@torch.no_grad()
def observe(teacher: Segmentor, losses: list[Any], loop: "Loop", num_outputs: int) -> None:
    """Shows the teacher's logits of all training images, augmented as in the first epoch, to losses.

    Args:
        teacher: in evaluation mode.
        losses: with `observe` and `finish`.
        loop: of the step.
        num_outputs: of the model of the step.
    """
    data = loop.data_settings
    images = train_loader(
        loop.items,
        loop.sampler,
        batch_size=data.batch_size,
        workers=data.workers,
        timeout=data.timeout,
        rank=dist.rank(),
        world_size=dist.world_size(),
    )
    for _ in range(-(-len(loop.dataset) // (data.batch_size * dist.world_size()))):
        batch = with_proposals(to_device(next(images), loop.device))
        logits = teacher(batch["image"])["logits"].float()
        mask = batch["mask"]
        assert isinstance(mask, Tensor)  # training masks are stacked
        size = tuple(mask.shape[-2:])
        logits = nn.functional.interpolate(logits, size, mode="bilinear", align_corners=teacher.align_corners)
        for loss in losses:
            loss.observe(logits, mask, num_outputs)
    for loss in losses:
        loss.finish()

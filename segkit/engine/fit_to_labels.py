"""Layers that start from the training labels instead of chance."""

from itertools import islice
from typing import Any

import torch

from segkit import dist
from segkit.data.loader import train_loader
from segkit.types import IGNORE


@torch.no_grad()
def fit_to_labels(loop: Any) -> None:
    """Gives a head that has fit(masks, ignore), fit_images and is_fitted the masks of that many training images, as the
    first steps see them, all of a smaller data set. The main process fits, all take its weights.

    A head that is fitted stays as it is: its weights were resumed, or came with section `init`.
    """
    head = getattr(loop.raw_model, "head", None)
    if not getattr(head, "fit_images", 0) or bool(head.is_fitted):
        return
    if dist.is_main():
        data = loop.data_settings
        batches = train_loader(loop.items, loop.sampler, batch_size=data.batch_size, workers=data.workers)
        count = -(-min(head.fit_images, len(loop.dataset)) // data.batch_size)
        masks = (batch["mask"] for batch in islice(batches, count))
        head.fit(masks, getattr(loop.dataset, "ignore", IGNORE))
    for tensor in (*head.parameters(), *head.buffers()):
        tensor.copy_(dist.all_reduce_sum(tensor if dist.is_main() else torch.zeros_like(tensor)))
    if loop.ema:
        loop.ema.module.load_state_dict(loop.raw_model.state_dict())

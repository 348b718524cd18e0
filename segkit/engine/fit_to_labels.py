"""Layers that start from the training labels instead of chance."""

from itertools import islice
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from segkit import dist
from segkit.data.loader import train_loader
from segkit.models.bases import Head

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


@torch.no_grad()
def fit_to_labels(loop: "Loop") -> None:
    """Shows training masks to a head that starts from labels (`Head.fit`); other heads stay as they are.

    The head sees `fit_images` masks as the first steps see them, all of a smaller data set. The main process fits, all
    processes take its weights. A head that is fitted already, because its weights were resumed or came with section
    `init`, stays as it is.
    """
    head = getattr(loop.raw_model, "head", None)  # models of several stages have none of their own
    if not isinstance(head, Head) or not head.fit_images or bool(head.is_fitted):
        return
    if dist.is_main():
        data = loop.data_settings
        batches = train_loader(
            loop.items, loop.sampler, batch_size=data.batch_size, workers=data.workers, timeout=data.timeout
        )
        count = -(-min(head.fit_images, len(loop.dataset)) // data.batch_size)
        masks = (cast(Tensor, batch["mask"]).long() for batch in islice(batches, count))
        head.fit(masks, loop.dataset.ignore)
    for tensor in (*head.parameters(), *head.buffers()):
        tensor.copy_(dist.all_reduce_sum(tensor if dist.is_main() else torch.zeros_like(tensor)))
    if loop.ema:
        loop.ema.module.load_state_dict(loop.raw_model.state_dict())

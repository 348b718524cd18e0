"""How well a click model does on the batches it is trained on, beside the losses in the log."""

from typing import Any

from torch import Tensor

from segkit.engine.hooks import TRAIN_IOU, Hook
from segkit.metrics.adaptive_iou import AdaptiveIoU
from segkit.models.layers import resize
from segkit.registry import HOOKS, ConfigError


@HOOKS.register
class TrainIoU(Hook):
    """Adds the term "train_iou" (percent, from the second step on) to the log: AdaptiveIoU of each batch.

    on: key of the model's outputs, one channel of logits; target: key of the batch, object 1, ignored -1. It reads what
    the criterion is given, after the forward pass, and changes nothing.
    """

    adds_terms = True

    def __init__(self, on: str = "logits", target: str = "mask"):
        self.on, self.target = on, target
        self.metric = AdaptiveIoU()
        self._criterion: Any = None
        self._align_corners = False

    def after_step(self, loop: Any, terms: dict[str, Tensor]) -> None:
        """Attaches itself to the criterion of each stage; then gives the last batch's IoU."""
        if self._criterion is loop.criterion:
            terms[TRAIN_IOU] = 100 * self.metric.latest
            return
        self._criterion, self._align_corners = loop.criterion, loop.raw_model.align_corners
        loop.criterion.register_forward_hook(self._update)

    def _update(self, criterion: Any, inputs: tuple, terms: dict) -> None:
        outputs, batch, _ = inputs
        for store, key, name in ((outputs, self.on, "on"), (batch, self.target, "target")):
            if key not in store:
                raise ConfigError(f"TrainIoU.{name} = '{key}': there is no such key; there are: {', '.join(store)}")
        logits, target = outputs[self.on].detach(), batch[self.target]
        if logits.shape[1] != 1:
            raise ConfigError(f"TrainIoU.on = '{self.on}': it has {logits.shape[1]} channels, one is scored")
        self.metric.update(resize(logits.float(), like=target, align_corners=self._align_corners), target)

"""The IoU of a click model on its training batches, beside the losses in the log."""

from typing import TYPE_CHECKING

from torch import Tensor

from segkit.criterion import Criterion
from segkit.engine.hooks import Hook
from segkit.metrics.adaptive_iou import AdaptiveIoU
from segkit.models.layers import resize
from segkit.registry import HOOKS, ConfigError

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


TRAIN_IOU = "train_iou"
"""Name of the term in the log."""


@HOOKS.register
class TrainIoU(Hook):
    """Logs the IoU of each training batch as "train_iou" (AdaptiveIoU, in percent, from the second step on).

    It reads what the criterion is given, after the forward pass, and changes nothing.

    Args:
        on: the model's output that is scored, one channel of logits.
        target: entry of the batch, object 1, ignored -1.
    """

    adds_terms = (TRAIN_IOU,)

    def __init__(self, on: str = "logits", target: str = "mask"):
        self.on, self.target = on, target
        self.metric = AdaptiveIoU()
        self._criterion: Criterion | None = None
        self._align_corners = False

    def after_step(self, loop: "Loop", terms: dict[str, Tensor]) -> None:
        """Attaches itself to the criterion of each new stage; otherwise adds the last batch's IoU."""
        if self._criterion is loop.criterion:
            terms[TRAIN_IOU] = 100 * self.metric.latest
            return
        self._criterion, self._align_corners = loop.criterion, loop.raw_model.align_corners
        loop.criterion.register_forward_hook(self._update)

    def _update(self, criterion: Criterion, inputs: tuple, terms: dict[str, Tensor]) -> None:
        outputs, batch, _ = inputs
        for store, key, name in ((outputs, self.on, "on"), (batch, self.target, "target")):
            if key not in store:
                raise ConfigError(f"TrainIoU.{name} = '{key}': no such key; available: {', '.join(store)}")
        logits, target = outputs[self.on].detach(), batch[self.target]
        if logits.shape[1] != 1:
            raise ConfigError(
                f"TrainIoU.on = '{self.on}': this output has {logits.shape[1]} channels; name one of 1 channel"
            )
        self.metric.update(resize(logits.float(), like=target, align_corners=self._align_corners), target)

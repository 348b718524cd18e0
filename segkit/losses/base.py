"""Base class of the losses of segkit."""

from typing import Any, ClassVar

from torch import Tensor, nn

from segkit.registry import ConfigError

OBJECTS_VARY = "each image has its own number of objects, and every number would be compiled anew"
"""Loss.no_compile of losses of objects."""


class Loss(nn.Module):
    """A loss of model outputs and targets.

    `forward` takes the outputs that the row names in `on`, then the batch entries that it names in `target`, and
    returns a float32 scalar or a dictionary of them. Losses from outside segkit may be any `nn.Module` with such a
    `forward`. An argument `ignore` that a config leaves open is given the data set's ignore value.

    Attributes:
        row: `on`, `target` and `at` of the loss's row in section `losses`; a config overrides single keys.
        supervision: what the masks of the training data must be, "boxes" (filled boxes) or "masks" (outlines);
            None accepts both.
        one_channel: what to use instead where the model has one channel (num_classes = 1), of which a softmax is always
            1; "" where the loss takes one channel.
        no_compile: why `loop.compile` leaves the loss as it is; "" where torch.compile makes one graph of it.
    """

    row: ClassVar[dict[str, Any]] = {}
    supervision: ClassVar[str | None] = None
    one_channel: ClassVar[str] = ""
    no_compile: ClassVar[str] = ""

    @classmethod
    def instead_of_one_channel(cls, arguments: dict[str, Any]) -> str:
        """Returns what to use instead where the model has one channel; "" where the loss takes it.

        Args:
            arguments: of the loss in the config.
        """
        return cls.one_channel

    def need_channels(self, logits: Tensor) -> None:
        """Raises ConfigError where the loss cannot be computed from logits [B,1,H,W]."""
        if logits.shape[1] == 1 and self.one_channel:
            raise ConfigError(refusal_of_one_channel(type(self).__name__, self.one_channel))

    @property
    def is_ready(self) -> bool:
        """Whether the loss can be computed now; False while it needs a pass over the training images first."""
        return True


def refusal_of_one_channel(loss: str, instead: str) -> str:
    """Returns the sentence that refuses a loss of several classes where the model has one channel."""
    return (
        f"{loss}: the softmax over the one channel of model.num_classes = 1 is always 1, so that nothing is trained; "
        f"use {instead}, or model.num_classes = 2"
    )


class PixelLoss(Loss):
    """A loss that can also be computed for single pixels, as OHEM does.

    Attributes:
        ignore: value of the target that is left out; None leaves out 255 and -1.
    """

    ignore: float | None

    def pixels(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the loss of each pixel.

        Args:
            logits: float [B,K,H,W].
            target: as of `forward`.

        Returns:
            The losses, float [B,H,W], 0 on ignored pixels, and the weight of each pixel in the mean, float [B,H,W].
        """
        raise NotImplementedError

"""Base class of the losses of segkit."""

from typing import Any, ClassVar

from torch import Tensor, nn


class Loss(nn.Module):
    """A loss of model outputs and targets.

    `forward` takes the outputs that the row names in `on`, then the batch entries that it names in `target`, and
    returns a float32 scalar or a dictionary of them. Losses from outside segkit may be any `nn.Module` with such a
    `forward`.

    Attributes:
        row: `on`, `target` and `at` of the loss's row in section `losses`; a config overrides single keys.
        supervision: what the masks of the training data must be, "boxes" (filled boxes) or "masks" (outlines);
            None accepts both.
    """

    row: ClassVar[dict[str, Any]] = {}
    supervision: ClassVar[str | None] = None

    @property
    def is_ready(self) -> bool:
        """Whether the loss can be computed now; False while it needs a pass over the training images first."""
        return True


class PixelLoss(Loss):
    """A loss that can also be computed for single pixels, as OHEM does.

    Attributes:
        ignore: value of the target that is left out.
    """

    ignore: float

    def pixels(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the loss of each pixel.

        Args:
            logits: float [B,K,H,W].
            target: as of `forward`.

        Returns:
            The losses, float [B,H,W], 0 on ignored pixels, and the weight of each pixel in the mean, float [B,H,W].
        """
        raise NotImplementedError

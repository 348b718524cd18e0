"""What a prediction is made of where the outputs of a network are not the classes themselves.

A readout is applied to the logits after they are resized to the image, and before the largest is taken. B batch, O
outputs of the network, K classes with the background, H W image.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Readout:
    """The plain readout: output k is class k.

    Attributes:
        surplus: O - K.
        gives_scores: whether the result is probabilities, which take no softmax.
    """

    surplus: int = 0
    gives_scores: bool = False
    first: ClassVar[int] = 0
    """Class of the first probability."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Turns logits, float [B,O,H,W], into what the largest of K is taken of, float [B,K,H,W]."""
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns the probability of each output that is compared with the others, float [B,n,H,W]."""
        return logits.softmax(1)

    def sure_classes(self, logits: Tensor, threshold: float) -> Tensor:
        """Returns the class k of 1..K - 1 where its probability is the largest and at least the threshold, else 0.

        Args:
            logits: float [B,O,H,W].
            threshold: 0..1.

        Returns:
            int64 [B,H,W].
        """
        best, labels = self.probabilities(logits).max(1)
        return torch.where(best >= threshold, labels + self.first, 0).clamp_min(0)


class ImplicitBackground(Readout):
    """Outputs for objects alone: the background is where no sigmoid is above 0.5.

    A constant logit of 0 in front is exactly that, ties included, and a constant does not change in a resize.
    """

    first = 1

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def __call__(self, logits: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)


class AuxiliaryBackground(Readout):
    """As ImplicitBackground, of a network whose output 0 is DKD's auxiliary classifier, which predicts nothing."""

    first = 1

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits[:, 1:].sigmoid()

    def __call__(self, logits: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(logits[:, :1]), logits[:, 1:]], 1)


class UnknownBackground(Readout):
    """SSUL's: the sigmoids of the outputs, the first two of which, unknown and background, are one class."""

    first = -1

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def __call__(self, logits: Tensor) -> Tensor:
        probabilities = logits.sigmoid()
        return torch.cat([probabilities[:, :1] + probabilities[:, 1:2], probabilities[:, 2:]], 1)


READOUTS: dict[str, Readout] = {
    "classes": Readout(),
    "implicit": ImplicitBackground(surplus=-1),
    "auxiliary": AuxiliaryBackground(),
    "unknown": UnknownBackground(surplus=1, gives_scores=True),
}
"""Readouts by the value of model.readout."""

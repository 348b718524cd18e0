"""The contract of refiners: what makes a better map of an image and a coarse map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit.registry import ConfigError
from segkit.types import Meta

TINY = 1e-3
"""Rounding that probabilities may show."""


class Refiner(nn.Module):
    """Base of all refiners: a subclass gives `forward(image, coarse)`; `refine` checks what goes in and comes out.

    A refiner may have weights and be trained as a layer; `forward` keeps the gradients of both arguments.

    Attributes:
        needs: what `forward` takes by keyword beside image and map: "presence" (float [B,K] in 0..1, whether the image
            holds each class, as the model predicts it).
    """

    needs: tuple[str, ...] = ()

    def begin(self, metas: Sequence[Meta]) -> None:
        """Called before `refine` where it is known which images these are; does nothing by default.

        Args:
            metas: id and path of each image of the batch.
        """

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refines maps; arguments and result as in `refine`, which are not checked here."""
        raise NotImplementedError(f"{type(self).__name__} gives no forward()")

    def refine(self, image: Tensor, coarse: Tensor, *, presence: Tensor | None = None) -> Tensor:
        """Refines the probabilities of classes at each pixel.

        Args:
            image: float [B,C,H,W], the values of the stored image in 0..255, RGB for C = 3, not normalized.
            coarse: float [B,K,H,W] in 0..1 that sum to 1 over the classes; with K = 1 the probability of class 1.
            presence: float [B,K], the probability that an image holds each class; None where it is not known.

        Returns:
            float [B,K,H,W], probabilities as `coarse`.

        Raises:
            ValueError: the maps are not of the image's size, or hold values that are no probabilities.
            ConfigError: the refiner needs what is not known.
        """
        if image.dim() != 4 or coarse.dim() != 4 or image.shape[0] != coarse.shape[0]:
            raise ValueError(
                f"image of shape {tuple(image.shape)} and coarse of shape {tuple(coarse.shape)}: must be [B,C,H,W] and "
                "[B,K,H,W]"
            )
        if image.shape[-2:] != coarse.shape[-2:]:
            (height, width), (map_height, map_width) = image.shape[-2:], coarse.shape[-2:]
            raise ValueError(
                f"coarse of {map_width}x{map_height} pixels for an image of {width}x{height}: refiners take maps of "
                "the image's size; resize them first"
            )
        if not coarse.is_floating_point():
            raise ValueError(f"coarse of type {coarse.dtype}: must be probabilities, float in 0..1")
        low, high = (float(value) for value in torch.aminmax(coarse))
        if not (low >= -TINY and high <= 1 + TINY):  # NaN is neither
            raise ValueError(f"coarse of {low:g} to {high:g}: must be probabilities, 0..1; give logits.softmax(1)")
        better = self(image.float(), coarse, **self._extras(presence))
        assert better.shape == coarse.shape, f"{type(self).__name__} gave {tuple(better.shape)}"
        return better

    def check_classes(self, names: Sequence[str]) -> None:
        """Checks that the refiner is for maps of these classes; called before the first map of a model with names.

        Args:
            names: of the K classes.

        Raises:
            DataError: it is of other classes.
        """

    def _extras(self, presence: Tensor | None) -> dict[str, Tensor]:
        """What `forward` takes by keyword."""
        known = {"presence": presence}
        extras: dict[str, Tensor] = {}
        for name in self.needs:
            value = known.get(name)
            if value is None:
                raise ConfigError(
                    f"inference.refiners: {type(self).__name__} reads '{name}', which this model does not predict; "
                    "train it with an auxiliary head that does (model.aux=[dict(type='PresenceHead')]), or name the "
                    "checkpoint of a model that does where the refiner takes one"
                )
            extras[name] = value
        return extras


def with_background(coarse: Tensor) -> Tensor:
    """Returns the probabilities of all classes: of one channel, [B,1,H,W], those of class 0 and 1, [B,2,H,W]."""
    return torch.cat([1 - coarse, coarse], 1) if coarse.shape[1] == 1 else coarse


def as_given(refined: Tensor, coarse: Tensor) -> Tensor:
    """Undoes `with_background` for what was refined: returns as many channels as `coarse` has."""
    return refined[:, 1:] if coarse.shape[1] == 1 else refined

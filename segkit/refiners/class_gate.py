"""Class gate: a classifier of whole images takes absent classes out of a map (own definition, no published code).

B batch, C channels, K classes, H W image.
"""

from collections.abc import Sequence
from typing import Annotated, TypeVar

import numpy as np
import torch
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeInt, OneOf
from segkit.models.bases import Network
from segkit.models.segmentor import Segmentor
from segkit.refiners._trained import check_classes, load_trained
from segkit.refiners.base import Refiner
from segkit.registry import REFINERS, ConfigError

N = TypeVar("N", int, float)

INSTEAD = ("next_best", "background")
"""What pixels of an absent class become."""


def gated(maps: Tensor, presence: Tensor, thresholds: Tensor) -> Tensor:
    """Hard gate of independent maps: those of absent classes become 0.

    Args:
        maps: float [B,K,H,W], one binary map or probability for each class.
        presence: float [B,K], the probability that an image holds each class.
        thresholds: float [K]; a class is present from its threshold on, so that 0 changes nothing.

    Returns:
        float [B,K,H,W].
    """
    return maps * (presence >= thresholds)[..., None, None]


def softly_gated(maps: Tensor, presence: Tensor) -> Tensor:
    """Soft gate of independent maps [B,K,H,W]: each is multiplied by its class's presence [B,K]."""
    return maps * presence[..., None, None]


def taken_out(maps: Tensor, gone: Tensor, background: int | None, *, to_background: bool) -> Tensor:
    """Takes classes out of probabilities that sum to 1.

    Args:
        maps: float [B,K,H,W].
        gone: bool [B,K,H,W], where each class goes; never the background, nor all classes of a pixel.
        background: number of the background; None for none.
        to_background: pixels at which a class that goes is the most probable become background. Otherwise, and at all
            other pixels, the most probable class that stays is predicted.

    Returns:
        float [B,K,H,W], which sum to 1.
    """
    kept = maps.masked_fill(gone, 0.0)
    if to_background:
        assert background is not None
        loses = gone.gather(1, maps.argmax(1, keepdim=True))[:, 0]
        moved = torch.where(loses, (maps - kept).sum(1), 0.0)
        kept[:, background] += moved
    total = kept.sum(1, keepdim=True)
    # where nothing is left of a pixel, what stays shares it evenly: the first of these is predicted
    even = (~gone).to(maps.dtype)
    return torch.where(total > 0, kept / total.clamp_min(1e-30), even / even.sum(1, keepdim=True))


def in_specks(mask: Tensor, min_area: int) -> Tensor:
    """Finds the pixels in small components.

    Args:
        mask: bool [H,W].
        min_area: pixels; components of 8 neighbors with fewer are small.

    Returns:
        bool [H,W].
    """
    import cv2

    pixels = np.ascontiguousarray(mask.cpu().numpy(), np.uint8)
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    is_small = stats[:, cv2.CC_STAT_AREA] < min_area
    is_small[0] = False  # number 0 is what lies outside of the mask
    return torch.from_numpy(is_small[numbers]).to(mask.device)


def predicts_presence(network: Network) -> bool:
    """Whether a network gives the output "presence"."""
    heads = [network.head, *network.aux] if isinstance(network, Segmentor) else []
    return any("presence" in getattr(head, "predicts", ()) for head in heads)


@REFINERS.register
class ClassGate(Refiner):
    """Takes classes out of a map that a classifier of the whole image says are absent, and small components.

    The presence of classes is that of the model itself, which then needs a branch that predicts it (PresenceHead in
    `model.aux`, or a head with the output "presence"), or of another checkpoint.

    Args:
        threshold: presence from which on a class stays; one number, or one for each class. 0 keeps every class.
        instead: of maps whose classes exclude each other, what pixels of an absent class become: "next_best", the most
            probable class that is present, or "background".
        background: number of the class that is never absent; None where the data has none: of an image without any
            class the one of the largest presence then stays.
        is_soft: probabilities are multiplied by the presence of their class, in the place of thresholds.
        min_area: pixels; components of 8 neighbors of a class with fewer are taken out as well, after the gate. One
            number, or one for each class; 0 for none.
        overlapping: whether the maps of the classes are independent of each other, as those of a single class are. Then
            what is taken out becomes 0, and there is no background.
        map_threshold: probability above which a pixel of such a map belongs to its class, for min_area.
        checkpoint: file of a model of the same classes that predicts their presence; it sees the whole stored image.

    Raises:
        ValueError: instead="background" without a background.
        DataError: the checkpoint cannot be used.
    """

    def __init__(
        self,
        threshold: Fraction | list[Fraction] = 0.5,
        instead: Annotated[str, OneOf(INSTEAD)] = "next_best",
        *,
        background: NonNegativeInt | None = 0,
        is_soft: bool = False,
        min_area: NonNegativeInt | list[NonNegativeInt] = 0,
        overlapping: bool = False,
        map_threshold: Fraction = 0.5,
        checkpoint: str | None = None,
    ):
        super().__init__()
        if instead == "background" and background is None:
            raise ValueError("instead = 'background': names a class that is said to be missing; give its number")
        self.threshold, self.min_area = threshold, min_area
        self.to_background, self.background = instead == "background", background
        self.is_soft, self.overlapping, self.map_threshold = is_soft, overlapping, map_threshold
        self.checkpoint = checkpoint
        self.needs = () if checkpoint else ("presence",)
        self.network = None
        if checkpoint:
            self.network = load_trained(
                checkpoint, predicts_presence, "one that predicts the presence of classes (PresenceHead in model.aux)"
            )

    def check_classes(self, names: Sequence[str]) -> None:
        """Compares the classes of the maps with those of the checkpoint; see Refiner.check_classes."""
        network = self.network
        if network is not None and self.checkpoint is not None and len(names) == network.num_classes:
            check_classes(network, names, self.checkpoint)

    def forward(self, image: Tensor, coarse: Tensor, presence: Tensor | None = None) -> Tensor:
        """Refines maps; see Refiner.refine."""
        num_classes = coarse.shape[1]
        if self.network is not None and self.checkpoint is not None:
            check_classes(self.network, num_classes, self.checkpoint)
            presence = self.network(image)["presence"].float().sigmoid()
        assert presence is not None
        if presence.shape != coarse.shape[:2]:
            raise ConfigError(
                f"inference.refiners: ClassGate has the presence of {presence.shape[1]} classes, and the maps have "
                f"{num_classes}; both must be of the same classes"
            )
        thresholds = coarse.new_tensor(_for_each(self.threshold, num_classes, "threshold"))
        areas = _for_each(self.min_area, num_classes, "min_area")
        if self.overlapping or num_classes == 1:
            return self._independent(coarse, presence, thresholds, areas)
        return self._exclusive(coarse, presence, thresholds, areas)

    def _independent(self, maps: Tensor, presence: Tensor, thresholds: Tensor, areas: list[int]) -> Tensor:
        maps = softly_gated(maps, presence) if self.is_soft else gated(maps, presence, thresholds)
        if not any(areas):
            return maps
        return maps.masked_fill(_specks(maps > self.map_threshold, areas), 0.0)

    def _exclusive(self, maps: Tensor, presence: Tensor, thresholds: Tensor, areas: list[int]) -> Tensor:
        stays = torch.ones_like(presence) if self.is_soft else (presence >= thresholds).to(presence.dtype)
        factors = presence.clone() if self.is_soft else stays
        if self.background is None:
            stays = stays.scatter(1, presence.argmax(1, keepdim=True), 1.0)
        else:
            if not 0 <= self.background < maps.shape[1]:
                raise ConfigError(
                    f"inference.refiners: ClassGate.background = {self.background}: the maps have {maps.shape[1]} "
                    "classes; name one of them, or None where there is no background"
                )
            stays[:, self.background] = factors[:, self.background] = 1.0
        if self.is_soft:
            maps = softly_gated(maps, factors)
            maps = maps / maps.sum(1, keepdim=True).clamp_min(1e-30)
        gone = (stays == 0)[..., None, None].expand_as(maps)
        if gone.any():
            maps = taken_out(maps, gone, self.background, to_background=self.to_background)
        if any(areas):
            labels = maps.argmax(1)
            areas = [0 if k == self.background else area for k, area in enumerate(areas)]
            specks = _specks(torch.stack([labels == k for k in range(maps.shape[1])], 1), areas)
            maps = taken_out(maps, specks, self.background, to_background=self.to_background)
        return maps


def _specks(masks: Tensor, areas: Sequence[int]) -> Tensor:
    """The pixels of bool masks [B,K,H,W] in components of fewer pixels than their class's area, bool [B,K,H,W]."""
    small = [[in_specks(m, area) if area else torch.zeros_like(m) for m, area in zip(of, areas)] for of in masks]
    return torch.stack([torch.stack(of_image) for of_image in small])


def _for_each(value: N | list[N], num_classes: int, name: str) -> list[N]:
    """One value for each class."""
    if not isinstance(value, list | tuple):
        return [value] * num_classes
    if len(value) != num_classes:
        raise ConfigError(
            f"inference.refiners: ClassGate.{name} has {len(value)} numbers, and the maps have {num_classes} classes; "
            "give one for each, or a single one"
        )
    return list(value)

"""DiscoBox's bank of objects: those of earlier images of the same class that look alike, for dense correspondence. Lan
et al., ICCV 2021, section 3.3, https://arxiv.org/abs/2105.06464. n objects of a batch, K classes, M places of a class,
R retrieved ones, C channels, s cells a side."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.ops.averaging import full_precision


class Objects(NamedTuple):
    """labels: int64 [n]; features: float [n,C,s,s]; masks: bool [n,s,s]; ratios: float [n], width over height."""

    labels: Tensor
    features: Tensor
    masks: Tensor
    ratios: Tensor


def described(features: Tensor, masks: Tensor) -> Tensor:
    """features: float [n,C,s,s]; masks: bool [n,s,s] -> float32 [n,C] of length 1, the mean of the cells in the mask,
    by which objects are compared as wholes; 0 for an empty mask."""
    weight = masks.unsqueeze(1).to(torch.float32)
    return F.normalize((full_precision(features) * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1), dim=1)


class ObjectBank(nn.Module):
    """Holds the last `size` objects of each class and finds those like given ones.

    An object is like another where the cosine of their mean features exceeds `similarity`, the overlap of their masks
    exceeds `overlap` inside as well as outside, and its ratio of sides over the other's lies in `ratios`. It takes part
    where `retrieved` others are like it. The paper does not say which similarity: mean features are a choice.

    What is held is part of the state. Each process has objects of its own; a resumed run gives all of them those of the
    main process. The features are held in half precision with cells of length 1, since only their cosines count: 80
    classes of 100 objects with 256 channels and 7 x 7 cells take 201 MB once they are full.
    """

    def __init__(
        self,
        size: int = 100,
        retrieved: int = 5,
        similarity: float = 0.7,
        overlap: float = 0.7,
        ratios: tuple[float, float] = (0.9, 1.2),
    ):
        super().__init__()
        if not 1 <= retrieved <= size:
            raise ValueError(f"retrieved = {retrieved}: between 1 and the {size} objects that a class holds")
        self.size, self.retrieved = size, retrieved
        self.similarity, self.overlap, self.ratios = similarity, overlap, tuple(ratios)
        self.held: dict[str, Tensor] = {}

    def reserve(self, num_classes: int, features: Tensor) -> None:
        """Makes room on the device of `features`, float [n,C,s,s]; what is held stays where the shapes agree.

        Raises ValueError where a resumed state is of another number of classes or kind of features.
        """
        if not self.held:
            places, (channels, side) = num_classes * self.size + 1, features.shape[1:3]
            # the last place takes what is not to be held: no shape depends on the data
            self.held = {
                "features": features.new_zeros(places, channels, side, side, dtype=torch.float16),
                "means": features.new_zeros(places, channels, dtype=torch.float16),
                "masks": features.new_zeros(places, side, side, dtype=torch.bool),
                "ratios": features.new_ones(places, dtype=torch.float32),
                "counts": features.new_zeros(num_classes, dtype=torch.int64),
            }
        own = (len(self.held["counts"]), self.held["features"].shape[1:])
        if own != (num_classes, features.shape[1:]):
            raise ValueError(
                f"the bank holds {own[0]} classes of objects of {tuple(own[1])}, the model gives {num_classes} of "
                f"{tuple(features.shape[1:])}; start without its state"
            )
        self.held = {name: value.to(features.device) for name, value in self.held.items()}

    @torch.no_grad()
    def retrieve(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """-> (float16 [n,R,C,s,s], the features of the most similar ones of each object's class; bool [n], whether all
        R are like it)."""
        held, labels = self.held, objects.labels
        places = labels.unsqueeze(1) * self.size + torch.arange(self.size, device=labels.device)
        means = described(objects.features, objects.masks)
        cosines = (held["means"][places].float() @ means.unsqueeze(2))[:, :, 0]
        own, other = objects.masks.unsqueeze(1).flatten(2), held["masks"][places].flatten(2)
        ratio = objects.ratios.unsqueeze(1) / held["ratios"][places]
        alike = (cosines > self.similarity) & (ratio >= self.ratios[0]) & (ratio <= self.ratios[1])
        alike &= (_overlap(own, other) > self.overlap) & (_overlap(~own, ~other) > self.overlap)
        alike &= torch.arange(self.size, device=labels.device) < held["counts"][labels].unsqueeze(1)
        best = torch.where(alike, cosines, -2.0).topk(self.retrieved, dim=1)
        return held["features"][places.gather(1, best.indices)], best.values[:, -1] > -2

    @torch.no_grad()
    def add(self, objects: Objects) -> None:
        """Each takes the place of the oldest of its class; of more than `size` of a class the last ones stay."""
        held, labels = self.held, objects.labels
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        earlier, later = same.tril(-1).sum(1), same.triu(1).sum(1)
        place = labels * self.size + (held["counts"][labels] + earlier) % self.size
        place = torch.where(later < self.size, place, len(held["ratios"]) - 1)
        held["features"][place] = F.normalize(full_precision(objects.features), dim=1).half()
        held["means"][place] = described(objects.features, objects.masks).half()
        held["masks"][place] = objects.masks
        held["ratios"][place] = objects.ratios.float()
        held["counts"] += torch.bincount(labels, minlength=len(held["counts"]))

    def get_extra_state(self) -> dict[str, Any]:
        """What is held, without the places that are still free."""
        if not self.held:
            return {}
        counts = self.held["counts"].cpu()
        used = self._used(counts)
        rows = {name: value.cpu()[used] for name, value in self.held.items() if name != "counts"}
        return rows | {"counts": counts, "size": self.size}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes back what get_extra_state gave; a bank of another size starts empty."""
        self.held = {}
        if not state or state["size"] != self.size:
            return
        self.reserve(len(state["counts"]), state["features"].float())
        used = self._used(state["counts"])
        for name, value in self.held.items():
            if name != "counts":
                value[used] = state[name]
        self.held["counts"] = state["counts"].clone()

    def _used(self, counts: Tensor) -> Tensor:
        """counts: int64 [K] -> int64, the places that hold an object."""
        filled = torch.arange(self.size) < counts.unsqueeze(1)
        return torch.nonzero(filled.flatten())[:, 0]


def _overlap(own: Tensor, other: Tensor) -> Tensor:
    """own: bool [n,1,s s]; other: bool [n,M,s s] -> float [n,M], intersection over union; 0 where both are empty."""
    return (own & other).sum(2) / (own | other).sum(2).clamp_min(1)

"""DiscoBox's memory bank: objects of earlier images, for dense correspondence with like objects of the same class.

Lan et al., ICCV 2021, section 3.3, https://arxiv.org/abs/2105.06464. n objects of a batch, K classes, M slots of a
class, R retrieved objects, C channels, s cells a side.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.ops.averaging import full_precision


class BankObjects(NamedTuple):
    """Objects as the bank stores and compares them.

    Attributes:
        labels: int64 [n].
        features: float [n,C,s,s].
        masks: bool [n,s,s].
        ratios: float [n], width over height.
    """

    labels: Tensor
    features: Tensor
    masks: Tensor
    ratios: Tensor


def mean_features(features: Tensor, masks: Tensor) -> Tensor:
    """Returns the mean of the cells in each mask, by which whole objects are compared.

    Args:
        features: float [n,C,s,s].
        masks: bool [n,s,s].

    Returns:
        float32 [n,C] of length 1; 0 for an empty mask.
    """
    weight = masks.unsqueeze(1).to(torch.float32)
    return F.normalize((full_precision(features) * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1), dim=1)


class ObjectBank(nn.Module):
    """Holds the last `size` objects of each class and finds those like given ones.

    An object is like another where the cosine of their mean features exceeds `similarity`, the overlap of their masks
    exceeds `overlap` inside as well as outside, and the quotient of their aspect ratios lies in `ratios`. The paper
    does not say which similarity: mean features are a choice.

    What is held is part of the state. Each process has objects of its own; a resumed run gives all of them those of the
    main process. The features are held in half precision with cells of length 1, since only their cosines count: 80
    classes of 100 objects with 256 channels and 7 x 7 cells take 201 MB once they are full.

    Args:
        size: objects held per class.
        retrieved: an object takes part where so many others are like it; R.
        similarity: least cosine of mean features.
        overlap: least IoU of masks, and of their complements.
        ratios: smallest and largest quotient of aspect ratios.

    Raises:
        ValueError: retrieved is not in 1..size.
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
            raise ValueError(f"retrieved = {retrieved}: must be in 1..{size}, the objects that a class holds")
        self.size, self.retrieved = size, retrieved
        self.similarity, self.overlap, self.ratios = similarity, overlap, tuple(ratios)
        self.held: dict[str, Tensor] = {}

    def reserve(self, num_classes: int, features: Tensor) -> None:
        """Allocates the bank on the device of the features; what is held stays where the shapes agree.

        Args:
            num_classes: K.
            features: float [n,C,s,s].

        Raises:
            ValueError: a resumed state has another number of classes or other features.
        """
        if not self.held:
            slots, (channels, side) = num_classes * self.size + 1, features.shape[1:3]
            # the last slot takes what is not to be held: no shape depends on the data
            self.held = {
                "features": features.new_zeros(slots, channels, side, side, dtype=torch.float16),
                "means": features.new_zeros(slots, channels, dtype=torch.float16),
                "masks": features.new_zeros(slots, side, side, dtype=torch.bool),
                "ratios": features.new_ones(slots, dtype=torch.float32),
                "counts": features.new_zeros(num_classes, dtype=torch.int64),
            }
        held_classes, held_shape = len(self.held["counts"]), self.held["features"].shape[1:]
        if (held_classes, held_shape) != (num_classes, features.shape[1:]):
            raise ValueError(
                f"the bank holds {held_classes} classes of objects of {tuple(held_shape)}, the model gives "
                f"{num_classes} of {tuple(features.shape[1:])}; start without its state"
            )
        self.held = {name: value.to(features.device) for name, value in self.held.items()}

    @torch.no_grad()
    def retrieve(self, objects: BankObjects) -> tuple[Tensor, Tensor]:
        """Finds the most similar held objects of each object's class.

        Returns:
            Their features, float16 [n,R,C,s,s], and whether all R are like the object, bool [n].
        """
        held, labels = self.held, objects.labels
        slots = labels.unsqueeze(1) * self.size + torch.arange(self.size, device=labels.device)
        means = mean_features(objects.features, objects.masks)
        cosines = (held["means"][slots].float() @ means.unsqueeze(2))[:, :, 0]
        masks, others = objects.masks.unsqueeze(1).flatten(2), held["masks"][slots].flatten(2)
        ratio = objects.ratios.unsqueeze(1) / held["ratios"][slots]
        alike = (cosines > self.similarity) & (ratio >= self.ratios[0]) & (ratio <= self.ratios[1])
        alike &= (_overlap(masks, others) > self.overlap) & (_overlap(~masks, ~others) > self.overlap)
        alike &= torch.arange(self.size, device=labels.device) < held["counts"][labels].unsqueeze(1)
        best = torch.where(alike, cosines, -2.0).topk(self.retrieved, dim=1)
        return held["features"][slots.gather(1, best.indices)], best.values[:, -1] > -2

    @torch.no_grad()
    def add(self, objects: BankObjects) -> None:
        """Stores objects, each in the slot of the oldest of its class; of more than `size` the last ones stay."""
        held, labels = self.held, objects.labels
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        earlier, later = same.tril(-1).sum(1), same.triu(1).sum(1)
        slot = labels * self.size + (held["counts"][labels] + earlier) % self.size
        slot = torch.where(later < self.size, slot, len(held["ratios"]) - 1)
        held["features"][slot] = F.normalize(full_precision(objects.features), dim=1).half()
        held["means"][slot] = mean_features(objects.features, objects.masks).half()
        held["masks"][slot] = objects.masks
        held["ratios"][slot] = objects.ratios.float()
        held["counts"] += torch.bincount(labels, minlength=len(held["counts"]))

    def get_extra_state(self) -> dict[str, Any]:
        """Returns what is held, without the slots that are still free."""
        if not self.held:
            return {}
        counts = self.held["counts"].cpu()
        used = self._used(counts)
        rows = {name: value.cpu()[used] for name, value in self.held.items() if name != "counts"}
        return rows | {"counts": counts, "size": self.size}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores what get_extra_state returned; a bank of another size starts empty."""
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
        """Indices of the slots that hold an object, int64; counts: int64 [K], objects ever added."""
        filled = torch.arange(self.size) < counts.unsqueeze(1)
        return torch.nonzero(filled.flatten())[:, 0]


def _overlap(masks: Tensor, others: Tensor) -> Tensor:
    """IoU of masks, float [n,M], 0 where both are empty; masks: bool [n,1,s s]; others: bool [n,M,s s]."""
    return (masks & others).sum(2) / (masks | others).sum(2).clamp_min(1)

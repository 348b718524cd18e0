"""The dictionaries that travel through segkit. Shape legend: B batch, C channels, K classes, H W image, n objects,
P clicks per sign, L layers."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

from torch import Tensor

Outputs = dict[str, Tensor]
"""Named outputs of a model: "logits" float [B,K,h,w] at the head's stride, "aux0.logits", "edge", "embedding", ..."""

Prediction = dict[str, Any]
"""One image's result: "labels" uint8/int16 [H0,W0]; on request "probabilities" float [K,H0,W0];
instances: "masks" as RLE, "scores", "labels", "boxes"."""


class ClickObject(NamedTuple):
    """One object of a sample to click on. layer, value: where `layers` hold its pixels; parent, children: ids of the
    object it is a part of and of its parts; is_stuff: a region without instances (sky, road)."""

    layer: int
    value: int
    parent: int | None = None
    children: tuple[int, ...] = ()
    is_stuff: bool = False


class Sample(TypedDict, total=False):
    """One item before collation; arrays are numpy."""

    image: Any  # uint8 or float32 [H,W,C], RGB
    mask: Any  # uint8 or int16 [H,W], ignore = 255; float32 with ignore = -1 for click targets
    boxes: Any  # float32 [n,4] x0,y0,x1,y1 in pixels, x1 and y1 exclusive
    labels: Any  # int64 [n]
    masks: Any  # uint8 [n,H,W] or list of n RLE
    crowd: Any  # bool [n]
    layers: Any  # uint8 [H,W,L]: packed instance layers
    objects: dict  # id -> ClickObject
    ignored: list  # (layer, value) of regions that are neither object nor background
    pixel_weight: Any  # float32 [H,W]: of each pixel in the loss
    clicks: Any  # float32 [2P,3] y,x,order; empty iff max(y,x) < 0
    window: Any  # int [4] y0,x0,y1,x1: place of the crop in the image
    meta: dict  # id, path, size=(H0,W0), valid=(h,w); whole=(H,W): of the image that window is a place in


class Batch(TypedDict, total=False):
    """Collated samples on the device; images are padded at the right and bottom to the largest of the batch."""

    image: Tensor  # uint8 or float32 [B,C,H,W]
    mask: Tensor  # int64 [B,H,W], padding = ignore; in evaluation a list of B [H0,W0] at original size
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list
    crowd: list[Tensor]
    pixel_weight: Tensor  # float32 [B,H,W], padding = 0
    clicks: Tensor  # float32 [B,2P,3], first P positive, last P negative
    window: list  # per image y0,x0,y1,x1 of the crop and H,W of the whole image at its scale
    meta: list[dict]


@dataclass
class Stage:
    """One training of a run; most runs have a single one. name: also its folder, "" for the run's own folder;
    overrides: sections that replace the config's."""

    name: str = ""
    overrides: dict = field(default_factory=dict)


class Found(NamedTuple):
    """The best score first: scores float32 [n]; labels int64 [n]; masks bool [n,H,W]; boxes float32 [n,4] x0, y0, x1,
    y1 around each mask, x1 and y1 exclusive, 0 for an empty one."""

    scores: Tensor
    labels: Tensor
    masks: Tensor
    boxes: Tensor


IGNORE = 255
"""Label of pixels that are neither trained nor scored."""


CLICK_IGNORE = -1.0
"""The same in float masks (click targets), whose 0..1 leaves no room for 255."""


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """num_classes distinct colours, up to 256: the bit pattern of the VOC development kit (VOCcode/VOClabelcolormap).

    Bits 0, 3, 6 of the index become the highest bits of red, bits 1, 4, 7 of green, bits 2, 5 of blue.
    """
    rows = []
    for index in range(num_classes):
        rows.append(tuple(sum((index >> 3 * bit + c & 1) << 7 - bit for bit in range(8)) for c in range(3)))
    return tuple(rows)

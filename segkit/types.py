"""The dictionaries and small records that travel through segkit.

Shape legend: B batch, C channels, K classes, H W image, H0 W0 image as stored, h w features, n objects, P clicks per
sign, L layers.
"""

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypeAlias, TypedDict

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from segkit.ops.instances.packed_masks import PackedMasks
else:
    Tensor = Any  # segkit.runtime runs where no torch is installed

IGNORE = 255
"""Label of pixels that are neither trained nor scored."""

UNKNOWN = 254
"""Label of background pixels that show an unknown object, where maps of saliency mark them (class steps)."""

MOST_PROPOSALS = 100
"""Regions of an image that are proposed at most (MicroSeg)."""

CLICK_IGNORE = -1.0
"""The same in float masks (click targets), whose 0..1 leaves no room for 255."""

Color: TypeAlias = tuple[int, int, int]
"""Red, green, blue in 0..255."""

RLE: TypeAlias = dict
"""A mask run-length encoded as pycocotools has it: size (H, W) and counts."""

Outputs: TypeAlias = dict[str, Tensor]
"""Named outputs of a model: "logits" float [B,K,h,w] at the head's stride, "aux0.logits", "edge", "embedding", ...
Instance heads also give lists, one tensor for each level or prediction set."""


class Meta(TypedDict, total=False):
    """What is known of an image beside its pixels.

    id, path: name and file; size: (H0, W0) as stored, or that of the labels where a data set states another size for
    them: predictions are brought to it; valid: (h, w) of the image in its padding; whole: (H, W) of the
    scaled image in which the sample's window lies; focus: (y, x), a pixel of the stored image that a crop shall hold;
    matrix: float64 [2,3], of images that are predicted: takes a point (x, y, 1) of the stored image, in continuous
    pixels, to where the transforms have moved it. Without it the stored image was resized to `valid`; pseudo: whether
    the labels are those of a model; box: of crops around a box, this box in its image, x0, y0, x1, y1; crop: the
    rectangle of it, which may reach outside of the image.
    """

    id: str
    path: str
    size: tuple[int, int]
    valid: tuple[int, int]
    whole: tuple[int, int]
    focus: tuple[int, int]
    matrix: np.ndarray
    pseudo: bool
    box: tuple[float, float, float, float]
    crop: tuple[int, int, int, int]


class ClickObject(NamedTuple):
    """One object of a sample to click on.

    layer, value: where the sample's `layers` hold its pixels; parent, children: ids of the object it is a part of and
    of its parts.
    """

    layer: int
    value: int
    parent: int | None = None
    children: tuple[int, ...] = ()


class Sample(TypedDict, total=False):
    """One item before collation; arrays are numpy."""

    image: np.ndarray  # uint8 or float32 [H,W,C], RGB
    mask: np.ndarray  # uint8 or int16 [H,W], ignore = 255; float32 with ignore = -1 for click targets;
    # uint8 [H,W,K] of 0, 1 and 255 where classes overlap
    boxes: np.ndarray  # float32 [n,4] x0,y0,x1,y1 in pixels, x1 and y1 exclusive
    labels: np.ndarray  # int64 [n]
    masks: "np.ndarray | PackedMasks | list[RLE]"  # uint8 [n,H,W], the same packed, or list of n RLE
    crowd: np.ndarray  # bool [n]
    mask_quality: np.ndarray  # float32 [n] in 0..1: of each mask as a label, 0 where the object has no outline
    layers: np.ndarray  # uint8 [H,W,L]: packed instance layers
    objects: dict[int, ClickObject]  # by id
    ignored: list[tuple[int, int]]  # (layer, value) of regions that are neither object nor background
    pixel_weight: np.ndarray  # float32 [H,W]: of each pixel in the loss
    unlabelled: np.ndarray  # uint8 [H,W]: 1 where the image has no label, 0 also in the padding
    points: np.ndarray  # float32 [n,P,2] x, y in continuous pixels: labelled points of each object
    point_labels: np.ndarray  # int8 [n,P]: 1 on the object, 0 beside it, -1 not used
    proposals: np.ndarray  # uint8 [H,W]: number of the proposed region that a pixel is of, 0 for none
    angle: np.ndarray  # float32 [H,W]: of the direction away from the nearest boundary, degrees of atan2(y, x)
    coarse: np.ndarray  # uint8 [H,W]: a coarse mask of 0 and 1 to refine
    clicks: np.ndarray  # float32 [2P,3] y,x,order; empty iff max(y,x) < 0
    focus: np.ndarray  # float32 [4] y0,x0,y1,x1: the part of the image that is refined, ends outside
    focus_image: np.ndarray  # uint8 or float32 [C,S,S]: that part, enlarged
    focus_mask: np.ndarray  # float32 [S,S]: its mask
    boundary: np.ndarray  # float32 [S,S]: 1 near the mask's boundary in that part
    window: np.ndarray  # int [4] y0,x0,y1,x1: position of the crop in the image
    clean: np.ndarray  # [H,W,C]: the image before the transforms of color
    stored: np.ndarray  # uint8 or float32 [H0,W0,C]: the image before the transforms, for refiners
    start: np.ndarray  # uint8 [H,W] of 0 and 1: the mask that the first click corrects
    meta: Meta


class Batch(TypedDict, total=False):
    """Collated samples on the device; images are padded at the right and bottom to the largest of the batch."""

    image: Tensor  # uint8 or float32 [B,C,H,W]
    mask: Tensor | list[Tensor]  # int64 [B,H,W], padding = ignore; in evaluation a list of B [H0,W0] at original size;
    # [B,K,H,W] and [K,H0,W0] where classes overlap
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list
    crowd: list[Tensor]
    mask_quality: list[Tensor]
    clean: Tensor  # [B,C,H,W]: the images before the transforms of color
    pixel_weight: Tensor  # float32 [B,H,W], padding = 0
    unlabelled: Tensor  # uint8 [B,H,W], padding = 0
    proposals: Tensor  # uint8 [B,H,W]: number of the proposed region that a pixel is of, 0 for none
    points: list[Tensor]  # B of float32 [n,P,2] x, y in pixels of the batch
    point_labels: list[Tensor]  # B of int8 [n,P]
    angle: Tensor  # float32 [B,H,W], degrees from -180 to 180, padding = 0
    clicks: Tensor  # float32 [B,2P,3], first P positive, last P negative
    coarse: Tensor  # uint8 [B,H,W]: masks of 0 and 1 to refine, padding = 0
    previous: Tensor  # float32 [B,1,H,W]: mask of the click before
    focus: Tensor  # float32 [B,4] y0,x0,y1,x1: the part of each image that is refined, ends outside
    focus_image: Tensor  # uint8 or float32 [B,C,S,S]: that part, enlarged
    focus_mask: Tensor  # float32 [B,S,S]: its mask
    boundary: Tensor  # float32 [B,S,S]: 1 near the mask's boundary in that part
    stored: list[Tensor]  # B images uint8 or float32 [C,H0,W0] before the transforms, for refiners
    start: list[Tensor]  # uint8 [H0,W0] each: the masks that the first clicks correct
    window: list  # per image y0,x0,y1,x1 of the crop and H,W of the whole image at its scale
    meta: list[Meta]


class SemanticPrediction(TypedDict):
    """The label map of an image at its original size."""

    labels: Tensor  # uint8 or int16 [H0,W0]
    probabilities: NotRequired[Tensor]  # float32 [K,H0,W0]
    presence: NotRequired[Tensor]  # float32 [K] in 0..1, whether the image holds each class; of models that predict it


class MultiLabelPrediction(TypedDict):
    """A mask of each class at the image's original size; masks may overlap."""

    positive: Tensor  # bool [K,H0,W0]
    probabilities: Tensor  # float32 [K,H0,W0]


class InstancePrediction(TypedDict):
    """The instances found in an image, the best score first, at the image's original size."""

    masks: list[RLE]
    scores: Tensor  # float32 [n]
    labels: Tensor  # int64 [n]
    boxes: Tensor  # float32 [n,4] x0, y0, x1, y1, x1 and y1 exclusive


class ClickPrediction(TypedDict):
    """How clicks found an object, and the last mask at the image's original size."""

    labels: np.ndarray  # uint8 [H0,W0]: 1 is the object
    clicks: np.ndarray  # float32 [n,3] y, x, is_positive
    ious: np.ndarray  # float32 [n] in 0..1, after each click
    seconds: float  # of all clicks
    masks: NotRequired[list[RLE]]  # after each click
    image_seconds: NotRequired[float]  # of preparing the image once, within first_seconds
    first_seconds: NotRequired[float]  # until the first click was answered, within seconds
    device: NotRequired[str]  # that the seconds were measured on
    boundary_ious: NotRequired[np.ndarray]  # float32 [n] in 0..1, after each click
    user_ious: NotRequired[np.ndarray]  # float32 [users] in 0..1, after the first click of each user alone


Prediction: TypeAlias = SemanticPrediction | MultiLabelPrediction | InstancePrediction | ClickPrediction


class Found(NamedTuple):
    """Instances found in an image, the best score first.

    scores: float32 [n]; labels: int64 [n]; masks: bool [n,H,W]; boxes: float32 [n,4] x0, y0, x1, y1 around each mask,
    x1 and y1 exclusive, 0 for an empty one; quality: float32 [n] in 0..1, how good each mask is as a label, None where
    the head does not say.
    """

    scores: Tensor
    labels: Tensor
    masks: Tensor
    boxes: Tensor
    quality: Tensor | None = None


@dataclass
class Stage:
    """One training of a run; most runs have a single one.

    name: also the stage's folder, "" for the run's own folder; overrides: sections that replace the config's.
    """

    name: str = ""
    overrides: dict = field(default_factory=dict)


class WithArguments:
    """Base of classes whose repr shows the constructor's arguments, as far as they are attributes of the same name."""

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = vars(self).get(name, parameter.default)
            if name in vars(self) and (parameter.default is parameter.empty or not _equal(value, parameter.default)):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _equal(value: object, default: object) -> bool:
    """Whether a value is the default; arrays, which have no single answer, are never."""
    is_same = isinstance(value, type(default)) and value == default
    return isinstance(is_same, bool | np.bool_) and bool(is_same)


def default_palette(num_classes: int) -> tuple[Color, ...]:
    """The PASCAL VOC color map: different colors, black first.

    Bits 0, 3, 6 of an index become the highest bits of red, bits 1, 4, 7 of green, bits 2, 5 of blue (VOCcode/
    VOClabelcolormap of the development kit).

    Args:
        num_classes: how many colors, below 2 ** 24.
    """
    rows = []
    for index in range(num_classes):
        red, green, blue = (sum((index >> 3 * bit + c & 1) << 7 - bit for bit in range(8)) for c in range(3))
        rows.append((red, green, blue))
    return tuple(rows)

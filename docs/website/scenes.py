"""Predictions and targets in which one number is varied, for the curves of losses.

Each scene takes a loss and that number, and returns the loss's value: a number, or its terms by name.
"""

import math
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from segkit.ops.edges import direction_classes

Value: TypeAlias = Tensor | dict[str, Tensor]

SIDE, RADIUS = 64, 16
SURE = 4.0
"""Logit of what is predicted for sure."""


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# pixels that are right with the probability p


def labels() -> Tensor:
    """Half of each class, int64 [1,4,4]."""
    return (torch.arange(16) % 2).view(1, 4, 4)


def two_logits(target: Tensor, p: float | Tensor) -> Tensor:
    """Logits [1,2,H,W] whose softmax gives the class of the target p."""
    p = torch.as_tensor(p)
    half = (torch.log(p) - torch.log1p(-p)) / 2 * (2 * target - 1)
    return torch.stack([-half, half], 1)


def softmax(loss: nn.Module, p: float) -> Value:
    return loss(two_logits(labels(), p), labels())


def one_channel(loss: nn.Module, p: float) -> Value:
    return loss(logit(p) * (2.0 * labels()[:, None] - 1), labels())


def rare(loss: nn.Module, p: float) -> Value:
    target = (torch.arange(16) % 8 == 0).long().view(1, 4, 4)
    return loss(two_logits(target, torch.where(target == 1, p, 0.9)), target)


def near_edges(loss: nn.Module, p: float) -> Value:
    sure = 0.7 if "upper_bound" in vars(loss) else 0.6
    return loss(two_logits(labels(), sure), torch.full((1, 1, 4, 4), logit(p)), labels())


def presence(loss: nn.Module, p: float) -> Value:
    return loss(torch.tensor([[logit(p), -logit(p), logit(p)]]), torch.tensor([[[0, 2]]]))


def auxiliary(loss: nn.Module, p: float) -> Value:
    return loss(torch.full((1, 1, 2, 2), -logit(p)))


def budget(loss: nn.Module, share: float) -> Value:
    return loss(torch.tensor([share * loss.total]))


def affinity(loss: nn.Module, p: float) -> Value:
    target = labels().flatten()
    same = target[:, None] == target[None]
    return loss(logit(p) * (2.0 * same - 1)[None], labels())


def segfix(loss: nn.Module, p: float) -> Value:
    angle = torch.linspace(-170, 170, 16).view(1, 4, 4)
    right = torch.nn.functional.one_hot(direction_classes(angle, 8), 8).permute(0, 3, 1, 2)
    sure = math.log(p / ((1 - p) / 7))
    return loss(two_logits(labels(), p), sure * right.float(), labels(), angle)


# class steps: class 0 is the background, 1 an old class, 2 a new one


def pixel(*values: float) -> Tensor:
    """The logits of one pixel, float [1,K,1,1]."""
    return torch.tensor(values).view(1, -1, 1, 1)


def sigmoids_of_unknown(loss: nn.Module, p: float) -> Value:
    return loss(pixel(-logit(p), -logit(p), logit(p)), torch.tensor([[[1]]]))


def new_class(loss: nn.Module, p: float) -> Value:
    """A pixel of the new class, output 1 behind one old output."""
    return loss(pixel(0.0, logit(p)), pixel(0.0), torch.tensor([[[2]]]))


def merged_background(loss: nn.Module, p: float) -> Value:
    """The old class has p, the background half of the rest and the new class the other half."""
    probabilities = torch.tensor([(1 - p) / 2, p, (1 - p) / 2])
    return loss(probabilities.log().view(1, 3, 1, 1), pixel(0.0, 0.0), torch.tensor([[[0]]]))


def pseudo_label(loss: nn.Module, p: float) -> Value:
    """The teacher sees the old class where the label says background."""
    student = torch.tensor([(1 - p) / 2, p, (1 - p) / 2]).log().view(1, 3, 1, 1)
    return loss(student, pixel(-SURE, SURE), torch.tensor([[[0]]]))


def pseudo_label_binary(loss: nn.Module, p: float) -> Value:
    """As pseudo_label, with outputs for what is unknown, the background, the old and the new class."""
    student = pixel(-logit(p), -logit(p), logit(p), -logit(p))
    return loss(student, pixel(-SURE, -SURE, SURE), torch.tensor([[[0]]]))


TEACHER = 0.9
"""Probability that the teacher gives its class."""


def distilled(loss: nn.Module, p: float) -> Value:
    return loss(two_logits(labels(), p), two_logits(labels(), TEACHER))


def both(p: float) -> Tensor:
    """Two outputs of one pixel, the first found with p, the second not."""
    return pixel(logit(p), -logit(p))


def distilled_sigmoids(loss: nn.Module, p: float) -> Value:
    return loss(both(p), both(TEACHER))


def decomposed(loss: nn.Module, p: float) -> Value:
    return loss(both(p), both(TEACHER), both(p), both(TEACHER))


def disjoint(loss: nn.Module, p: float) -> Value:
    """Two old classes, and a new one that is not there and is found with 0.1."""
    return loss(torch.cat([both(p), pixel(logit(0.1))], 1), both(TEACHER), torch.tensor([[[0]]]))


def unbiased(loss: nn.Module, p: float) -> Value:
    """The new class has p, and of the rest the background 0.9."""
    student = torch.tensor([(1 - p) * 0.9, (1 - p) * 0.1, p]).log().view(1, 3, 1, 1)
    return loss(student, pixel(math.log(TEACHER), math.log(1 - TEACHER)))


# a disk whose prediction is shifted


def disk(shift: float = 0.0) -> Tensor:
    """Signed distance in pixels of each pixel to the outline of the disk, float [64,64], positive inside."""
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    return RADIUS - torch.hypot(y - SIDE / 2, x - SIDE / 2 - shift)


def found(shift: float) -> Tensor:
    """Logits of the shifted disk, float [64,64], that pass 0 at its outline."""
    return disk(shift).clamp(-SURE, SURE)


def truth() -> Tensor:
    return (disk() > 0).long()


class Objects(NamedTuple):
    """The disk as the one object of an image.

    Attributes:
        boxes, labels, masks: of the object, lists of one image.
        box_masks: the box as a mask.
        image: float [1,3,64,64] in 0..255.
        points, point_labels: some of each side, as PointSup has them.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor]
    box_masks: list[Tensor]
    image: Tensor
    points: list[Tensor]
    point_labels: list[Tensor]


@cache
def objects() -> Objects:
    mask = truth()
    box = [float(SIDE / 2 - RADIUS)] * 2 + [float(SIDE / 2 + RADIUS)] * 2
    filled = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    filled[:, int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = 1
    image = torch.where(mask.bool(), 200.0, 60.0).expand(1, 3, SIDE, SIDE).clone()
    places = np.random.default_rng(0).uniform(box[0] + 0.5, box[2] - 0.5, (1, 10, 2)).astype(np.float32)
    inside = mask.numpy()[places[..., 1].astype(int), places[..., 0].astype(int)].astype(np.int8)
    return Objects(
        boxes=[torch.tensor([box])],
        labels=[torch.tensor([0])],
        masks=[mask[None].to(torch.uint8)],
        box_masks=[filled],
        image=image,
        points=[torch.from_numpy(places)],
        point_labels=[torch.from_numpy(inside)],
    )


def label_map(loss: nn.Module, shift: float) -> Value:
    half = found(shift)[None] / 2
    return loss(torch.stack([-half, half], 1), truth()[None])


def one_mask(loss: nn.Module, shift: float) -> Value:
    return loss(found(shift)[None, None], truth()[None])


def detail(loss: nn.Module, shift: float) -> Value:
    """A line along the outline, 3 pixels wide."""
    return loss((2 * (1.5 - disk(shift).abs())).clamp(-SURE, SURE)[None, None], truth()[None])


def on_image(loss: nn.Module, shift: float) -> Value:
    half = found(shift)[None] / 2
    unlabelled = torch.ones(1, SIDE, SIDE, dtype=torch.uint8)
    return loss(torch.stack([-half, half], 1), objects().image, unlabelled)


def near_boundary(loss: nn.Module, shift: float) -> Value:
    boundary = (disk().abs() < 3).float()[None, None]
    return loss(found(shift)[None, None], truth()[None, None].float(), boundary)


# the same as an object


def small(shift: float) -> Tensor:
    """Logits of the shifted disk at a stride of 4, float [1,16,16]: those at the centers of its cells."""
    return torch.nn.functional.avg_pool2d(found(shift)[None], 4)


META: list[Any] = [dict(size=(SIDE, SIDE), valid=(SIDE, SIDE))]


def masks_of_objects(loss: nn.Module, shift: float) -> Value:
    return loss(small(shift), [torch.tensor([0])], objects().masks)


def points_of_objects(loss: nn.Module, shift: float) -> Value:
    known = objects()
    return loss(small(shift), [torch.tensor([0])], known.image, known.points, known.point_labels)


def colors_of_objects(loss: nn.Module, shift: float) -> Value:
    return loss(small(shift), [torch.tensor([0])], objects().image, objects().boxes, META)


def noisy_masks(loss: nn.Module, shift: float) -> Value:
    known = objects()
    return loss(small(shift), [torch.tensor([0])], known.masks, [torch.ones(1)], known.boxes, META)


def normalized() -> Tensor:
    """The image as a network gets it, float [1,3,64,64]."""
    return (objects().image - 120) / 60


def labelled_box(loss: nn.Module, shift: float) -> Value:
    box = objects().box_masks[0].float()
    return loss(small(shift)[None], small(shift)[None], normalized(), box)


SIZES = (10, 8, 6, 4, 4)
"""Cells per side of each level."""


def solo(shift: float) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Outputs of a head of cells, all of which predict the shifted disk: categories, kernels, mask features."""
    categories = [torch.full((1, 1, side, side), -SURE) for side in SIZES]
    return categories, [torch.ones(1, 1, side, side) for side in SIZES], small(shift)[None]


def cells(loss: nn.Module, shift: float) -> Value:
    known = objects()
    image = normalized()
    masks = known.masks if type(loss).__name__ == "SOLOv2Masks" else known.box_masks
    return loss(*solo(shift), image, known.boxes, known.labels, masks)


def cells_at_points(loss: nn.Module, shift: float) -> Value:
    known = objects()
    parts = (known.boxes, known.labels, known.box_masks, known.points, known.point_labels)
    return loss(*solo(shift), known.image, *parts)


def level_features() -> Tensor:
    """Features that show the object as the image does, float [1,5,16,16]."""
    return torch.nn.functional.avg_pool2d(normalized()[:, :1], 4).expand(1, 5, 16, 16).clone()


def cells_on_levels(loss: nn.Module, shift: float) -> Value:
    known = objects()
    return loss(*solo(shift), level_features(), normalized(), known.boxes, known.labels, known.box_masks)


def query(shift: float, classes: int = 1) -> tuple[list[Tensor], list[Tensor]]:
    """One query that is sure of its class and finds the shifted disk."""
    return [torch.tensor([[[SURE] + [-SURE] * classes]])], [small(shift)[None]]


def queries(loss: nn.Module, shift: float) -> Value:
    torch.manual_seed(0)  # points are drawn
    return loss(*query(shift), objects().labels, objects().masks)


def queries_of_map(loss: nn.Module, shift: float) -> Value:
    torch.manual_seed(0)
    target = torch.where(truth() == 1, 0, 255)[None]
    return loss(*query(shift), target)


def queries_at_points(loss: nn.Module, shift: float) -> Value:
    known = objects()
    return loss(*query(shift), known.image, known.labels, known.points, known.point_labels)


def queries_on_levels(loss: nn.Module, shift: float) -> Value:
    known = objects()
    return loss(*query(shift), level_features(), normalized(), known.boxes, known.labels, known.box_masks)


def queries_on_image(loss: nn.Module, shift: float) -> Value:
    return loss(*query(shift), normalized(), objects().labels, objects().box_masks)


def boxes(loss: nn.Module, shift: float) -> Value:
    """A head of one map with stride 8 whose places all predict the shifted box."""
    side = SIDE // 8
    centers = (torch.arange(side) + 0.5) * 8
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    x0, y0, x1, y1 = objects().boxes[0][0].tolist()
    distances = torch.stack([x - x0 - shift, y - y0, x1 + shift - x, y1 - y])[None] / 8
    maps = [torch.zeros(1, 1, side, side)]
    return loss(maps, [distances], maps, objects().boxes, objects().labels)

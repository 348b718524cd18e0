"""Masks by a small convolutional network with parameters of its own for each instance (conditional convolutions).

Tian et al., CondInst, ECCV 2020, section 3.3, https://arxiv.org/abs/2003.05664. n instances of an image, C channels of
the mask features that all instances share, h w features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.resizing import aligned_bilinear


def parameter_counts(channels: int, inner: int) -> tuple[int, ...]:
    """Returns the numbers of weights of the three layers of an instance's network, then those of their biases.

    Args:
        channels: C of the mask features.
        inner: channels of the two hidden layers. 16 and 8 make 233 parameters in all.
    """
    return ((channels + 2) * inner, inner * inner, inner, inner, inner, 1)


def dynamic_masks(
    features: Tensor, parameters: Tensor, points: Tensor, reach: Tensor, *, stride: int, inner: int = 8
) -> Tensor:
    """Runs each instance's network on the mask features and the relative coordinates of the instance.

    The first two inputs of the network are the offsets of each position from the point where the instance was found, x
    first.

    Args:
        features: float [C,h,w].
        parameters: float [n,sum(parameter_counts)].
        points: float [n,2], x and y in pixels of the point where each instance was found.
        reach: float [n], pixels that the offsets are divided by.
        stride: pixels per cell of the features.
        inner: channels of the two hidden layers.

    Returns:
        float32 logits [n,2 h,2 w].
    """
    channels, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        features, parameters = full_precision(features), full_precision(parameters)
        layers = parameters.split(parameter_counts(channels, inner), 1)
        first = layers[0].unflatten(1, (-1, channels + 2))
        second = layers[1].unflatten(1, (-1, inner))
        third = layers[2].unflatten(1, (-1, inner))
        biases = [layer.unsqueeze(2) for layer in layers[3:]]
        offsets = _offsets(points, reach, (height, width), stride=stride)
        shared = first[:, :, 2:].flatten(0, 1) @ features.flatten(1)
        hidden = torch.baddbmm(biases[0], first[:, :, :2], offsets) + shared.unflatten(0, (-1, inner))
        hidden = torch.baddbmm(biases[1], second, hidden.relu())
        logits = torch.baddbmm(biases[2], third, hidden.relu())
        return aligned_bilinear(logits.unflatten(2, (height, width)), 2)[:, 0]


def _offsets(points: Tensor, reach: Tensor, size: tuple[int, int], *, stride: int) -> Tensor:
    """Returns the offsets from each position of the map to the instance's point, float32 [n,2,h * w]."""
    y = torch.arange(size[0], device=points.device) * stride + stride // 2
    x = torch.arange(size[1], device=points.device) * stride + stride // 2
    grid = torch.stack([x.expand(size[0], -1), y.unsqueeze(1).expand(-1, size[1])]).flatten(1)
    return (points.float().unsqueeze(2) - grid) / reach.float().view(-1, 1, 1)


def chosen_of_objects(objects: Tensor, quality: Tensor, limit: int) -> Tensor:
    """Chooses positions for the mask loss, shared out evenly among the objects.

    Each object has at most limit / number of objects positions, also where all of them together are not too many, as in
    the published networks.

    Args:
        objects: int64 [m], the object that each position is assigned to.
        quality: float [m]; of each object the positions of best quality are chosen.
        limit: largest number of positions; where there are more objects, each has one position.

    Returns:
        int64 [k], increasing indices of the chosen positions.
    """
    each = max(limit // max(len(objects.unique()), 1), 1)
    order = quality.argsort(descending=True, stable=True)
    order = order[objects[order].argsort(stable=True)]  # by object, the best first
    _, counts = objects[order].unique_consecutive(return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.arange(len(order), device=order.device) - starts
    return order[rank < each].sort().values


def sizes_of(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Returns the (h, w) of each of the maps, float [B,C,h,w]."""
    return [(x.shape[2], x.shape[3]) for x in maps]

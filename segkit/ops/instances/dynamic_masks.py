"""Masks by a small network of each instance's own. Tian et al., CondInst, ECCV 2020, section 3.3,
https://arxiv.org/abs/2003.05664. n instances of an image, C channels of the features all of them share, h w map."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.resizing import aligned_bilinear


def parameter_counts(channels: int, inner: int) -> tuple[int, ...]:
    """Of an instance's network: weights of its three layers, then biases of them; 233 in all for 16 and 8."""
    return ((channels + 2) * inner, inner * inner, inner, inner, inner, 1)


def dynamic_masks(
    features: Tensor, parameters: Tensor, places: Tensor, reach: Tensor, *, stride: int, inner: int = 8
) -> Tensor:
    """features: float [C,h,w] at that stride; parameters: float [n,sum(parameter_counts)]; places: float [n,2], x and y
    in pixels where the instance was found; reach: float [n] pixels that offsets from there are divided by -> float32
    logits [n,2 h,2 w]. The network's first two inputs are the offsets, x first."""
    channels, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        features, parameters = full_precision(features), full_precision(parameters)
        parts = parameters.split(parameter_counts(channels, inner), 1)
        first, second, third = (
            part.unflatten(1, (-1, size)) for part, size in zip(parts, (channels + 2, inner, inner))
        )
        biases = [part.unsqueeze(2) for part in parts[3:]]
        offsets = _offsets(places, reach, (height, width), stride=stride)
        shared = first[:, :, 2:].flatten(0, 1) @ features.flatten(1)
        hidden = torch.baddbmm(biases[0], first[:, :, :2], offsets) + shared.unflatten(0, (-1, inner))
        hidden = torch.baddbmm(biases[1], second, hidden.relu())
        logits = torch.baddbmm(biases[2], third, hidden.relu())
        return aligned_bilinear(logits.unflatten(2, (height, width)), 2)[:, 0]


def _offsets(places: Tensor, reach: Tensor, size: tuple[int, int], *, stride: int) -> Tensor:
    """-> float32 [n,2,h * w], from each place of the map to the instance's."""
    y, x = (torch.arange(side, device=places.device) * stride + stride // 2 for side in size)
    grid = torch.stack([x.expand(size[0], -1), y.unsqueeze(1).expand(-1, size[1])]).flatten(1)
    return (places.float().unsqueeze(2) - grid) / reach.float().view(-1, 1, 1)


def chosen_of_objects(objects: Tensor, quality: Tensor, limit: int) -> Tensor:
    """objects: int64 [m], which object each place answers for; quality: float [m] -> int64 indices of at most `limit`
    places (one per object where there are more objects), shared out evenly: of each object those of best quality."""
    if len(objects) <= limit:
        return torch.arange(len(objects), device=objects.device)
    each = max(limit // len(objects.unique()), 1)
    order = quality.argsort(descending=True, stable=True)
    order = order[objects[order].argsort(stable=True)]  # by object, the best first
    _, counts = objects[order].unique_consecutive(return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.arange(len(order), device=order.device) - starts
    return order[rank < each].sort().values


def sizes_of(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """maps: float [B,C,h,w] -> (h, w) of each."""
    return [tuple(x.shape[2:]) for x in maps]

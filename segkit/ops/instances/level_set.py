"""Level-set energy: how unevenly a mask divides the map inside of a box into two regions.

Chan and Vese, TIP 2001, eq. 9, in the form of Li et al., BoxLevelSet, ECCV 2022, section 3.2,
https://arxiv.org/abs/2207.09055. n instances, m targets, C channels, h w mask.
"""

from typing import Any

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision

LEAST_AREA = 1e-5
"""Smallest divisor of a region's mean."""


def region_energy(masks: Tensor, boxes: Tensor, target: Tensor, *, index: Tensor | None = None) -> Tensor:
    """Sums the squared deviations from the mean inside and outside of each mask, over the pixels of its box.

    With mask probabilities p, box masks b and the map t, it is the sum of (b t - u)^2 b p + (b t - v)^2 b (1 - p), and
    the mean over channels; u and v are the means of b t inside and outside of the mask.

    The gradient reaches masks and target, the two means included; boxes get none. No map of n x C channels is made:
    many instances share the target of their image. On a CPU each instance is computed in the rectangle around its box,
    on other devices all of them at once.

    Args:
        masks: float [n,h,w] probabilities.
        boxes: float [n,h,w] box masks, 0 outside.
        target: float [m,C,h,w], the map that is to be even in both regions.
        index: int64 [n], the target of each mask; None for m = n, one each.

    Returns:
        float32 [n].
    """
    masks, target = full_precision(masks), full_precision(target)
    energies = _CroppedEnergy if masks.device.type == "cpu" else _RegionEnergy
    return energies.apply(masks, boxes.to(masks.dtype), target.to(masks.dtype), index)


def contour_length(masks: Tensor, boxes: Tensor) -> Tensor:
    """Computes the total variation of the regions inside and outside of each mask, the length term of eq. 9.

    Args:
        masks: float [n,h,w] probabilities p.
        boxes: float [n,h,w] box masks b.

    Returns:
        float32 [n], the total variation of b p plus that of b (1 - p).
    """
    inside = full_precision(masks) * boxes
    total = masks.new_zeros(len(masks), dtype=inside.dtype)
    for region in (inside, boxes - inside):
        total = total + region.diff(dim=1).abs().sum((1, 2)) + region.diff(dim=2).abs().sum((1, 2))
    return total


def box_areas(boxes: Tensor) -> Tensor:
    """Returns the area of each box mask, at least 1, which energies are divided by.

    Args:
        boxes: float [n,h,w].

    Returns:
        float [n].
    """
    return boxes.sum((1, 2)).clamp_min(1)


class _RegionEnergy(torch.autograd.Function):
    """Energies with the gradient in closed form.

    The derivative of the energy by a mean is 0, unless its region is smaller than LEAST_AREA: then u = s / LEAST_AREA
    is not the mean, and the derivative by u over the area, `pull`, counts.
    """

    @staticmethod
    def forward(ctx: Any, masks: Tensor, boxes: Tensor, target: Tensor, index: Tensor | None) -> Tensor:
        """Returns float [n]."""
        inside = masks * boxes
        outside = boxes - inside
        energy = masks.new_zeros(len(masks))
        means, pulls = [], []
        for region in (inside, outside):
            area = region.sum((1, 2))
            divisor = area.clamp_min(LEAST_AREA)
            for c in range(target.shape[1]):
                channel = _channel(target, c, index) * boxes
                total = (channel * region).sum((1, 2))
                mean = total / divisor
                energy += channel.sub_(mean.view(-1, 1, 1)).square_().mul_(region).sum((1, 2))
                means.append(mean)
                pulls.append(torch.where(area < LEAST_AREA, -2 * (total - mean * area) / divisor, 0.0))
        shape = (2, target.shape[1], len(masks), 1, 1)
        ctx.save_for_backward(masks, boxes, target, torch.stack(means).view(shape), torch.stack(pulls).view(shape))
        ctx.index = index
        return energy / target.shape[1]

    @staticmethod
    def backward(ctx: Any, to_energy: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        """Takes the gradient float [n] to the energies; returns those to masks [n,h,w] and target [m,C,h,w]."""
        masks, boxes, target, (u, v), (pull_in, pull_out) = ctx.saved_tensors
        weight = boxes * (to_energy / target.shape[1]).view(-1, 1, 1)
        slope = torch.zeros_like(masks)
        to_target: Tensor | None = None
        for c in range(target.shape[1]):
            channel = _channel(target, c, ctx.index) * boxes
            slope.addcmul_(channel - (u[c] + v[c]) / 2, 2 * (v[c] - u[c])).addcmul_(channel, pull_in[c] - pull_out[c])
        if ctx.needs_input_grad[2]:
            to_target = torch.zeros_like(target)
            inside = masks * boxes
            for c in range(target.shape[1]):
                channel = _channel(target, c, ctx.index) * boxes
                to_channel = (2 * (channel - u[c]) + pull_in[c]) * inside
                to_channel += (2 * (channel - v[c]) + pull_out[c]) * (boxes - inside)
                _add_to_channel(to_target, to_channel.mul_(weight), c, ctx.index)
        return slope.mul_(weight), None, to_target, None


class _CroppedEnergy(torch.autograd.Function):
    """The same, instance by instance in the rectangle outside of which its box mask is 0."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, boxes: Tensor, target: Tensor, index: Tensor | None) -> Tensor:
        """Returns float [n]."""
        numbers = range(len(masks)) if index is None else index.tolist()
        ctx.crops = _rectangles(boxes)
        energy = masks.new_zeros(len(masks))
        means, pulls = masks.new_zeros(2, len(masks), 2, target.shape[1], 1, 1)
        for i, (number, (rows, columns)) in enumerate(zip(numbers, ctx.crops)):
            box = boxes[i, rows, columns]
            inside = masks[i, rows, columns] * box
            regions = torch.stack([inside, box - inside])
            values = target[number, :, rows, columns] * box
            area = regions.sum((1, 2)).view(2, 1)
            divisor = area.clamp_min(LEAST_AREA)
            total = torch.stack([(values * region).sum((1, 2)) for region in regions])
            mean = total / divisor
            means[i] = mean.view(2, -1, 1, 1)
            for region, of_region in zip(regions, means[i]):
                energy[i] += ((values - of_region).square_() * region).sum()
            if float(area.min()) < LEAST_AREA:
                pulls[i] = torch.where(area < LEAST_AREA, -2 * (total - mean * area) / divisor, 0.0).view(2, -1, 1, 1)
        ctx.save_for_backward(masks, boxes, target, means, pulls)
        ctx.numbers = numbers
        return energy / target.shape[1]

    @staticmethod
    def backward(ctx: Any, to_energy: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        """As of _RegionEnergy."""
        masks, boxes, target, means, pulls = ctx.saved_tensors
        weights = to_energy / target.shape[1]
        to_masks = torch.zeros_like(masks)
        to_target = torch.zeros_like(target) if ctx.needs_input_grad[2] else None
        for i, (number, (rows, columns)) in enumerate(zip(ctx.numbers, ctx.crops)):
            (u, v), (pull_in, pull_out) = means[i], pulls[i]
            box = boxes[i, rows, columns]
            weight = box * weights[i]
            values = target[number, :, rows, columns] * box
            slope = (values - (u + v) / 2) * (2 * (v - u)) + values * (pull_in - pull_out)
            to_masks[i, rows, columns] = slope.sum(0) * weight
            if to_target is not None:
                inside = masks[i, rows, columns] * box
                to_values = (2 * (values - u) + pull_in) * inside + (2 * (values - v) + pull_out) * (box - inside)
                to_target[number, :, rows, columns] += to_values * weight
        return to_masks, None, to_target, None


def _rectangles(boxes: Tensor) -> list[tuple[slice, slice]]:
    """Rows and columns of the rectangle around each of the box masks [n,h,w]; empty ones around an empty mask."""
    ends: list[list[slice]] = []
    for axis in (2, 1):
        is_used = boxes.amax(axis) != 0
        first, beyond = is_used.int().argmax(1), is_used.shape[1] - is_used.flip(1).int().argmax(1)
        beyond = torch.where(is_used.any(1), beyond, first)
        ends.append([slice(a, b) for a, b in zip(first.tolist(), beyond.tolist())])
    return list(zip(*ends))


def _channel(target: Tensor, c: int, index: Tensor | None) -> Tensor:
    """Returns one channel of each instance's target, float [n,h,w]."""
    return target[:, c] if index is None else target[:, c].index_select(0, index)


def _add_to_channel(to_target: Tensor, values: Tensor, c: int, index: Tensor | None) -> None:
    if index is None:
        to_target[:, c] = values
    else:
        to_target[:, c].index_add_(0, index, values)

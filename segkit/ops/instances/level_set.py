"""Energy of a mask as the level set that parts a box into two even regions. Chan and Vese, TIP 2001, eq. 9, in the form
of Li et al., BoxLevelSet, ECCV 2022, section 3.2, https://arxiv.org/abs/2207.09055.
n instances, m targets, C channels, h w mask."""

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision

LEAST_AREA = 1e-5


def region_energy(masks: Tensor, boxes: Tensor, target: Tensor, *, index: Tensor | None = None) -> Tensor:
    """masks: float [n,h,w] probabilities p; boxes: float [n,h,w] box masks b, 0 outside; target: float [m,C,h,w], the
    map t that is to be even; index: int64 [n], which target belongs to each mask (None: m = n, one each)
    -> float32 [n], the sum over the box's pixels of (b t - u)^2 b p + (b t - v)^2 b (1 - p), mean over channels,
    u and v being the means of b t inside and outside of the mask.

    The gradient reaches masks and target, the two means included; boxes get none. No map of n x C channels is made:
    many instances share the target of their image.
    """
    masks, target = full_precision(masks), full_precision(target)
    return _RegionEnergy.apply(masks, boxes.to(masks.dtype), target.to(masks.dtype), index)


def contour_length(masks: Tensor, boxes: Tensor) -> Tensor:
    """masks, boxes: float [n,h,w] -> float32 [n], total variation of b p plus that of b (1 - p), eq. 9's length."""
    inside = full_precision(masks) * boxes
    total = masks.new_zeros(len(masks), dtype=inside.dtype)
    for region in (inside, boxes - inside):
        total = total + region.diff(dim=1).abs().sum((1, 2)) + region.diff(dim=2).abs().sum((1, 2))
    return total


def box_areas(boxes: Tensor) -> Tensor:
    """boxes: float [n,h,w] -> float [n], their sums, at least 1: what an energy is divided by."""
    return boxes.sum((1, 2)).clamp_min(1)


class _RegionEnergy(torch.autograd.Function):
    """Energies with the gradient in closed form.

    At the means the energy does not change with them (its derivative there is 0), unless a region is smaller than
    LEAST_AREA: there u = s / LEAST_AREA is no mean, and `pull`, the energy's derivative by u over the area, counts.
    """

    @staticmethod
    def forward(ctx, masks: Tensor, boxes: Tensor, target: Tensor, index: Tensor | None) -> Tensor:
        """-> float [n]."""
        inside = masks * boxes
        outside = boxes - inside
        energy = masks.new_zeros(len(masks))
        means, pulls = [], []
        for region in (inside, outside):
            area = region.sum((1, 2))
            divisor = area.clamp_min(LEAST_AREA)
            for c in range(target.shape[1]):
                even = _channel(target, c, index) * boxes
                total = (even * region).sum((1, 2))
                mean = total / divisor
                energy += even.sub_(mean.view(-1, 1, 1)).square_().mul_(region).sum((1, 2))
                means.append(mean)
                pulls.append(torch.where(area < LEAST_AREA, -2 * (total - mean * area) / divisor, 0.0))
        shape = (2, target.shape[1], len(masks), 1, 1)
        ctx.save_for_backward(masks, boxes, target, torch.stack(means).view(shape), torch.stack(pulls).view(shape))
        ctx.index = index
        return energy / target.shape[1]

    @staticmethod
    def backward(ctx, to_energy: Tensor):
        """to_energy: float [n] -> gradients to masks [n,h,w] and target [m,C,h,w]."""
        masks, boxes, target, (u, v), (pull_in, pull_out) = ctx.saved_tensors
        weight = boxes * (to_energy / target.shape[1]).view(-1, 1, 1)
        slope, to_target = torch.zeros_like(masks), None
        for c in range(target.shape[1]):
            even = _channel(target, c, ctx.index) * boxes
            slope.addcmul_(even - (u[c] + v[c]) / 2, 2 * (v[c] - u[c])).addcmul_(even, pull_in[c] - pull_out[c])
        if ctx.needs_input_grad[2]:
            to_target = torch.zeros_like(target)
            inside = masks * boxes
            for c in range(target.shape[1]):
                even = _channel(target, c, ctx.index) * boxes
                to_even = (2 * (even - u[c]) + pull_in[c]) * inside
                to_even += (2 * (even - v[c]) + pull_out[c]) * (boxes - inside)
                _add_to_channel(to_target, to_even.mul_(weight), c, ctx.index)
        return slope.mul_(weight), None, to_target, None


def _channel(target: Tensor, c: int, index: Tensor | None) -> Tensor:
    """One channel of each instance's target, float [n,h,w]."""
    return target[:, c] if index is None else target[:, c].index_select(0, index)


def _add_to_channel(to_target: Tensor, values: Tensor, c: int, index: Tensor | None) -> None:
    if index is None:
        to_target[:, c] = values
    else:
        to_target[:, c].index_add_(0, index, values)

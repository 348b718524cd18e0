"""Simulated clicks of iterative training. RITM, Sofiiuk et al., arXiv 2102.06583, section 3.2, and its code.

B batch, H W image, P clicks per sign. All functions are tensor operations on the inputs' device; the host never waits
for it.
"""

import torch
from torch import Tensor

from segkit.ops.interactive.distance import edt_5x5


def error_regions(probabilities: Tensor, target: Tensor, *, threshold: float = 0.49) -> tuple[Tensor, Tensor]:
    """Finds the region of each sample in which the next click may fall.

    False negatives have target > 0.5 and probability < threshold, false positives target <= 0.5 (ignored pixels too)
    and probability > threshold. The click goes to the sign of error whose largest distance to its boundary is larger
    (in a tie: false positives, a negative click), to the pixels with more than half of that distance. That is about a
    quarter of a convex region and stands for the erosion of the paper.

    Args:
        probabilities: float [B,1,H,W] in 0..1.
        target: [B,H,W] or [B,1,H,W] in 0..1, -1 = ignored.
        threshold: probability above which a pixel counts as object.

    Returns:
        The region bool [B,H,W], empty where nothing is wrong, and is_positive bool [B], the sign of the click.
    """
    predicted = probabilities.detach().squeeze(1)
    is_object = target.view(target.shape[0], *target.shape[-2:]) > 0.5
    missed = is_object & (predicted < threshold)
    wrong = ~is_object & (predicted > threshold)
    distance = edt_5x5(torch.cat([missed, wrong])).unflatten(0, (2, -1))
    deepest = distance.flatten(2).amax(2)
    is_positive = deepest[0] > deepest[1]
    chosen = torch.where(is_positive[:, None, None], distance[0], distance[1])
    return chosen > deepest.amax(0)[:, None, None] / 2, is_positive


def draw_pixel(region: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Draws one pixel of each sample's region, all with equal probability.

    Args:
        region: bool [B,H,W].
        rng: a generator on the CPU or on the region's device; None is the default one of the region's device.

    Returns:
        int64 [B,2] (y, x), (-1, -1) where the region is empty.
    """
    batch, _, width = region.shape
    rank = region.flatten(1).cumsum(1)
    number = rank[:, -1]
    device = region.device if rng is None else rng.device
    uniform = torch.rand(batch, generator=rng, device=device, dtype=torch.float64).to(region.device, non_blocking=True)
    wanted = torch.minimum((uniform * number).long() + 1, number)
    index = torch.searchsorted(rank, wanted[:, None]).squeeze(1)
    pixel = torch.stack([index // width, index % width], dim=1)
    return torch.where((number > 0)[:, None], pixel, -1)


def next_training_clicks(
    probabilities: Tensor, target: Tensor, rng: torch.Generator | None = None, *, threshold: float = 0.49
) -> Tensor:
    """Draws one click per sample, uniformly in its error region.

    Args:
        probabilities: float [B,1,H,W] in 0..1.
        target: [B,H,W] or [B,1,H,W] in 0..1, -1 = ignored.
        rng: see draw_pixel.
        threshold: probability above which a pixel counts as object.

    Returns:
        float32 [B,3] of y, x and the sign (1 positive, 0 negative); y = x = -1 for a sample without an error.
    """
    region, is_positive = error_regions(probabilities, target, threshold=threshold)
    pixel = draw_pixel(region, rng)
    return torch.cat([pixel, is_positive[:, None]], dim=1).float()


def add_clicks(clicks: Tensor, new: Tensor, order: int) -> Tensor:
    """Adds one click to each sample.

    A positive click (y, x, order) goes to row P - order, a negative one to row 2P - order: each half fills from its
    end, and what stood there is overwritten. A sample without an error does not change.

    Args:
        clicks: float32 [B,2P,3] of y, x, order, first P positive.
        new: float32 [B,3] as next_training_clicks returns it.
        order: 1..P, the number of added clicks with this one.

    Returns:
        A changed copy of the clicks.

    Raises:
        ValueError: for an order beyond P.
    """
    per_sign = clicks.shape[1] // 2
    if not 1 <= order <= per_sign:
        raise ValueError(f"order = {order}: clicks hold {per_sign} per sign; raise max_points of the sampled clicks")
    is_positive = new[:, 2] > 0.5
    slot = torch.where(is_positive, per_sign - order, 2 * per_sign - order)
    slot = slot[:, None, None].expand(-1, 1, 3)
    row = torch.cat([new[:, :2], torch.full_like(new[:, :1], order)], dim=1).to(clicks.dtype)
    has_error = new[:, :2].amax(1) >= 0
    row = torch.where(has_error[:, None, None], row[:, None], clicks.gather(1, slot))
    return clicks.scatter(1, slot, row)


def append_clicks(clicks: Tensor, new: Tensor) -> Tensor:
    """Adds one click to each sample, in the first empty row of its sign, with an order after all others.

    Where no row is empty, the last one of the sign is overwritten. A sample without an error does not change.

    Args:
        clicks: float32 [B,2P,3] of y, x, order, first P positive.
        new: float32 [B,3] as next_training_clicks returns it.

    Returns:
        A changed copy of the clicks.
    """
    per_sign = clicks.shape[1] // 2
    is_empty = (clicks[..., :2].amax(-1) < 0).unflatten(1, (2, per_sign))
    rows = torch.arange(per_sign, device=clicks.device)
    first = torch.where(is_empty, rows, per_sign - 1).amin(2)
    is_positive = new[:, 2] > 0.5
    slot = torch.where(is_positive, first[:, 0], per_sign + first[:, 1])[:, None, None].expand(-1, 1, 3)
    order = clicks[..., 2].amax(1, keepdim=True) + 1
    row = torch.cat([new[:, :2], order], dim=1).to(clicks.dtype)
    has_error = new[:, :2].amax(1) >= 0
    row = torch.where(has_error[:, None, None], row[:, None], clicks.gather(1, slot))
    return clicks.scatter(1, slot, row)

"""The simulated clicks of iterative training. RITM, Sofiiuk et al., arXiv 2102.06583, section 3.2, and its code.

B batch, H W image, P clicks per sign. Everything is a tensor operation on the inputs' device: nothing waits for it.
"""

import torch
from torch import Tensor

from segkit.ops.interactive.distance import edt_5x5


def error_regions(probabilities: Tensor, target: Tensor, *, threshold: float = 0.49) -> tuple[Tensor, Tensor]:
    """Where the next click of each sample may fall. probabilities: float [B,1,H,W]; target: 0..1, -1 = ignored,
    [B,H,W] or [B,1,H,W] -> region bool [B,H,W], empty where nothing is wrong, and is_positive bool [B].

    Missed: target > .5 and probability < threshold; wrong: target <= .5 (ignored pixels too) and probability >
    threshold. The kind whose distance to its boundary is larger gets the click (a tie: negative), in the pixels with
    more than half of that distance: about a quarter of a convex region, the paper's erosion.
    """
    found, is_object = probabilities.detach().squeeze(1), target.view(target.shape[0], *target.shape[-2:]) > 0.5
    missed = is_object & (found < threshold)
    wrong = ~is_object & (found > threshold)
    distance = edt_5x5(torch.cat([missed, wrong])).unflatten(0, (2, -1))
    deepest = distance.flatten(2).amax(2)
    is_positive = deepest[0] > deepest[1]
    chosen = torch.where(is_positive[:, None, None], distance[0], distance[1])
    return chosen > deepest.amax(0)[:, None, None] / 2, is_positive


def draw_pixel(region: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """region: bool [B,H,W] -> int64 [B,2] (y, x) uniform in each sample's region, (-1, -1) where it is empty.
    rng: on the CPU or the region's device; None = the device's default."""
    batch, _, width = region.shape
    rank = region.flatten(1).cumsum(1)
    number = rank[:, -1]
    device = region.device if rng is None else rng.device
    uniform = torch.rand(batch, generator=rng, device=device, dtype=torch.float64).to(region.device, non_blocking=True)
    wanted = torch.minimum((uniform * number).long() + 1, number)
    place = torch.searchsorted(rank, wanted[:, None]).squeeze(1)
    pixel = torch.stack([place // width, place % width], dim=1)
    return torch.where((number > 0)[:, None], pixel, -1)


def next_training_clicks(
    probabilities: Tensor, target: Tensor, rng: torch.Generator | None = None, *, threshold: float = 0.49
) -> Tensor:
    """One click per sample, uniform in its error region. probabilities: float [B,1,H,W]; target: [B,H,W] or [B,1,H,W],
    0..1, -1 = ignored; rng as in draw_pixel -> float32 [B,3] (y, x, 1 = positive or 0); y = x = -1 without an error."""
    region, is_positive = error_regions(probabilities, target, threshold=threshold)
    pixel = draw_pixel(region, rng)
    return torch.cat([pixel, is_positive[:, None]], dim=1).float()


def add_clicks(clicks: Tensor, new: Tensor, order: int) -> Tensor:
    """clicks: float32 [B,2P,3]; new: float32 [B,3] of next_training_clicks; order: 1..P, counts the added clicks.

    -> a copy of clicks with (y, x, order) at slot P - order (positive) or 2P - order (negative): each half fills from
    its end and what stands there is overwritten. A sample without an error stays as it is. ValueError beyond P.
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

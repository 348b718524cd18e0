"""Masks known at points, and what queries cost as objects by them. Cheng et al., Mask2Former, CVPR 2022, section 3.3,
https://arxiv.org/abs/2112.01527; points as in Kirillov et al., PointRend, CVPR 2020, section 3.3. Q queries, n objects,
P points, h w map."""

import torch
import torch.nn.functional as F
from torch import Tensor


def at_places(maps: Tensor, places: Tensor) -> Tensor:
    """maps: float [n,h,w]; places: float [n,P,2] or [1,P,2], x and y with 0 and 1 at the borders -> float [n,P],
    bilinear, 0 beyond."""
    if not len(maps):
        return maps.new_zeros(0, places.shape[1]) + maps.sum()
    grid = (2 * places - 1).expand(len(maps), -1, -1).unsqueeze(2)
    return F.grid_sample(maps.unsqueeze(1), grid, align_corners=False)[:, 0, :, 0]


def uncertain_places(
    logits: Tensor, points: int, generator: torch.Generator, *, oversample: float = 3.0, importance: float = 0.75
) -> Tensor:
    """logits: float [n,h,w] -> float [n,points,2], for each map: of oversample * points random places the importance *
    points whose logit is nearest to 0, the others anywhere."""
    count, device = len(logits), logits.device
    places = torch.rand(count, int(oversample * points), 2, device=device, generator=generator)
    chosen = int(importance * points)
    index = at_places(logits.detach(), places).abs().topk(chosen, 1, largest=False).indices
    best = places.gather(1, index.unsqueeze(2).expand(-1, -1, 2))
    return torch.cat([best, torch.rand(count, points - chosen, 2, device=device, generator=generator)], 1)


def point_dice(chances: Tensor, known: Tensor, *, smooth: float = 1.0) -> Tensor:
    """chances, known: float [n,P] in 0..1 -> float [n], 1 - (2 ab + smooth) / (a + b + smooth)."""
    return 1 - (2 * (chances * known).sum(1) + smooth) / (chances.sum(1) + known.sum(1) + smooth)


def mask_costs(logits: Tensor, known: Tensor, *, smooth: float = 1.0) -> tuple[Tensor, Tensor]:
    """logits: float [Q,P]; known: float [n,P] in 0..1 -> float [Q,n] each: every pair's binary cross entropy, its mean
    over points, and every pair's point_dice."""
    with torch.autocast(logits.device.type, enabled=False):
        # -t log p - (1 - t) log(1 - p) = softplus(x) - t x
        entropy = (F.softplus(logits).sum(1, keepdim=True) - logits @ known.T) / max(logits.shape[1], 1)
        chances = logits.sigmoid()
        sums = chances.sum(1, keepdim=True) + known.sum(1)
        return entropy, 1 - (2 * (chances @ known.T) + smooth) / (sums + smooth)

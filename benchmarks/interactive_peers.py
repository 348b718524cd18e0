"""What the interactive benchmark compares with: the same network run as RITM's published code runs it, written plainly.

Its structure, not its text: one map per click before the minimum, clicks drawn sample by sample on the host, the whole
object attention of one class in every pass, and every output at full size. B batch, P clicks per sign.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def disk_maps(clicks: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """As segkit.ops.interactive.click_maps.disk_maps, by B * 2P whole maps of squared distances."""
    batch, rows = clicks.shape[:2]
    points = clicks.reshape(-1, 3)[:, :2]
    invalid = points.amax(1) < 0
    y, x = (torch.arange(side, dtype=torch.float32, device=clicks.device) for side in size)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")).unsqueeze(0).repeat(len(points), 1, 1, 1)
    grid = grid.add_(-points.view(-1, 2, 1, 1)).mul_(1.0)
    grid.mul_(grid)
    distance = grid[:, :1] + grid[:, 1:]
    distance[invalid] = 1e6
    distance = distance.view(batch, 2, rows // 2, *size).amin(2)
    return (distance <= radius**2).float()


def guidance(clicks: Tensor, size: tuple[int, int], previous: Tensor) -> Tensor:
    """Previous mask and disks of radius 5."""
    return torch.cat([previous, disk_maps(clicks, size, 5.0)], dim=1)


def head_outputs(head: nn.Module, features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The OCR head with all of its attention computed -> logits and coarse logits."""
    maps = [F.interpolate(f, features[0].shape[-2:], mode="bilinear", align_corners=True) for f in features]
    x = torch.cat(maps, dim=1)
    coarse = head.coarse_classifier(head.coarse_conv(x))
    x = head.embed(x)
    share = coarse.flatten(2).softmax(2)
    vectors = torch.matmul(share, x.flatten(2).transpose(1, 2)).permute(0, 2, 1).unsqueeze(3)
    query = head.relation.query(x).flatten(2).transpose(1, 2)
    key = head.relation.key(vectors).flatten(2)
    value = head.relation.value(vectors).flatten(2).transpose(1, 2)
    similar = (torch.matmul(query, key) * head.relation.scale).softmax(-1)
    context = torch.matmul(similar, value).transpose(1, 2).contiguous().view(len(x), -1, *x.shape[-2:])
    context = head.relation.out(context)
    x = head.dropout(head.fuse(torch.cat([context, x], dim=1)))
    return head.classifier(x), coarse


def run(model: nn.Module, image: Tensor, clicks: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
    """image: float [B,3,H,W] in 0..1 -> logits and coarse logits [B,1,H,W]."""
    mean, std = (
        torch.tensor(v, device=image.device).view(1, 3, 1, 1) / 255 for v in (model.backbone.mean, model.backbone.std)
    )
    image, stem_add = model.guide((image - mean) / std, guidance(clicks, tuple(image.shape[-2:]), previous))
    outputs = head_outputs(model.head, model.backbone(image, stem_add))
    return tuple(F.interpolate(o, image.shape[-2:], mode="bilinear", align_corners=True) for o in outputs)


def next_clicks(prediction: Tensor, target: Tensor, clicks: Tensor, order: int, rng: np.random.Generator) -> Tensor:
    """One click per sample, one sample after the other on the host."""
    found, truth, clicks = prediction.cpu().numpy()[:, 0], target.cpu().numpy() > 0.5, clicks.clone()
    missed, wrong = truth & (found < 0.49), ~truth & (found > 0.49)
    missed, wrong = (np.pad(m, ((0, 0), (1, 1), (1, 1))).astype(np.uint8) for m in (missed, wrong))
    per_sign = clicks.shape[1] // 2
    for b in range(len(missed)):
        distances = [cv2.distanceTransform(m[b], cv2.DIST_L2, 5)[1:-1, 1:-1] for m in (missed, wrong)]
        deepest = [d.max() for d in distances]
        is_positive = deepest[0] > deepest[1]
        places = np.argwhere(distances[0 if is_positive else 1] > max(deepest) / 2)
        if len(places):
            y, x = places[rng.integers(len(places))]
            slot = per_sign - order if is_positive else 2 * per_sign - order
            clicks[b, slot] = torch.tensor([float(y), float(x), float(order)])
    return clicks

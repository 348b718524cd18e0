"""BoxLevelSet's head written plainly as functions of its published weights, to give the losses their inputs."""

import torch
import torch.nn.functional as F
from torch import Tensor

GRIDS = (8, 6, 4, 3, 2)
CLASSES, IN, WIDTH, DEPTH = 5, 16, 32, 2


def shapes() -> dict[str, tuple[int, ...]]:
    """Published names of the small head -> shapes."""
    names = {}
    for level, convs in enumerate((1, 1, 2, 3)):
        for i in range(convs):
            inputs = WIDTH if i else IN + 2 * (level == 3)
            names[f"feature_convs.{level}.conv{i}.conv.weight"] = (WIDTH, inputs, 3, 3)
    for branch, inputs in (("cate", IN), ("kernel", IN + 2)):
        for i in range(DEPTH):
            names[f"{branch}_convs.{i}.conv.weight"] = (WIDTH, WIDTH if i else inputs, 3, 3)
            names[f"{branch}_convs.{i}.gn.weight"] = names[f"{branch}_convs.{i}.gn.bias"] = (WIDTH,)
    for name, shape in (
        ("solo_cate", (CLASSES, WIDTH, 3, 3)),
        ("solo_kernel", (WIDTH, WIDTH, 1, 1)),
        ("solo_mask", (WIDTH, WIDTH, 1, 1)),
        ("levelset_bottom", (5, WIDTH, 3, 3)),
    ):
        names[f"{name}.weight"], names[f"{name}.bias"] = shape, shape[:1]
    return names


def with_places(maps: Tensor) -> Tensor:
    """Appends x, then y in -1..1."""
    batch, _, height, width = maps.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.cat([maps, torch.stack([x, y]).expand(batch, 2, height, width)], 1)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def head(weights: dict[str, Tensor], features: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """features: five of [B,16,h,w] -> categories and kernels of each level, mask features, level-set features."""

    def tower(branch: str, maps: Tensor) -> Tensor:
        for i in range(DEPTH):
            maps = F.conv2d(maps, weights[f"{branch}_convs.{i}.conv.weight"], padding=1)
            norm = [weights[f"{branch}_convs.{i}.gn.{part}"] for part in ("weight", "bias")]
            maps = F.group_norm(maps, 32, *norm).relu()
        padding = {"cate": 1, "kernel": 0}[branch]
        return F.conv2d(maps, weights[f"solo_{branch}.weight"], weights[f"solo_{branch}.bias"], padding=padding)

    first, *middle, last = features
    half = F.interpolate(first, scale_factor=0.5, mode="bilinear", align_corners=False)
    split = [half, *middle, resize(last, features[3].shape[2:])]
    categories = [tower("cate", resize(maps, (grid, grid))) for maps, grid in zip(split, GRIDS)]
    kernels = [tower("kernel", resize(with_places(maps), (grid, grid))) for maps, grid in zip(split, GRIDS)]
    total = 0
    for level, maps in enumerate(features[:4]):
        maps = with_places(maps) if level == 3 else maps
        for i in range(max(level, 1)):
            maps = F.conv2d(maps, weights[f"feature_convs.{level}.conv{i}.conv.weight"], padding=1).relu()
            if level:
                maps = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + maps
    mask_features = F.conv2d(total, weights["solo_mask.weight"], weights["solo_mask.bias"])
    bottom = weights["levelset_bottom.weight"], weights["levelset_bottom.bias"]
    return categories, kernels, mask_features, F.conv2d(mask_features, *bottom, padding=1)

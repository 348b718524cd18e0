"""SOLOv2: Dynamic and Fast Instance Segmentation, Wang et al., NeurIPS 2020, https://arxiv.org/abs/2003.10152, in the
form of BoxLevelSet, Li et al., ECCV 2022, https://arxiv.org/abs/2207.09055. D channels of kernels, S cells a side."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._dense_layers import Unit, plain
from segkit.models.layers import resize
from segkit.ops.instances.cell_results import CellRules, best_cells
from segkit.ops.instances.matrix_nms import points_nms
from segkit.ops.instances.query_results import at_original, mask_boxes
from segkit.registry import HEADS
from segkit.types import Found, Outputs


def with_places(x: Tensor) -> Tensor:
    """float [B,C,h,w] -> float [B,C + 2,h,w]: with each position's x, then y in -1..1 behind it (CoordConv)."""
    height, width = x.shape[2:]
    rows, columns = (torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype) for side in (height, width))
    places = torch.stack([columns.expand(height, -1), rows.unsqueeze(1).expand(-1, width)])
    return torch.cat([x, places.expand(len(x), -1, -1, -1)], 1)


class MaskFeatures(nn.Module):
    """All maps but the last of a pyramid at the finest one's size, added up (section 3.3.2 of SOLOv2); the deepest of
    them sees its places. groups: of every normalization; 0 for none, as in BoxLevelSet's code, which then ends in a
    plain convolution."""

    def __init__(
        self, in_channels: tuple[int, ...], channels: int, out_channels: int, *, groups: int, deformable: bool
    ):
        super().__init__()
        deepest = len(in_channels) - 1
        self.paths = nn.ModuleList(
            nn.ModuleList(
                Unit(channels if k else width + 2 * (i == deepest), channels, groups, deformable=deformable)
                for k in range(max(i, 1))
            )
            for i, width in enumerate(in_channels)
        )
        self.merge = Unit(channels, out_channels, groups, kernel=1) if groups else plain(channels, out_channels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> float [B,out_channels,h_0,w_0]."""
        total = None
        for i, (path, x) in enumerate(zip(self.paths, features)):
            x = with_places(x) if i == len(self.paths) - 1 else x
            for unit in path:
                x = unit(x)
                if i:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            # doubling overshoots sizes that were rounded up on the way down
            total = x if total is None else total + resize(x, like=total)
        return self.merge(total)


@HEADS.register
class SOLOv2Head(nn.Module):
    """A grid of cells on each map of a pyramid: every cell has scores of classes and the 1x1 kernel that turns the
    features all masks share into its own mask (section 3 of SOLOv2; figure 2 of BoxLevelSet).

    channels, depth, groups: of the towers; grids: cells a side, one per map; kernel_channels: D, None for channels;
    kernel_conv: side of the convolution that makes them; mask_channels: inside of the mask features, None for channels;
    mask_groups: of their normalization, 0 for none; deformable: whether towers and mask features have modulated
    deformable convolutions; level_features: channels of the features that BoxLevelSet's energies compare, 0 for a head
    that has none. SOLOv2 itself has channels=512, kernel_channels=256, kernel_conv=3, mask_channels=128,
    mask_groups=32. Rules of inference, as CellRules has them: score_threshold, mask_threshold, candidates, keep_score,
    limit, decay, sigma.
    """

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[int, ...],
        channels: int = 256,
        depth: int = 4,
        grids: tuple[int, ...] = (40, 36, 24, 16, 12),
        groups: int = 32,
        kernel_channels: int | None = None,
        kernel_conv: int = 1,
        mask_channels: int | None = None,
        mask_groups: int = 0,
        deformable: bool = False,
        level_features: int = 5,
        score_threshold: float = 0.05,
        mask_threshold: float = 0.5,
        candidates: int = 500,
        keep_score: float = 0.025,
        limit: int = 100,
        decay: str = "gaussian",
        sigma: float = 2.0,
    ):
        super().__init__()
        if len(grids) != len(in_channels) or len(grids) < 3 or len(set(in_channels)) != 1:
            raise ValueError(
                f"{len(grids)} grids for maps of {in_channels} channels: one grid per map, three or more, of one "
                "width; use the neck FPN with extra_levels"
            )
        self.grids = tuple(grids)
        # the finest map is used at half its size, the last one at that of the one before
        self.strides = (2 * strides[0], *strides[1:-1], strides[-2])
        self.rules = CellRules(score_threshold, mask_threshold, candidates, keep_score, limit, decay, sigma)
        size = kernel_channels or channels

        def tower(width: int) -> nn.Sequential:
            return nn.Sequential(
                *(Unit(channels if i else width, channels, groups, deformable=deformable) for i in range(depth))
            )

        self.category_tower, self.kernel_tower = tower(in_channels[0]), tower(in_channels[0] + 2)
        self.categories, self.kernels = plain(channels, num_classes), plain(channels, size, kernel_conv)
        # a prior of 0.01 for every class (focal loss, section 3.3)
        nn.init.constant_(self.categories.bias, -math.log(99))
        self.masks = MaskFeatures(
            tuple(in_channels[:-1]), mask_channels or channels, size, groups=mask_groups, deformable=deformable
        )
        self.bottom = plain(size, level_features) if level_features else None

    def forward(self, features: list[Tensor], image: Tensor) -> Outputs:
        """features[i]: float [B,C,h_i,w_i]; image: float [B,3,H,W], normalized -> "categories" and "kernels", lists of
        float [B,K,S,S] and [B,D,S,S]; "mask_features" float [B,D,h_0,w_0]; "level_features" float
        [B,level_features,h_0,w_0]; "image" as it came."""
        first, *middle, last = features
        half = F.interpolate(first, scale_factor=0.5, mode="bilinear", align_corners=False)
        split = [half, *middle, resize(last, like=middle[-1])]
        outputs = {"categories": [], "kernels": [], "mask_features": self.masks(features[:-1]), "image": image}
        for x, grid in zip(split, self.grids):
            cells = resize(x, size=(grid, grid))
            outputs["categories"].append(self.categories(self.category_tower(cells)))
            cells = resize(with_places(x), size=(grid, grid))
            outputs["kernels"].append(self.kernels(self.kernel_tower(cells)))
        if self.bottom is not None:
            outputs["level_features"] = self.bottom(outputs["mask_features"])
        return outputs

    @torch.no_grad()
    def instances(self, outputs: Outputs, meta: list[dict]) -> list[Found]:
        """outputs: of forward; meta: B of dict(size=(H0, W0), valid=(h, w)) -> B of Found at the size of the files
        (section 3.4; empty masks are dropped)."""
        size = tuple(outputs["image"].shape[2:])
        scores = torch.cat([points_nms(x.float().sigmoid()).flatten(2) for x in outputs["categories"]], 2)
        kernels = torch.cat([x.flatten(2) for x in outputs["kernels"]], 2)
        counts = torch.tensor([grid**2 for grid in self.grids], device=scores.device)
        areas = torch.tensor(self.strides, device=scores.device).repeat_interleave(counts)
        found = []
        for i, facts in enumerate(meta):
            best = best_cells(scores[i].T, kernels[i].T, outputs["mask_features"][i], areas, self.rules)
            masks = at_original(best.masks, size, facts) > self.rules.mask
            kept = masks.flatten(1).any(1)
            found.append(Found(best.scores[kept], best.labels[kept], masks[kept], mask_boxes(masks[kept])))
        return found

"""SOLOv2: Dynamic and Fast Instance Segmentation, Wang et al., NeurIPS 2020, https://arxiv.org/abs/2003.10152, in the
form of BoxLevelSet, Li et al., ECCV 2022, https://arxiv.org/abs/2207.09055.

Shape legend: B batch, K classes, C channels, D channels of kernels, S cells a side, h w features, H W image.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._dense_layers import Unit, plain
from segkit.constraints.named import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Rounds
from segkit.models.bases import InstanceHead
from segkit.models.layers import bias_of, resize
from segkit.ops.instances.cell_results import CellRules, best_cells
from segkit.ops.instances.matrix_nms import points_nms
from segkit.ops.instances.query_results import at_original, mask_boxes
from segkit.registry import HEADS
from segkit.types import Found, Meta, Outputs


def with_coordinates(x: Tensor) -> Tensor:
    """CoordConv: appends each position's x and y, in -1..1, as two channels.

    Args:
        x: float [B,C,h,w].

    Returns:
        Float [B,C + 2,h,w].
    """
    height, width = x.shape[2:]
    rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)
    columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
    coordinates = torch.stack([columns.expand(height, -1), rows.unsqueeze(1).expand(-1, width)])
    return torch.cat([x, coordinates.expand(x.shape[0], -1, -1, -1)], 1)


class MaskFeatures(nn.Module):
    """Mask features: the sum of several maps of a pyramid, each upsampled to the finest one's size.

    Section 3.3.2 of SOLOv2. The deepest map has coordinates appended.

    Args:
        in_channels: channels of each map, the finest first.
        channels: width of the convolutions.
        out_channels: channels of the mask features.
        groups: groups of every normalization; 0 for none, as in BoxLevelSet's code, which then ends in a plain
            convolution.
        deformable: uses modulated deformable convolutions.
    """

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
        """Computes the mask features.

        Args:
            features: maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            Float [B,out_channels,h_0,w_0].
        """
        total = None
        for i, (path, x) in enumerate(zip(cast(Sequence[nn.ModuleList], self.paths), features)):
            x = with_coordinates(x) if i == len(self.paths) - 1 else x
            for unit in path:
                x = unit(x)
                if i:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            # Doubling overshoots sizes that were rounded up on the way down.
            total = x if total is None else total + resize(x, like=total)
        return self.merge(total)


@HEADS.register
class SOLOv2Head(InstanceHead):
    """SOLOv2 head: a grid of cells on each map of a pyramid, where every cell predicts classes and a mask kernel.

    Section 3 of SOLOv2; figure 2 of BoxLevelSet. A cell's kernel is a 1x1 convolution that turns the shared mask
    features, made from all maps but the last, into its own mask. SOLOv2 itself has channels=512, kernel_channels=256,
    kernel_conv=3, mask_channels=128, mask_groups=32. This head cannot grow.

    Args:
        in_channels: channels of each feature map. All are equal.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image.
        channels: width of the towers.
        depth: number of layers in each tower.
        grids: cells S along each side, one value per map.
        groups: groups of the towers' normalization.
        kernel_channels: channels D of the kernels; None is channels.
        kernel_conv: kernel size of the convolution that predicts them.
        mask_channels: width inside the mask features; None is channels.
        mask_groups: groups of the mask features' normalization; 0 for none.
        deformable: uses modulated deformable convolutions in towers and mask features.
        level_features: channels of the features that BoxLevelSet's energies compare; 0 for none.
        score_threshold: probability of a class above which a cell is a candidate.
        mask_threshold: probability above which a pixel belongs to the mask.
        candidates: number of candidates that enter matrix NMS.
        keep_score: lowest score, after its decay, of an instance.
        limit: instances per image.
        decay: kernel of matrix NMS.
        sigma: sigma of its Gaussian kernel.

    Raises:
        ValueError: if there is not one grid per map, if there are fewer than three maps, or if their widths differ.
    """

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[PositiveInt, ...],
        channels: PositiveInt = 256,
        depth: Rounds = 4,
        grids: tuple[PositiveInt, ...] = (40, 36, 24, 16, 12),
        groups: NonNegativeInt = 32,
        kernel_channels: PositiveInt | None = None,
        kernel_conv: PositiveInt = 1,
        mask_channels: PositiveInt | None = None,
        mask_groups: NonNegativeInt = 0,
        deformable: bool = False,
        level_features: NonNegativeInt = 5,
        score_threshold: Fraction = 0.05,
        mask_threshold: Fraction = 0.5,
        candidates: PositiveInt = 500,
        keep_score: Fraction = 0.025,
        limit: PositiveInt = 100,
        decay: str = "gaussian",
        sigma: PositiveFloat = 2.0,
    ):
        super().__init__()
        if len(grids) != len(in_channels) or len(grids) < 3 or len(set(in_channels)) != 1:
            raise ValueError(
                f"grids = {grids}: must have one grid per map, for three or more maps of equal channels; the maps have "
                f"{in_channels} channels; use the neck FPN with extra_levels"
            )
        self.grids = tuple(grids)
        # The finest map is used at half its size, the last one at the size of the map before it.
        self.strides = (2 * strides[0], *strides[1:-1], strides[-2])
        self.rules = CellRules(score_threshold, mask_threshold, candidates, keep_score, limit, decay, sigma)
        size = kernel_channels or channels

        def tower(width: int) -> nn.Sequential:
            return nn.Sequential(
                *(Unit(channels if i else width, channels, groups, deformable=deformable) for i in range(depth))
            )

        self.category_tower, self.kernel_tower = tower(in_channels[0]), tower(in_channels[0] + 2)
        self.categories, self.kernels = plain(channels, num_classes), plain(channels, size, kernel_conv)
        # A prior of 0.01 for every class (focal loss, section 3.3).
        nn.init.constant_(bias_of(self.categories), -math.log(99))
        self.masks = MaskFeatures(
            tuple(in_channels[:-1]), mask_channels or channels, size, groups=mask_groups, deformable=deformable
        )
        self.bottom = plain(size, level_features) if level_features else None

    def forward(self, features: list[Tensor], image: Tensor) -> Outputs:
        """Predicts classes and kernels of all cells, and the mask features.

        Args:
            features: maps, float [B,C,h_i,w_i].
            image: float [B,3,H,W], normalized.

        Returns:
            "categories" and "kernels", lists of float [B,K,S,S] and [B,D,S,S], one per map; "mask_features", float
            [B,D,h_0,w_0]; "level_features", float [B,level_features,h_0,w_0], where level_features is set; "image",
            the input.
        """
        first, *middle, last = features
        half = F.interpolate(first, scale_factor=0.5, mode="bilinear", align_corners=False)
        split = [half, *middle, resize(last, like=middle[-1])]
        mask_features = self.masks(features[:-1])
        categories, kernels = [], []
        for x, grid in zip(split, self.grids):
            cells = resize(x, size=(grid, grid))
            categories.append(self.categories(self.category_tower(cells)))
            cells = resize(with_coordinates(x), size=(grid, grid))
            kernels.append(self.kernels(self.kernel_tower(cells)))
        outputs = {"categories": categories, "kernels": kernels, "mask_features": mask_features, "image": image}
        if self.bottom is not None:
            outputs["level_features"] = self.bottom(mask_features)
        return outputs

    @torch.no_grad()
    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        """Finds instances by matrix NMS (section 3.4); empty masks are dropped.

        Args:
            outputs: outputs of `forward`.
            meta: of each image size (H0, W0) as stored, and valid (h, w) of the image in its padding.

        Returns:
            For each image the instances, masks at its original size.
        """
        height, width = outputs["image"].shape[2:]
        scores = torch.cat([points_nms(x.float().sigmoid()).flatten(2) for x in outputs["categories"]], 2)
        kernels = torch.cat([x.flatten(2) for x in outputs["kernels"]], 2)
        counts = torch.tensor([grid**2 for grid in self.grids], device=scores.device)
        min_areas = torch.tensor(self.strides, device=scores.device).repeat_interleave(counts)
        found = []
        for i, image_meta in enumerate(meta):
            best = best_cells(scores[i].T, kernels[i].T, outputs["mask_features"][i], min_areas, self.rules)
            masks = at_original(best.masks, (height, width), image_meta) > self.rules.mask
            kept = masks.flatten(1).any(1)
            found.append(Found(best.scores[kept], best.labels[kept], masks[kept], mask_boxes(masks[kept])))
        return found

"""Semantic Flow for Fast and Accurate Scene Parsing (SFNet), Li et al., ECCV 2020, https://arxiv.org/abs/2002.10120."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, PyramidPooling, at_level, in_float32
from segkit.registry import HEADS
from segkit.types import Outputs


class FlowAlignment(nn.Module):
    """Flow alignment module: warps a coarse map to the size of a fine one along a flow predicted from both.

    Section 3.2, eq. 2 to 4. The flow is in cells of the fine map.

    Args:
        channels: channels of both maps; the flow is predicted from half as many of each.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.low = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.high = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.flow = nn.Conv2d(2 * (channels // 2), 2, 3, padding=1, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Warps the coarse map.

        Args:
            low: float [B,channels,h',w'], the fine map.
            high: float [B,channels,h,w], the coarse map.

        Returns:
            Float [B,channels,h',w'].
        """
        size = low.shape[-2:]
        narrow = F.interpolate(self.high(high), size, mode="bilinear", align_corners=True)
        flow = self.flow(torch.cat([narrow, self.low(low)], dim=1))
        # Positions between cells need more digits than half precision has.
        with in_float32(high):
            rows = torch.linspace(-1, 1, size[0], device=low.device)
            columns = torch.linspace(-1, 1, size[1], device=low.device)
            grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
            # The authors' code divides a flow in cells by the side; a cell is in fact 2 / (side - 1).
            sides = torch.tensor(size[::-1]).to(low.device, non_blocking=True)
            shift = flow.float().permute(0, 2, 3, 1) / sides
            warped = F.grid_sample(high.float(), grid + shift, mode="bilinear", align_corners=True)
        return warped.to(high.dtype)


@HEADS.register
class SFHead(Head):
    """SFNet head: pyramid pooling on the deepest map, flow alignment with the finer maps, and all maps concatenated.

    Section 3.3, figure 3.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of every map (paper: 128 on ResNet-18, 256 on deeper ones).
        bins: cells along each side of a pooling grid, one value per grid.
        num_levels: number of maps that are read, counted from the deepest.
        deep_supervision: classifies the sum at every finer level too, as outputs "level0.logits" (the finest),
            "level1.logits" and so on.
        dropout: share of channels dropped after the pyramid pooling and before the classifiers of deep supervision.
        align_corners: aligns the corner cells when maps are resized.
    """

    needs_pyramid = True

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        bins: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        num_levels: Rounds = 4,
        deep_supervision: bool = False,
        dropout: Decay = 0.1,
        align_corners: bool = True,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels = num_levels
        self.align_corners = align_corners
        *shallow, deep = in_channels[-num_levels:]
        self.pools = PyramidPooling(deep, channels, bins, act=False)
        self.reduce = ConvBNReLU(deep + len(bins) * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.laterals = nn.ModuleList(ConvBNReLU(width, channels, 1, bias=True) for width in shallow)
        self.align = nn.ModuleList(FlowAlignment(channels) for _ in shallow)
        self.outputs = nn.ModuleList(ConvBNReLU(channels, channels) for _ in shallow)
        self.fuse = ConvBNReLU(num_levels * channels, channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.level_heads = nn.ModuleList(
            nn.Sequential(
                ConvBNReLU(channels, channels, bias=True), nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1)
            )
            for _ in (shallow if deep_supervision else ())
        )

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, and
            with deep supervision "level0.logits" and so on, float [B,K,h_i,w_i], at the size of each level.
            "logits" and "embedding" have the size of the finest map that is read.
        """
        *shallow, deep = features[-self.num_levels :]
        pooled = [*self.pools(deep), deep]
        x = self.dropout(self.reduce.over_concat(pooled, like=deep, align_corners=self.align_corners))
        maps = [x]
        sums: list[Tensor] = []
        for lateral, align, output, low in reversed([*zip(self.laterals, self.align, self.outputs, shallow)]):
            low = lateral(low)
            x = low + align(low, x)
            sums.insert(0, x)
            maps.insert(0, output(x))
        embedding = self.fuse.over_concat(maps, like=maps[0], align_corners=self.align_corners)
        levels = {f"level{i}.logits": head(x) for i, (head, x) in enumerate(zip(self.level_heads, sums))}
        return {"logits": self.classifier(embedding), "embedding": embedding, **levels}

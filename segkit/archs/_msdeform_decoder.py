"""Pixel decoder of Mask2Former: deformable attention over the deep feature maps, then one map at stride 4.

Cheng et al., Mask2Former, CVPR 2022, section 3.2.1, https://arxiv.org/abs/2112.01527; Zhu et al., Deformable DETR, ICLR
2021, https://arxiv.org/abs/2010.04159.

Shape legend: B batch, C channels, h w features, N positions of the deep maps together.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import resize
from segkit.ops.instances.deformable_attention import cell_centers, deformable_attention, sine_positions

LEVELS = 3
"""Number of deep maps that attend to each other: strides 32, 16 and 8."""


class ConvNorm(nn.Module):
    """Convolution followed by group normalization with 32 groups.

    State-dict keys: conv.*, norm.*.

    Args:
        in_channels: channels of the input.
        channels: channels of the output, a multiple of 32.
        kernel: side of the kernel.
        bias: gives the convolution a bias.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int = 1, *, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
        nn.init.kaiming_uniform_(self.conv.weight, a=1)
        self.norm = nn.GroupNorm(32, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Applies both layers.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        return self.norm(self.conv(x))


def feed_forward(channels: int, inner: int) -> nn.Sequential:
    """Builds two linear layers with a ReLU between them.

    Args:
        channels: width of input and output.
        inner: width between the two layers.

    Returns:
        The layers in sequence, float [...,channels] to float [...,channels].
    """
    return nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention: each position samples a few learned points in every map.

    Section 4.1 of Deformable DETR.

    Args:
        channels: channels C of the maps.
        heads: number of attention heads.
        points: sampled points per head and map.
    """

    def __init__(self, channels: int, heads: int, points: int):
        super().__init__()
        self.heads, self.points = heads, points
        self.offsets = nn.Linear(channels, heads * LEVELS * points * 2)
        self.weights = nn.Linear(channels, heads * LEVELS * points)
        self.values, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.values, self.out):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.weights, self.values, self.out):
            nn.init.zeros_(layer.bias)
        # Each head starts in its own direction, point i of it i cells away (section A.4 of the paper).
        angles = torch.arange(heads) * (2 * math.pi / heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        starts = directions.view(heads, 1, 1, 2) * torch.arange(1, points + 1).view(1, 1, points, 1)
        with torch.no_grad():
            self.offsets.bias.copy_(starts.expand(-1, LEVELS, -1, -1).flatten())

    def forward(self, x: Tensor, positions: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        """Attends from all positions to sampled points of all maps.

        Args:
            x: float [B,N,C], the flattened maps one after the other.
            positions: float [N,C], position embeddings; they are added to the queries, which predict points and
                weights, and not to the values.
            sizes: (h, w) of each map.

        Returns:
            Float [B,N,C].
        """
        queries = x + positions
        shape = (*x.shape[:2], self.heads, LEVELS, self.points)
        weights = self.weights(queries).view(*shape[:3], -1).softmax(-1).view(shape)
        units = torch.tensor([[width, height] for height, width in sizes]).to(x.device, non_blocking=True)
        centers = cell_centers(sizes, x.device).view(1, -1, 1, 1, 1, 2)
        points = centers + self.offsets(queries).float().view(*shape, 2) / units.unsqueeze(1)
        values = self.values(x).unflatten(2, (self.heads, -1))
        return self.out(deformable_attention(values, sizes, points, weights))


class DeformableLayer(nn.Module):
    """Transformer encoder layer: deformable attention and a feed-forward network.

    Each of the two has a residual connection and is followed by layer normalization.

    Args:
        channels: channels C of the maps.
        heads: number of attention heads.
        points: sampled points per head and map.
        inner: hidden width of the feed-forward network.
    """

    def __init__(self, channels: int, heads: int, points: int, inner: int):
        super().__init__()
        self.attention = DeformableAttention(channels, heads, points)
        self.feed_forward = feed_forward(channels, inner)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, x: Tensor, positions: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        """Applies the layer.

        Args:
            x: float [B,N,C], the flattened maps one after the other.
            positions: float [N,C], position embeddings added to the queries.
            sizes: (h, w) of each map.

        Returns:
            Float [B,N,C].
        """
        x = self.norms[0](x + self.attention(x, positions, sizes))
        return self.norms[1](x + self.feed_forward(x))


class PixelDecoder(nn.Module):
    """Turns the four deepest maps of a backbone into three memories and the map that masks are made from.

    The memories have strides 32, 16 and 8, the mask features stride 4.

    Args:
        in_channels: channels of the four maps, the finest first.
        channels: channels C of the memories and of the mask features.
        layers: number of deformable attention layers.
        heads: attention heads.
        points: sampled points per head and map.
        inner: hidden width of the feed-forward networks.
    """

    def __init__(
        self, in_channels: tuple[int, ...], channels: int, *, layers: int, heads: int, points: int, inner: int
    ):
        super().__init__()
        shallow, *deep = in_channels
        self.inputs = nn.ModuleList(ConvNorm(width, channels, bias=True) for width in reversed(deep))
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, channels))
        self.layers = nn.ModuleList(DeformableLayer(channels, heads, points, inner) for _ in range(layers))
        self.lateral, self.output = ConvNorm(shallow, channels), ConvNorm(channels, channels, 3)
        self.mask_features = nn.Conv2d(channels, channels, 1)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Decodes the feature maps.

        Args:
            features: four maps, float [B,in_channels[i],h_i,w_i], the finest first.

        Returns:
            The three memories, float [B,C,h_i,w_i], the coarsest first, and the mask features, float [B,C,h_0,w_0].
        """
        shallow, *deep = features
        maps = [project(x) for project, x in zip(self.inputs, reversed(deep))]
        sizes = [tuple(x.shape[2:]) for x in maps]
        positions = torch.cat(
            [
                sine_positions(size, maps[0].shape[1], maps[0].device) + embedding
                for size, embedding in zip(sizes, self.level_embedding)
            ]
        )
        x = torch.cat([x.flatten(2) for x in maps], 2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, positions, sizes)
        flat_maps = x.transpose(1, 2).split([height * width for height, width in sizes], 2)
        memories = [flat.unflatten(2, size) for flat, size in zip(flat_maps, sizes)]
        fine = self.lateral(shallow)
        fine = F.relu(self.output(fine + resize(memories[-1], like=fine)))
        return memories, self.mask_features(fine)

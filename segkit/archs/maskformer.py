"""Per-Pixel Classification is Not All You Need for Semantic Segmentation (MaskFormer), Cheng et al., NeurIPS 2021,
https://arxiv.org/abs/2107.06278.

Shape legend: B batch, Q queries, K classes, C channels, h w features, N positions of the memory, L decoder layers, each
of which gives a prediction set.
"""

from typing import cast

import torch
from torch import Tensor, nn

from segkit.archs._msdeform_decoder import ConvNorm
from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import QueryHead
from segkit.models.layers import at_level, resize
from segkit.ops.instances.deformable_attention import sine_positions
from segkit.registry import HEADS
from segkit.types import Outputs


class PixelDecoder(nn.Module):
    """Feature pyramid from the deepest map to the finest, and the features that masks are made of (section 3.3).

    Args:
        in_channels: channels of the maps that are read, the finest first.
        channels: C.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int):
        super().__init__()
        *shallow, deep = in_channels
        self.deepest = ConvNorm(deep, channels, 3)
        self.laterals = nn.ModuleList(ConvNorm(width, channels) for width in shallow)
        self.outputs = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in shallow)
        self.mask_features = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Merges the maps.

        Args:
            features: float [B,in_channels[i],h_i,w_i], the finest first.

        Returns:
            Float [B,C,h,w] at the size of the finest map.
        """
        *shallow, deep = features
        x = self.deepest(deep).relu()
        for lateral, output, finer in zip(reversed(self.laterals), reversed(self.outputs), reversed(shallow)):
            x = output(lateral(finer) + resize(x, like=finer, mode="nearest")).relu()
        return self.mask_features(x)


class DecoderLayer(nn.Module):
    """Decoder layer of DETR: self-attention of the queries, attention to the memory, a feed-forward network.

    Each has a residual connection, and is followed by layer normalization.

    Args:
        channels: C.
        heads: of both attentions.
        inner: hidden width of the feed-forward network.
        dropout: share that is dropped of attention weights and of what each of the three adds.
    """

    def __init__(self, channels: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.self_attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, embedding: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """Refines the queries.

        Args:
            queries: float [B,Q,C].
            embedding: float [Q,C], added to the queries where attention compares them.
            memory: float [B,N,C].
            positions: float [N,C], added to the memory where attention compares it.

        Returns:
            Float [B,Q,C].
        """
        embedded = queries + embedding
        seen, _ = self.self_attention(embedded, embedded, queries, need_weights=False)
        queries = self.norms[0](queries + self.dropout(seen))
        seen, _ = self.cross_attention(queries + embedding, memory + positions, memory, need_weights=False)
        queries = self.norms[1](queries + self.dropout(seen))
        return self.norms[2](queries + self.dropout(self.feed_forward(queries)))


@HEADS.register
class MaskFormerHead(QueryHead):
    """MaskFormer head: queries that each become a class and a mask, refined on the deepest map.

    Section 3.3. This head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: C of queries, memory and mask features.
        num_queries: number of queries Q.
        layers: number of decoder layers.
        inner: hidden width of their feed-forward networks.
        heads: heads of every attention.
        dropout: of the decoder.
        num_levels: number of maps that are read, counted from the deepest.
        limit: instances per image.
    """

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        num_queries: PositiveInt = 100,
        layers: Rounds = 6,
        inner: PositiveInt = 2048,
        heads: PositiveInt = 8,
        dropout: Decay = 0.1,
        num_levels: Rounds = 4,
        limit: PositiveInt = 100,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels, self.limit = num_levels, limit
        self.pixels = PixelDecoder(tuple(in_channels[-num_levels:]), channels)
        self.project = nn.Conv2d(in_channels[-1], channels, 1)
        self.query_embedding = nn.Parameter(torch.randn(num_queries, channels))
        self.layers = nn.ModuleList(DecoderLayer(channels, heads, inner, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.classes = nn.Linear(channels, num_classes + 1)
        self.masks = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: list[Tensor], image: Tensor) -> Outputs:
        """Predicts a class and a mask for each query.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            image: float [B,3,H,W], normalized.

        Returns:
            "class_logits", a list of L float [B,Q,K + 1], the last class being no object; "mask_logits", a list of
            L float [B,Q,h,w] at the size of the finest map that is read; "image", the input.
        """
        mask_features = self.pixels(features[-self.num_levels :])
        memory = self.project(features[-1])
        size = (memory.shape[2], memory.shape[3])
        positions = sine_positions(size, memory.shape[1], memory.device)
        memory = memory.flatten(2).transpose(1, 2)
        queries = torch.zeros_like(self.query_embedding).expand(image.shape[0], -1, -1)
        classes, masks = [], []
        for layer in self.layers:
            queries = layer(queries, self.query_embedding, memory, positions)
            refined = self.norm(queries)
            classes.append(self.classes(refined))
            masks.append(torch.einsum("bqc,bchw->bqhw", self.masks(refined), mask_features))
        return cast(Outputs, {"class_logits": classes, "mask_logits": masks, "image": image})

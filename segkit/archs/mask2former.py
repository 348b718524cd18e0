"""Masked-attention Mask Transformer for Universal Image Segmentation (Mask2Former), Cheng et al., CVPR 2022,
https://arxiv.org/abs/2112.01527, and Box2Mask-T, Li et al., TPAMI 2024, https://arxiv.org/abs/2212.01579.

Shape legend: B batch, Q queries, K classes, C channels, h w features, H W image, N positions of a memory, L prediction
sets: one before the first decoder layer and one after each.
"""

from typing import cast

import torch
from torch import Tensor, nn

from segkit.archs._msdeform_decoder import LEVELS, PixelDecoder, feed_forward
from segkit.constraints.named import NonNegativeInt, PositiveInt, Rounds
from segkit.models.bases import QueryHead
from segkit.models.layers import at_level, resize
from segkit.ops.instances.deformable_attention import sine_positions
from segkit.registry import HEADS
from segkit.types import Outputs


class DecoderLayer(nn.Module):
    """Decoder layer: masked cross-attention to a memory, self-attention among the queries, a feed-forward network.

    Figure 2, right. Each of the three has a residual connection and is followed by layer normalization.

    Args:
        channels: channels C of queries and memory.
        heads: number of attention heads.
        inner: hidden width of the feed-forward network.
    """

    def __init__(self, channels: int, heads: int, inner: int):
        super().__init__()
        self.cross_attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.self_attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.feed_forward = feed_forward(channels, inner)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, queries: Tensor, embedding: Tensor, memory: Tensor, positions: Tensor, blocked: Tensor) -> Tensor:
        """Refines the queries.

        Args:
            queries: float [B,Q,C].
            embedding: float [Q,C], added to the queries where attention compares them.
            memory: float [B,N,C].
            positions: float [N,C], added to the memory where attention compares it.
            blocked: bool [B,Q,N], True at positions that a query does not attend to.

        Returns:
            Float [B,Q,C].
        """
        heads = self.cross_attention.num_heads
        blocked = blocked.unsqueeze(1).expand(-1, heads, -1, -1).flatten(0, 1)
        seen, _ = self.cross_attention(
            queries + embedding, memory + positions, memory, attn_mask=blocked, need_weights=False
        )
        queries = self.norms[0](queries + seen)
        embedded = queries + embedding
        seen, _ = self.self_attention(embedded, embedded, queries, need_weights=False)
        queries = self.norms[1](queries + seen)
        return self.norms[2](queries + self.feed_forward(queries))


def blocked_positions(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Marks the positions outside of each query's mask (eq. 2).

    Args:
        mask_logits: float [B,Q,h,w].
        size: (rows, columns) of the map that the queries attend to.

    Returns:
        Bool [B,Q,rows * columns], True where the mask's probability is below 0.5; all False for a query whose mask
        is empty at this size.
    """
    with torch.no_grad():
        blocked = resize(mask_logits, size=size).sigmoid().flatten(2) < 0.5
        return blocked & ~blocked.all(2, keepdim=True)


@HEADS.register
class Mask2FormerHead(QueryHead):
    """Mask2Former head: queries that each become a class and a mask, refined layer by layer.

    Section 3. The decoder's layers attend to three memories in turn, the coarsest first. This head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: channels C of queries, memories and mask features.
        num_queries: number of queries Q.
        encoder_layers: number of layers of the pixel decoder.
        encoder_inner: hidden width of its feed-forward networks.
        points: sampled points of its deformable attention, per head and map.
        layers: number of decoder layers.
        inner: hidden width of their feed-forward networks.
        heads: heads of every attention.
        level_features: channels of the features that Box2Mask's energies compare; 0 for a head that learns from
            masks.
        limit: instances per image.
    """

    needs_pyramid = True

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        num_queries: PositiveInt = 100,
        encoder_layers: Rounds = 6,
        encoder_inner: PositiveInt = 1024,
        points: PositiveInt = 4,
        layers: Rounds = 9,
        inner: PositiveInt = 2048,
        heads: PositiveInt = 8,
        level_features: NonNegativeInt = 0,
        limit: PositiveInt = 100,
    ):
        super().__init__()
        at_level(in_channels, -LEVELS - 1)
        self.limit = limit
        self.pixels = PixelDecoder(
            tuple(in_channels[-LEVELS - 1 :]),
            channels,
            layers=encoder_layers,
            heads=heads,
            points=points,
            inner=encoder_inner,
        )
        self.query_features = nn.Parameter(torch.randn(num_queries, channels))
        self.query_embedding = nn.Parameter(torch.randn(num_queries, channels))
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, channels))
        self.layers = nn.ModuleList(DecoderLayer(channels, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.classes = nn.Linear(channels, num_classes + 1)
        self.masks = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )
        self.bottom = nn.Conv2d(channels, level_features, 3, padding=1) if level_features else None
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
            L float [B,Q,h,w] at the size of the finest map that is read; "level_features", float
            [B,level_features,h,w], where level_features is set; "image", the input.
        """
        memories, mask_features = self.pixels(features[-LEVELS - 1 :])
        sizes = [tuple(x.shape[2:]) for x in memories]
        positions = [sine_positions(size, mask_features.shape[1], image.device) for size in sizes]
        tokens = [x.flatten(2).transpose(1, 2) + level for x, level in zip(memories, self.level_embedding)]
        queries = self.query_features.expand(image.shape[0], -1, -1)
        classes, masks = self._predict(queries, mask_features)
        class_logits, mask_logits = [classes], [masks]
        for i, layer in enumerate(self.layers):
            k = i % LEVELS
            blocked = blocked_positions(masks, sizes[k])
            queries = layer(queries, self.query_embedding, tokens[k], positions[k], blocked)
            classes, masks = self._predict(queries, mask_features)
            class_logits.append(classes)
            mask_logits.append(masks)
        outputs = {"class_logits": class_logits, "mask_logits": mask_logits, "image": image}
        if self.bottom is not None:
            outputs["level_features"] = self.bottom(mask_features)
        return cast(Outputs, outputs)

    def _predict(self, queries: Tensor, mask_features: Tensor) -> tuple[Tensor, Tensor]:
        """One prediction set: class logits float [B,Q,K + 1] and mask logits float [B,Q,h,w]."""
        queries = self.norm(queries)
        classes = self.classes(queries)
        return classes, torch.einsum("bqc,bchw->bqhw", self.masks(queries), mask_features)

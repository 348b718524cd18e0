"""Masked-attention Mask Transformer for Universal Image Segmentation (Mask2Former), Cheng et al., CVPR 2022,
https://arxiv.org/abs/2112.01527, and Box2Mask-T, Li et al., TPAMI 2024, https://arxiv.org/abs/2212.01579.

B images, Q queries, K classes, C channels, L prediction sets: before the first decoder layer and after each.
"""

import torch
from torch import Tensor, nn

from segkit.archs._msdeform_decoder import LEVELS, PixelDecoder, feed_forward
from segkit.models.layers import at_level, resize
from segkit.ops.instances.deformable_attention import sine_positions
from segkit.ops.instances.query_results import at_original, best_queries
from segkit.registry import HEADS
from segkit.types import Found, Outputs


class DecoderLayer(nn.Module):
    """Queries look at a memory where their masks are, then at each other (figure 2 right), each step added to what it
    read and normalized afterwards."""

    def __init__(self, channels: int, heads: int, inner: int):
        super().__init__()
        self.cross_attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.self_attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.feed_forward = feed_forward(channels, inner)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, queries: Tensor, own: Tensor, memory: Tensor, positions: Tensor, blocked: Tensor) -> Tensor:
        """queries: float [B,Q,C]; own: float [Q,C], added to queries that compare; memory: float [B,N,C]; positions:
        float [N,C], added to memory that is compared; blocked: bool [B,Q,N], places a query does not see -> float
        [B,Q,C]."""
        heads = self.cross_attention.num_heads
        blocked = blocked.unsqueeze(1).expand(-1, heads, -1, -1).flatten(0, 1)
        seen, _ = self.cross_attention(queries + own, memory + positions, memory, attn_mask=blocked, need_weights=False)
        queries = self.norms[0](queries + seen)
        asked = queries + own
        seen, _ = self.self_attention(asked, asked, queries, need_weights=False)
        queries = self.norms[1](queries + seen)
        return self.norms[2](queries + self.feed_forward(queries))


def places_blocked(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """mask_logits: float [B,Q,h,w] -> bool [B,Q,size], True outside of a query's mask; a query without a mask there
    sees everything (eq. 2)."""
    with torch.no_grad():
        blocked = resize(mask_logits, size=size).sigmoid().flatten(2) < 0.5
        return blocked & ~blocked.all(2, keepdim=True)


@HEADS.register
class Mask2FormerHead(nn.Module):
    """Queries that become a class and a mask each, refined layer by layer from three memories in turn (section 3).

    channels: C everywhere; num_queries: Q; encoder_layers, encoder_inner, points: of the pixel decoder; layers, inner:
    of the decoder; heads: of every attention; level_features: channels of the features that Box2Mask's energies
    compare, 0 for a head that learns from masks; limit: instances per image.
    """

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 256,
        num_queries: int = 100,
        encoder_layers: int = 6,
        encoder_inner: int = 1024,
        points: int = 4,
        layers: int = 9,
        inner: int = 2048,
        heads: int = 8,
        level_features: int = 0,
        limit: int = 100,
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
        """features[i]: float [B,in_channels[i],h_i,w_i]; image: float [B,3,H,W], normalized -> "class_logits", list of
        L float [B,Q,K+1], the last class being no object; "mask_logits", list of L float [B,Q,h,w] at the finest
        map's size; "level_features" float [B,level_features,h,w]; "image" as it came."""
        memories, mask_features = self.pixels(features[-LEVELS - 1 :])
        sizes = [tuple(x.shape[2:]) for x in memories]
        positions = [sine_positions(size, mask_features.shape[1], image.device) for size in sizes]
        seen = [x.flatten(2).transpose(1, 2) + own for x, own in zip(memories, self.level_embedding)]
        queries = self.query_features.expand(len(image), -1, -1)
        outputs = {"class_logits": [], "mask_logits": [], "image": image}
        self._predict(outputs, queries, mask_features)
        for i, layer in enumerate(self.layers):
            k = i % LEVELS
            blocked = places_blocked(outputs["mask_logits"][-1], sizes[k])
            queries = layer(queries, self.query_embedding, seen[k], positions[k], blocked)
            self._predict(outputs, queries, mask_features)
        if self.bottom is not None:
            outputs["level_features"] = self.bottom(mask_features)
        return outputs

    def _predict(self, outputs: Outputs, queries: Tensor, mask_features: Tensor) -> None:
        """Appends one prediction set."""
        queries = self.norm(queries)
        outputs["class_logits"].append(self.classes(queries))
        outputs["mask_logits"].append(torch.einsum("bqc,bchw->bqhw", self.masks(queries), mask_features))

    @torch.no_grad()
    def instances(self, outputs: Outputs, meta: list[dict]) -> list[Found]:
        """outputs: of forward; meta: B of dict(size=(H0, W0), valid=(h, w)) -> B of Found at the size of the files,
        from the last prediction set."""
        size = tuple(outputs["image"].shape[2:])
        classes, masks = outputs["class_logits"][-1], outputs["mask_logits"][-1].float()
        return [
            best_queries(classes[i], at_original(masks[i], size, facts), limit=self.limit)
            for i, facts in enumerate(meta)
        ]

"""Segmenter: Transformer for Semantic Segmentation, Strudel et al., ICCV 2021, https://arxiv.org/abs/2105.05633.

The linear variant of the paper is FCNHead with num_convs=0 and dropout=0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import at_level
from segkit.registry import HEADS
from segkit.types import Outputs


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each behind a normalization and with a residual connection.

    Args:
        channels: channels C of the tokens.
        heads: number of attention heads.
        drop_path: probability in training that an image leaves out a branch.
    """

    def __init__(self, channels: int, heads: int, drop_path: float = 0.0):
        super().__init__()
        from timm.layers import DropPath

        self.norm1 = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,N,C] to the same shape."""
        y = self.norm1(x)
        x = x + self.drop_path(self.attention(y, y, y, need_weights=False)[0])
        return x + self.drop_path(self.feed_forward(self.norm2(x)))


@HEADS.register
class SegmenterHead(Head):
    """Segmenter's mask transformer: class embeddings go with the patches through a transformer.

    Section 3.2. Patches and embeddings are projected, scaled to length 1 and multiplied with each other; the products
    are normalized over the classes. This head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        level: feature map, counted from the end.
        channels: width of the transformer, 0 for that of the map.
        layers: number of its layers.
        heads: heads of its attention; the channels are a multiple of it.
        drop_path_rate: stochastic depth of the last layer; falls linearly to 0 at the first.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        level: int = -1,
        channels: NonNegativeInt = 0,
        layers: Rounds = 2,
        heads: PositiveInt = 3,
        drop_path_rate: Decay = 0.0,
    ):
        super().__init__()
        width = at_level(in_channels, level)
        channels, self.level, self.num_classes = channels or width, level, num_classes
        self.project = nn.Linear(width, channels)
        self.class_embedding = nn.Parameter(torch.empty(1, num_classes, channels))
        drops = torch.linspace(0, drop_path_rate, layers, device="cpu").tolist()
        self.layers = nn.Sequential(*(EncoderLayer(channels, heads, drop) for drop in drops))
        self.norm = nn.LayerNorm(channels)
        self.patches = nn.Linear(channels, channels, bias=False)
        self.classes = nn.Linear(channels, channels, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes)
        nn.init.trunc_normal_(self.class_embedding, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w].
        """
        x = features[self.level]
        size = (x.shape[2], x.shape[3])
        x = self.project(x.flatten(2).transpose(1, 2))
        x = torch.cat([x, self.class_embedding.expand(x.shape[0], -1, -1).to(x.dtype)], 1)
        x = self.norm(self.layers(x))
        patches = F.normalize(self.patches(x[:, : -self.num_classes]), dim=2)
        classes = F.normalize(self.classes(x[:, -self.num_classes :]), dim=2)
        masks = self.mask_norm(patches @ classes.transpose(1, 2))
        return {"logits": masks.transpose(1, 2).unflatten(2, size)}

"""How the features of an image and of its clicks become one map, in click models that encode the image once.

SegNext, Liu et al., CVPR 2024, https://arxiv.org/abs/2404.00741, section 3.3. B batch, D channels, h w feature map.
"""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4
"""Width of the hidden layer of a block over its own."""


class Attention(nn.Module):
    """Attention from each token to all tokens of the same or of another map.

    Args:
        width: D, a multiple of heads.
        heads: number of attention heads.
        is_cross: whether keys and values are made of another map; queries, keys and values then have layers of their
            own instead of a common one.
    """

    def __init__(self, width: int, heads: int, *, is_cross: bool):
        super().__init__()
        self.heads, self.is_cross = heads, is_cross
        if is_cross:
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        else:
            self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Attends from tokens to tokens.

        Args:
            x: float [B,N,D].
            target: float [B,M,D]; not read unless is_cross.

        Returns:
            float [B,N,D].
        """
        if self.is_cross:
            triple = (self.q(x), self.k(target), self.v(target))
        else:
            triple = self.qkv(x).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in triple)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them.

    Args:
        width: D.
    """

    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.act, self.fc2 = (
            nn.Linear(width, EXPANSION * width),
            nn.GELU(),
            nn.Linear(EXPANSION * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,N,D] to the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class FusionBlock(nn.Module):
    """A transformer block with normalizations before its layers.

    Args:
        width, heads, is_cross: as in Attention.
        target_norm: whether the other map is normalized too; the published code leaves it as it is.
    """

    def __init__(self, width: int, heads: int, *, is_cross: bool = False, target_norm: bool = True):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_target: nn.Module = nn.LayerNorm(width) if is_cross and target_norm else nn.Identity()
        self.attn = Attention(width, heads, is_cross=is_cross)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Maps tokens float [B,N,D], and those of another map of a cross block, [B,M,D], to float [B,N,D]."""
        other = x if target is None else self.norm_target(target)
        x = x + self.attn(self.norm1(x), other)
        return x + self.mlp(self.norm2(x))


class SumFusion(nn.Module):
    """The sum of both maps, and blocks of attention of all its positions to each other ("sax1", "sax2"; 0: "naive").

    Args:
        width: D of both maps.
        depth: number of blocks.
        heads: of the attention.
        target_norm: not used here.
    """

    def __init__(self, width: int, depth: int, heads: int, *, target_norm: bool = True):
        super().__init__()
        self.blocks = nn.ModuleList(FusionBlock(width, heads) for _ in range(depth))

    def forward(self, image: Tensor, clicks: Tensor) -> Tensor:
        """Fuses two maps.

        Args:
            image: float [B,D,h,w], of the image.
            clicks: float [B,D,h,w], of clicks and previous mask.

        Returns:
            float [B,D,h,w].
        """
        x = image + clicks
        if not self.blocks:
            return x
        tokens = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.transpose(1, 2).unflatten(2, x.shape[-2:])


class CrossFusion(nn.Module):
    """Blocks in which the clicks attend to the image, and the image to what the clicks have become.

    Args:
        width: D of both maps.
        depth: number of pairs of blocks.
        heads: of the attention.
        target_norm: as in FusionBlock.
    """

    def __init__(self, width: int, depth: int, heads: int, *, target_norm: bool = True):
        super().__init__()

        def block() -> FusionBlock:
            return FusionBlock(width, heads, is_cross=True, target_norm=target_norm)

        self.blocks = nn.ModuleList(
            nn.ModuleDict({"image_to_prompt": block(), "prompt_to_image": block()}) for _ in range(depth)
        )

    def forward(self, image: Tensor, clicks: Tensor) -> Tensor:
        """As SumFusion.forward; the result is the image's map."""
        size = image.shape[-2:]
        tokens, prompts = image.flatten(2).transpose(1, 2), clicks.flatten(2).transpose(1, 2)
        for pair in self.blocks:
            both = cast(nn.ModuleDict, pair)
            prompts = both["prompt_to_image"](prompts, tokens)
            tokens = both["image_to_prompt"](tokens, prompts)
        return tokens.transpose(1, 2).unflatten(2, size)


FUSIONS: dict[str, type[SumFusion] | type[CrossFusion]] = {"self": SumFusion, "cross": CrossFusion}
"""By name: "self", the sum and self-attention over it, and "cross", cross-attention both ways."""

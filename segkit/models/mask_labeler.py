"""MAL's mask labeller, Lan et al., CVPR 2023, https://arxiv.org/abs/2301.03992.

A plain Vision Transformer on the crop of one box; the mean of its tokens makes the kernel of the object's mask. B
crops, C channels, h w tokens.
"""

from functools import partial
from itertools import pairwise
from typing import Annotated, cast

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from segkit.constraints.named import OneOf
from segkit.models.bases import Network
from segkit.models.normalize import normalized
from segkit.ops.resizing import resize
from segkit.types import Outputs

SIZES: dict[str, tuple[int, int, int]] = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, blocks and attention heads."""

TABLE = 14
"""Rows and columns of the position table, of images of 224 pixels."""

WIDTH = 256
"""Channels of the mask head, and of the kernel."""

LEVELS = ((0.0, 1024.0, 0.5), (1024.0, 9216.0, 1.0), (9216.0, float("inf"), 2.0))
"""Scales of the tokens: smallest and largest area of a box in pixels of its image, both left out, and the factor."""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet, in 0..255."""


class ConvStem(nn.Module):
    """Four convolutions of stride 2 with normalization and GELU, then a 1x1: 16 pixels for each token.

    Args:
        width: of the tokens.
    """

    def __init__(self, width: int):
        super().__init__()
        channels = (3, width // 8, width // 4, width // 2, width)
        units: list[nn.Sequential] = []
        for i, (before, after) in enumerate(pairwise(channels)):
            layers: list[nn.Module] = [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(1, after, eps=1e-6),
                nn.GELU(),
            ]
            if i == 3:
                layers.append(nn.Conv2d(after, width, 1))
            units.append(nn.Sequential(*layers))
        self.proj = nn.Sequential(*units)

    def forward(self, image: Tensor) -> Tensor:
        """Returns tokens float [B,C,h,w] of an image float [B,3,H,W]."""
        return self.proj(image)


class TokenEncoder(nn.Module):
    """A Vision Transformer with class token and convolutional stem, its blocks those of timm.

    Args:
        width: of the tokens.
        depth: number of blocks.
        heads: of each attention.
    """

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, TABLE * TABLE + 1, width))
        self.patch_embed = ConvStem(width)
        norm = cast(type[nn.Module], partial(nn.LayerNorm, eps=1e-6))  # timm calls it
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def positions(self, size: tuple[int, int]) -> Tensor:
        """Returns the position table of a map of tokens (h, w), float [1,C,h,w].

        It is resized bicubically by the scale (side + 0.1) / 14, which is not the exact ratio, as in the authors' code.
        """
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (TABLE, TABLE))
        if size == (TABLE, TABLE):
            return table
        scales = [(side + 0.1) / TABLE for side in size]
        return F.interpolate(table, scale_factor=scales, mode="bicubic", recompute_scale_factor=False)

    def forward(self, image: Tensor) -> Tensor:
        """Returns normalized tokens float [B,C,h,w] of an image float [B,3,H,W]."""
        maps = self.patch_embed(image)
        size = (maps.shape[2], maps.shape[3])
        tokens = (maps + self.positions(size)).flatten(2).transpose(1, 2)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, size)


class MaskDecoder(nn.Module):
    """Turns tokens into the map that a kernel reads: three convolutions, twice the size, a fourth.

    Args:
        in_channels: of the tokens.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(WIDTH if i else in_channels, WIDTH, 3, padding=1) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Returns float [n,256,2h,2w] of tokens float [n,C,h,w]."""
        for conv in self.convs[:3]:
            x = conv(x).relu()
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.convs[3](x).relu()


class MaskLabeler(Network):
    """MAL's network: one mask for the crop of each box (figure 2 of the paper).

    The kernel is an MLP of the mean token; the mask is its product with a map of 256 channels, which is made of the
    tokens at half, once or twice their size, by the area of the box in its image.

    Args:
        size: of the Vision Transformer, "small", "base" or "large".
        pretrained: name of a timm model whose blocks, positions and class token it starts from, such as
            "vit_base_patch16_224.mae"; the convolutional stem and the decoder start at random in any case. None for
            random weights.
        open_bounds: as published: a box of exactly 1024 or 9216 pixels is in none of the ranges of areas, and its
            logits are 0. By default it is in the upper one.
    """

    def __init__(
        self,
        size: Annotated[str, OneOf(tuple(SIZES))] = "base",
        pretrained: str | None = None,
        open_bounds: bool = False,
    ):
        super().__init__()
        self.num_classes, self.align_corners = 1, False
        width, depth, heads = SIZES[size]
        self.open_bounds = open_bounds
        self.backbone = TokenEncoder(width, depth, heads)
        self.kernel = nn.Sequential(nn.Linear(width, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.decoder = MaskDecoder(width)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, -1, 1, 1), persistent=False)
        if pretrained is not None:
            load_blocks(self.backbone, pretrained)

    def forward(self, image: Tensor, area: Tensor) -> Outputs:
        """Predicts masks.

        Args:
            image: uint8 or float [B,3,H,W] in 0..255, RGB, crops around boxes; sides of multiples of 16.
            area: float [B], of each box in pixels of its image.

        Returns:
            "logits", float32 [B,1,H/4,W/4], and "image", float [B,3,H,W], normalized.
        """
        pixels = normalized(image, self.mean, self.std)
        tokens = self.backbone(pixels)
        kernel = self.kernel(tokens.mean((2, 3)))
        size = (4 * tokens.shape[2], 4 * tokens.shape[3])
        logits = tokens.new_zeros(len(tokens), 1, *size, dtype=torch.float32)
        for least, most, scale in LEVELS:
            is_above = area > least if self.open_bounds else area >= least
            index = (is_above & (area < most)).nonzero()[:, 0]
            if not len(index):
                continue
            scaled = tokens[index]
            if scale != 1:
                scaled = F.interpolate(scaled, scale_factor=scale, mode="bilinear", align_corners=False)
            maps = self.decoder(scaled)
            masks = torch.einsum("nc,nchw->nhw", kernel[index], maps).unsqueeze(1)
            logits = logits.index_copy(0, index, resize(masks.float(), size=size))
        return {"logits": logits, "image": pixels}


def load_blocks(encoder: TokenEncoder, name: str) -> None:
    """Copies blocks, positions, class token and last normalization of a timm model; its patch embedding is left out."""
    weights = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    own = encoder.state_dict()
    shared = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    encoder.load_state_dict(shared, strict=False)

"""MAL's mask labeller, Lan et al., CVPR 2023, https://arxiv.org/abs/2301.03992.

A plain Vision Transformer on the crop of one box; the mean of its tokens makes the kernel of the object's mask. B
crops, C channels, h w tokens.
"""

from functools import partial
from itertools import pairwise
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import OneOf
from segkit.models.bases import Head, Network
from segkit.models.normalize import normalized
from segkit.ops.resizing import resize
from segkit.registry import MODELS, ConfigError, did_you_mean
from segkit.types import Outputs

SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
"""Width, blocks and attention heads."""

WEIGHTS = {
    "tiny": "deit_tiny_patch16_224.fb_in1k",
    "small": "deit_small_patch16_224.fb_in1k",
    "base": "vit_base_patch16_224.mae",
    "large": "vit_large_patch16_224.mae",
}
"""Models of timm whose weights a size starts from where none are named."""

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
        from timm.models.vision_transformer import Block

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


class MaskDecoder(Head):
    """Draws a mask: the product of a kernel and a map.

    The kernel is an MLP of the mean token. The map is made of the tokens at half, once or twice their size, by the area
    of the box in its image: three convolutions, twice the size, a fourth.

    Args:
        in_channels: of the tokens.
        open_bounds: see MaskLabeler.
    """

    classifier = None

    def __init__(self, in_channels: int, *, open_bounds: bool = False):
        super().__init__()
        self.open_bounds = open_bounds
        self.kernel = nn.Sequential(nn.Linear(in_channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.convs = nn.ModuleList(nn.Conv2d(WIDTH if i else in_channels, WIDTH, 3, padding=1) for i in range(4))

    def maps(self, x: Tensor) -> Tensor:
        """Returns float [n,256,2h,2w] of tokens float [n,C,h,w]."""
        for conv in self.convs[:3]:
            x = conv(x).relu()
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.convs[3](x).relu()

    def forward(self, tokens: Tensor, area: Tensor) -> Outputs:
        """Predicts masks.

        Args:
            tokens: float [B,C,h,w].
            area: float [B], of each box in pixels of its image.

        Returns:
            "logits", float32 [B,1,4h,4w].
        """
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
            masks = torch.einsum("nc,nchw->nhw", kernel[index], self.maps(scaled)).unsqueeze(1)
            logits = logits.index_copy(0, index, resize(masks.float(), size=size))
        return {"logits": logits}


@MODELS.register
class MaskLabeler(Network):
    """MAL's network: one mask for the crop of each box (figure 2 of the paper). Runner MaskLabelling trains it.

    Args:
        num_classes: must be 1, the object.
        size: of the Vision Transformer, "tiny", "small", "base" or "large"; the paper has the last three.
        pretrained: True starts blocks, positions, class token and last normalization from weights that timm fetches:
            those of DeiT for "tiny" and "small", of MAE for "base" and "large". Or the name of another model of timm of
            that size. The convolutional stem and the decoder start at random in any case, as published. None for random
            weights.
        open_bounds: as published: a box of exactly 1024 or 9216 pixels is in none of the ranges of areas, and its
            logits are 0. By default it is in the upper one.

    Raises:
        ConfigError: num_classes is not 1, or there are no such weights, or none that fit.
    """

    def __init__(
        self,
        num_classes: int = 1,
        *,
        size: Annotated[str, OneOf(tuple(SIZES))] = "base",
        pretrained: bool | str | None = None,
        open_bounds: bool = False,
    ):
        super().__init__()
        if num_classes != 1:
            raise ConfigError(f"model.num_classes = {num_classes}: the model draws one mask in each box, set 1")
        self.num_classes, self.align_corners = 1, False
        width, depth, heads = SIZES[size]
        self.backbone = TokenEncoder(width, depth, heads)
        self.head = MaskDecoder(width, open_bounds=open_bounds)
        self.aux = nn.ModuleList()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, -1, 1, 1), persistent=False)
        if pretrained and not self.backbone.cls_token.is_meta:
            load_blocks(self.backbone, WEIGHTS[size] if pretrained is True else pretrained)

    def forward(self, image: Tensor, area: Tensor) -> Outputs:
        """Predicts masks.

        Args:
            image: uint8 or float [B,3,H,W] in 0..255, RGB, crops around boxes; sides of multiples of 16.
            area: float [B], of each box in pixels of its image.

        Returns:
            "logits", float32 [B,1,H/4,W/4], and "image", float [B,3,H,W], normalized.
        """
        pixels = normalized(image, self.mean, self.std)
        return {**self.head(self.backbone(pixels), area), "image": pixels}


def load_blocks(encoder: TokenEncoder, name: str) -> None:
    """Copies blocks, positions, class token and last normalization of a timm model; its patch embedding is left out.

    Args:
        encoder: takes the weights.
        name: of the model with its weights, as in timm.list_pretrained().

    Raises:
        ConfigError: timm has no such model, its weights cannot be fetched, or it is of another form.
    """
    import timm

    if not timm.is_model(name.partition(".")[0]):
        close = did_you_mean(name, timm.list_pretrained("*vit*") + timm.list_pretrained("deit*"))
        raise ConfigError(f"model.pretrained = '{name}': timm has no such model{close}")
    try:
        weights = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model.pretrained = '{name}': its weights cannot be fetched ({type(error).__name__}); set None for random "
            "ones, or section init for a checkpoint"
        ) from error
    own = {key: value for key, value in encoder.state_dict().items() if not key.startswith("patch_embed.")}
    wrong = [key for key, value in own.items() if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise ConfigError(
            f"model.pretrained = '{name}': {len(wrong)} of {len(own)} tensors are missing there or have another shape, "
            f"{wrong[0]} first; take a plain Vision Transformer of the same size with patches of 16 pixels and a class "
            "token, built for images of 224 pixels"
        )
    encoder.load_state_dict({key: weights[key] for key in own}, strict=False)

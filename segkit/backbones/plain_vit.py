"""Plain Vision Transformers whose blocks attend inside windows, but for a few that see the whole image.

Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022,
https://arxiv.org/abs/2203.16527, section 3, as click models use it: Liu et al., SimpleClick, ICCV 2023,
https://arxiv.org/abs/2210.11006. Weights: masked autoencoders, He et al., CVPR 2022, https://arxiv.org/abs/2111.06377.
B batch, D width, p side of a patch, g x g grid of patches.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.timm_positions import resized_table
from segkit.backbones.weights import read_weights
from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.ops.resizing import is_zero
from segkit.registry import BACKBONES, ConfigError

MAE = {
    (768, 12, 16): "vit_base_patch16_224.mae",
    (1024, 24, 16): "vit_large_patch16_224.mae",
    (1280, 32, 14): "vit_huge_patch14_224.mae",
}
"""timm's weights of masked autoencoders by (width, depth, patch_size)."""

NAMES = (("patch_embed.proj.", "patch_embed."), ("blocks.", "encoder.blocks."))
"""What names begin with in timm and in the published files, and here."""


@BACKBONES.register
class PlainViT(Backbone):
    """A plain Vision Transformer with window attention and a few global blocks, for images of any size.

    Windows divide the grid of patches evenly: along each axis there are as many as whole windows of `window` pixels
    fit, one at least, so that they grow where the grid is no multiple. Images whose grid cannot be divided so are
    padded at the right and bottom with the mean color. The position table is interpolated anew for each size, always
    from the trained one. There is no class token, and no normalization after the last block. Clicks are added to the
    patch embedding.

    Args:
        width: D, channels of the tokens.
        depth: number of blocks.
        heads: of the attention.
        patch_size: p, side of a patch in pixels.
        in_channels: channels of the image.
        pretrained: True for timm's weights of a masked autoencoder of this size, or a source of weights by timm's names
            as in Timm. The position table is resized to img_size, bicubic without antialiasing.
        img_size: (height, width) of the position table's image in pixels.
        window: shortest side of a window in pixels.
        global_every: every n-th block sees the whole image; 1: all of them.
        global_last: whether the last block does so in any case.
        mean, std: of the images, in 0..255.

    Raises:
        ConfigError: sizes do not fit each other, or there are no such weights.
    """

    def __init__(
        self,
        width: PositiveInt = 768,
        depth: PositiveInt = 12,
        heads: PositiveInt = 12,
        patch_size: PositiveInt = 16,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        img_size: tuple[int, int] = (448, 448),
        window: PositiveInt = 224,
        global_every: PositiveInt = 6,
        global_last: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        from timm.models.vision_transformer import Block

        if width % heads:
            raise ConfigError(f"backbone.width = {width}: must be a multiple of backbone.heads = {heads}")
        if min(img_size) < patch_size:
            raise ConfigError(f"backbone.img_size = {tuple(img_size)}: holds no patch of {patch_size} pixels")
        self.patch_size = patch_size
        self.grid = (img_size[0] // patch_size, img_size[1] // patch_size)
        self.window = max(window // patch_size, 1)
        self.is_global = [
            number % global_every == 0 or (global_last and number == depth) for number in range(1, depth + 1)
        ]
        self.channels, self.strides = (width,), (patch_size,)
        self.stem_channels, self.stem_stride = width, patch_size
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width))
        self.patch_embed = nn.Conv2d(in_channels, width, patch_size, patch_size)
        norm = cast(type[nn.Module], partial(nn.LayerNorm, eps=1e-6))  # timm calls it
        blocks = nn.ModuleList(Block(width, heads, 4.0, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        self.encoder = nn.ModuleDict({"blocks": blocks})  # `blocks` is a method of backbones
        self._initialize()
        self.is_pretrained = bool(pretrained)
        if pretrained and not torch.empty(0).is_meta:
            self._load(_weights(pretrained, width, depth, patch_size, list(self.state_dict())))

    def padded_grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Returns rows and columns of patches of an image (H, W), with the padding that whole windows need."""
        rows, columns = (self._padded(-(-side // self.patch_size)) for side in size)
        return rows, columns

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Returns the position table for a grid of patches, float [1,rows * columns,D]."""
        return resized_table(self.pos_embed, self.grid, grid)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes one map, the tokens behind the last block.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,D,ceil(H / p),ceil(W / p)], added to the patch embedding.

        Returns:
            A list of one map, float [B,D,ceil(H / p),ceil(W / p)].
        """
        height, width = image.shape[-2:]
        grid = self.padded_grid((height, width))
        below, beside = grid[0] * self.patch_size - height, grid[1] * self.patch_size - width
        if not is_zero(below, beside):
            image = F.pad(image, (0, beside, 0, below))
        x = self.patch_embed(image)
        if stem_add is not None:
            x = x + F.pad(stem_add, (0, grid[1] - stem_add.shape[-1], 0, grid[0] - stem_add.shape[-2]))
        x = x.flatten(2).transpose(1, 2) + self.positions(grid)
        x = self._through_blocks(x, grid)
        x = x.transpose(1, 2).unflatten(2, grid)
        return [x[..., : -(-height // self.patch_size), : -(-width // self.patch_size)]]

    def _through_blocks(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Runs all blocks on float [B,rows * columns,D]; tokens stay in windows from one global block to the next."""
        counts = (max(grid[0] // self.window, 1), max(grid[1] // self.window, 1))
        is_one = counts == (1, 1)
        in_windows = False
        for block, is_global in zip(self.blocks().values(), self.is_global, strict=True):
            if not is_one and is_global == in_windows:
                x = out_of_windows(x, grid, counts) if in_windows else into_windows(x, grid, counts)
                in_windows = not in_windows
            x = block(x)
        return out_of_windows(x, grid, counts) if in_windows else x

    def _padded(self, cells: int) -> int:
        """The next number of cells that its windows divide evenly."""
        while cells % max(cells // self.window, 1):
            cells += 1
        return cells

    def _initialize(self) -> None:
        """Normal position table, Xavier's uniform weights, biases 0, as the published code begins."""
        nn.init.normal_(self.pos_embed, std=0.02)
        nn.init.xavier_uniform_(self.patch_embed.weight.view(self.patch_embed.weight.shape[0], -1))
        for layer in self.encoder.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        """Loads weights by timm's names; further tensors (class token, last normalization, classifier) are left out."""
        given = {own_name(name): value for name, value in weights.items()}
        if "pos_embed" in given:
            given["pos_embed"] = table_of(given["pos_embed"], self.grid)
        own = self.state_dict()
        wrong = [
            f"{name} {tuple(given[name].shape) if name in given else 'missing'}"
            for name, value in own.items()
            if name not in given or given[name].shape != value.shape
        ]
        if wrong:
            raise ConfigError(
                f"backbone.pretrained: these weights are of another encoder: {len(wrong)} of {len(own)} tensors are "
                f"missing or of another shape ({', '.join(wrong[:3])}); give weights of this encoder"
            )
        self.load_state_dict({name: given[name] for name in own})


def own_name(name: str) -> str:
    """Returns the name of one of timm's tensors in this encoder."""
    for theirs, own in NAMES:
        if name.startswith(theirs):
            return own + name.removeprefix(theirs)
    return name


def table_of(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Returns the rows of patches of a published position table, for a grid.

    Args:
        table: float [1,1 + n * n,D] with the row of a class token, or [1,n * n,D].
        grid: rows and columns.

    Returns:
        float [1,rows * columns,D], bicubic without antialiasing.

    Raises:
        ConfigError: the table is of no square of patches.
    """
    rows = table.shape[1] if table.dim() == 3 else 0
    side = math.isqrt(rows)
    if not rows or side * side not in (rows, rows - 1):
        raise ConfigError(
            f"backbone.pretrained: its position table has {rows} rows, which are no square of patches and at most one "
            "more; give weights of this encoder"
        )
    return resized_table(table[:, rows - side * side :], (side, side), grid)


def into_windows(x: Tensor, grid: tuple[int, int], counts: tuple[int, int]) -> Tensor:
    """Cuts tokens into windows.

    Args:
        x: float [B,rows * columns,D].
        grid: rows and columns.
        counts: windows along both axes, which divide the grid.

    Returns:
        float [B * windows,tokens of a window,D], the windows of an image in reading order.
    """
    (rows, columns), (down, across) = grid, counts
    x = x.reshape(-1, down, rows // down, across, columns // across, x.shape[-1])
    return x.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def out_of_windows(x: Tensor, grid: tuple[int, int], counts: tuple[int, int]) -> Tensor:
    """Undoes into_windows."""
    (rows, columns), (down, across) = grid, counts
    x = x.reshape(-1, down, across, rows // down, columns // across, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, rows * columns, x.shape[-1])


def _weights(
    source: bool | str | Path | Callable[[], dict], width: int, depth: int, patch_size: int, keys: list[str]
) -> dict[str, Tensor]:
    if source is not True:
        return read_weights(cast(str | Path | Callable[[], dict], source), keys, "backbone.pretrained")
    name = MAE.get((width, depth, patch_size))
    if name is None:
        known = ", ".join(f"({w}, {d}, {p})" for w, d, p in MAE)
        raise ConfigError(
            f"backbone.pretrained = True: there are no published weights of width {width}, depth {depth} and patches "
            f"of {patch_size} pixels, only of {known}; set it to None or give a file"
        )
    import timm

    return timm.create_model(name, pretrained=True, num_classes=0).state_dict()

"""Plain Vision Transformers whose last blocks process queries beside the image's tokens.

Kerssies et al., Your ViT is Secretly an Image Segmentation Model, CVPR 2025, https://arxiv.org/abs/2503.19108.
Encoders: DINOv2 with registers, Darcet et al., ICLR 2024, and DINOv3, Siméoni et al., 2025.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from segkit.backbones.timm import Timm, recompute_blocks
from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.query_segmentor import TokenBackbone, Tokens
from segkit.ops.resizing import is_zero
from segkit.registry import BACKBONES, ConfigError


class _ViT(Protocol):
    """A plain Vision Transformer of timm, as far as it is used here."""

    blocks: nn.Sequential
    norm: nn.Module
    norm_pre: nn.Module
    patch_embed: nn.Module
    num_prefix_tokens: int

    def _pos_embed(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor | None]: ...


@BACKBONES.register
class QueryViT(Timm, TokenBackbone):
    """A plain Vision Transformer of timm, for heads that put queries among its tokens.

    Called as other encoders are, it gives one map: the last block's patches behind the final normalization. Images are
    padded to whole patches at the right and bottom, with the mean color. Position embeddings are resized to the image
    as timm does it, antialiased.

    Args:
        name: as in timm.list_models(): vit_{small,base,large,giant}_patch14_reg4_dinov2,
            vit_{small,base,large}_patch16_dinov3_qkvb and others that are plain.
        in_channels, pretrained, drop_path_rate, mean, std: as in Timm. Weights for another size of patch or image are
            resampled.
        img_size: (H, W) of the training crop, the size of the position embedding.
        norm_eps: as in Timm; published files on DINOv3 differ in it.
        patch_size: side of a patch in pixels.
        grad_checkpointing: keeps only the inputs of blocks in training and computes the blocks again for gradients.

    Raises:
        ConfigError: the encoder is no plain Vision Transformer, or cannot be built with an argument.
    """

    def __init__(
        self,
        name: str,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        img_size: tuple[int, int] = (512, 512),
        patch_size: PositiveInt = 16,
        norm_eps: PositiveFloat | None = None,
        drop_path_rate: Decay = 0.0,
        grad_checkpointing: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name,
            in_channels=in_channels,
            pretrained=pretrained,
            out_indices=(-1,),
            img_size=img_size,
            drop_path_rate=drop_path_rate,
            norm_eps=norm_eps,
            pad_divisor=patch_size,
            final_norm=True,
            options={"patch_size": patch_size},
            mean=mean,
            std=std,
        )
        model = self.encoder.get_submodule("model")
        if not hasattr(model, "blocks") or not hasattr(model, "_pos_embed") or hasattr(model, "rel_pos_bias"):
            raise ConfigError(
                f"backbone.name = '{name}': is no plain Vision Transformer, whose blocks take further tokens; take one "
                "such as vit_large_patch14_reg4_dinov2 or vit_large_patch16_dinov3_qkvb"
            )
        self.num_blocks = len(self.vit.blocks)
        if grad_checkpointing:
            recompute_blocks(self, name)

    @property
    def vit(self) -> _ViT:
        """The Vision Transformer itself."""
        return cast(_ViT, self.encoder.get_submodule("model"))

    def embed(self, image: Tensor) -> Tokens:
        """Returns the tokens before the first block; see TokenBackbone.embed."""
        bottom, right = self.sizes.padding((image.shape[-2], image.shape[-1]))
        if not is_zero(bottom, right):
            image = nn.functional.pad(image, (0, right, 0, bottom))
        x = self.vit.patch_embed(image)
        size = (x.shape[1], x.shape[2])
        positioned = self.vit._pos_embed(x)
        x, rotation = positioned if isinstance(positioned, tuple) else (positioned, None)
        return Tokens(self.vit.norm_pre(x), size, rotation)

    def add_queries(self, tokens: Tokens, queries: Tensor) -> Tokens:
        """Puts queries, float [Q,C], in front of the tokens; they have no position."""
        x = torch.cat([queries.expand(tokens.x.shape[0], -1, -1).to(tokens.x.dtype), tokens.x], 1)
        rotation = tokens.rotation
        if rotation is not None:
            # timm leaves the first P tokens unturned; with Q more in front the Q behind them are turned by 0
            half = rotation.shape[1] // 2
            still = torch.cat([rotation.new_zeros(len(queries), half), rotation.new_ones(len(queries), half)], 1)
            rotation = torch.cat([still, rotation])
        return Tokens(x, tokens.size, rotation)

    def block(self, number: int, tokens: Tokens, mask: Tensor | None = None) -> Tokens:
        """Runs a block; see TokenBackbone.block."""
        block = self.vit.blocks[number]
        kwargs: dict[str, Tensor | None] = {"attn_mask": mask}
        if tokens.rotation is not None:
            kwargs["rope"] = tokens.rotation
        return tokens._replace(x=block(tokens.x, **kwargs))

    def normalized(self, tokens: Tokens) -> Tokens:
        """Applies the final normalization."""
        return tokens._replace(x=self.vit.norm(tokens.x))

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes one map, float [B,C,h,w], the last block's patches behind the final normalization.

        Args:
            image: float [B,C,H,W], normalized.
            stem_add: must be None.
        """
        assert stem_add is None, "QueryViT takes no input at its stem"
        tokens = self.embed(image)
        for number in range(self.num_blocks):
            tokens = self.block(number, tokens)
        return [self.normalized(tokens).patches]

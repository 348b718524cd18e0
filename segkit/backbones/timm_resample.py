"""Weights of Vision Transformers for another size of image or patch, resampled when they are loaded, as timm does."""

import math
from typing import cast

from torch import Tensor, nn

from segkit.registry import ConfigError


def resampled(encoder: nn.Module, weights: dict[str, Tensor], at: str) -> dict[str, Tensor]:
    """Resamples position embeddings and patch embeddings to the shapes of an encoder.

    Position embeddings are resized with antialiased bicubic interpolation; of patches see Beyer et al., FlexiViT, CVPR
    2023, section 3.4, https://arxiv.org/abs/2212.08013.

    Args:
        encoder: of timm.
        weights: by the encoder's names.
        at: config path for errors.

    Returns:
        The weights, where they fit already as they are.

    Raises:
        ConfigError: a position embedding is of no square of patches, so that it is not known which row is which place.
    """
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    done = dict(weights)
    for path, module in encoder.named_modules():
        prefix = f"{path}." if path else ""
        grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
        if grid is None:
            continue
        kernel, table = f"{prefix}patch_embed.proj.weight", f"{prefix}pos_embed"
        state = module.state_dict()
        if kernel in done and done[kernel].dim() == 4:
            size = state["patch_embed.proj.weight"].shape[-2:]
            if done[kernel].shape[-2:] != size:
                done[kernel] = resample_patch_embed(done[kernel], list(size))
        if table in done and done[table].dim() == 3 and done[table].shape[1] != state["pos_embed"].shape[1]:
            new = cast(tuple[int, int], grid)
            extra = state["pos_embed"].shape[1] - new[0] * new[1]
            rows = done[table].shape[1] - extra
            side = math.isqrt(max(rows, 0))
            if side * side != rows or not rows:
                raise ConfigError(
                    f"{at}: its position embedding has {done[table].shape[1]} rows, which are no square of patches and "
                    f"{extra} more, so it cannot be resized; give weights of this encoder"
                )
            done[table] = resample_abs_pos_embed(done[table], list(new), [side, side], extra)
    return done

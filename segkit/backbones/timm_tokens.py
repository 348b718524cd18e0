"""Maps of timm's Vision Transformers with what features_only leaves out: the final normalization, the class token."""

from typing import Any, cast

import torch
from torch import Tensor, nn


class TokenMaps(nn.Module):
    """Maps of a Vision Transformer's blocks.

    Args:
        model: of timm, without a classifier.
        out_indices: blocks whose outputs are kept; a number for so many of the last.
        final_norm: normalizes each of them by the model's last layer.
        class_token: appends the class token to the channels of every position.
    """

    output_fmt = "NCHW"

    def __init__(self, model: nn.Module, out_indices: tuple[int, ...] | int, final_norm: bool, class_token: bool):
        super().__init__()
        from timm.models._features import FeatureInfo

        vit = cast(Any, model)
        self.out_indices = vit.prune_intermediate_layers(out_indices, prune_norm=not final_norm)
        info = [{**level, "num_chs": level["num_chs"] * (1 + class_token)} for level in vit.feature_info]
        self.feature_info = FeatureInfo(info, self.out_indices)
        self.model, self.final_norm, self.class_token = model, final_norm, class_token

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps images, float [B,3,H,W], to maps, float [B,C,h,w] or [B,2 * C,h,w]."""
        found = cast(Any, self.model).forward_intermediates(
            x,
            indices=self.out_indices,
            return_prefix_tokens=self.class_token,
            norm=self.final_norm,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        if not self.class_token:
            return found
        return [torch.cat([f, t[:, 0, :, None, None].expand(-1, -1, *f.shape[2:])], 1) for f, t in found]

"""Attention U-Net: Learning Where to Look for the Pancreas, Oktay et al., MIDL 2018,
https://arxiv.org/abs/1804.03999."""

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, OneOf, PositiveInt
from segkit.models.bases import Head
from segkit.models.decoder_layers import halved_strides, skips_of
from segkit.models.layers import ConvBNReLU, resize
from segkit.ops.resizing import fitted, is_zero
from segkit.registry import HEADS
from segkit.types import Outputs

NORMALIZE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.flatten(2).softmax(dim=2).view_as(x),
}
"""How attention scores, float [B,1,h,w], become weights of the same shape."""


class AttentionGate(nn.Module):
    """Attention gate: weights the positions of a skip connection by a coarser gating map.

    Section 2.2, eq. 1 and 2, figure 2.

    Args:
        in_channels: channels of the skip connection.
        gate_channels: channels of the gating map.
        channels: width in which the two maps are compared; None is half of in_channels.
        factor: cells of the skip connection along each side that share one attention weight.
        normalize: "sigmoid" computes each weight on its own, "softmax" normalizes the weights over all positions.

    Raises:
        ValueError: normalize is neither.
    """

    def __init__(
        self,
        in_channels: int,
        gate_channels: int,
        *,
        channels: int | None = None,
        factor: int = 2,
        normalize: Annotated[str, OneOf(NORMALIZE)] = "sigmoid",
    ):
        super().__init__()
        if normalize not in NORMALIZE:
            raise ValueError(f"normalize = {normalize!r}: must be one of {', '.join(map(repr, NORMALIZE))}")
        channels = channels or max(in_channels // 2, 1)
        self.factor = factor
        self.normalize = normalize
        self.theta = nn.Conv2d(in_channels, channels, factor, factor, bias=False)
        self.phi = nn.Conv2d(gate_channels, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)
        self.out = ConvBNReLU(in_channels, in_channels, 1, act=False, bias=True)

    def weights(self, x: Tensor, gate: Tensor) -> Tensor:
        """Computes the attention weights.

        Args:
            x: skip connection, float [B,in_channels,h,w].
            gate: gating map, float [B,gate_channels,h',w'].

        Returns:
            Float [B,1,h,w].
        """
        height, width = x.shape[-2:]
        bottom, right = -height % self.factor, -width % self.factor
        theta = self.theta(x if is_zero(bottom, right) else F.pad(x, (0, right, 0, bottom)))
        coarse = self.psi(F.relu(theta + resize(self.phi(gate), like=theta)))
        size = (height + bottom, width + right)
        return resize(NORMALIZE[self.normalize](coarse), size=size)[..., :height, :width]

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Weights the skip connection and projects the result.

        Args:
            x: skip connection, float [B,in_channels,h,w].
            gate: gating map, float [B,gate_channels,h',w'].

        Returns:
            Float [B,in_channels,h,w].
        """
        return self.out(x * self.weights(x, gate))


class GatedUp(nn.Module):
    """Decoder block: doubles the size, concatenates the gated skip connection if any, applies two convolutions.

    Args:
        in_channels: channels of the input.
        skip_channels: channels of the skip connection; 0 for none.
        channels: channels of the output.
        normalize: normalization of the attention gate, as in AttentionGate.
    """

    def __init__(self, in_channels: int, skip_channels: int, channels: int, *, normalize: str):
        super().__init__()
        self.gate = AttentionGate(skip_channels, in_channels, normalize=normalize) if skip_channels else None
        self.conv1 = ConvBNReLU(in_channels + skip_channels, channels)
        self.conv2 = ConvBNReLU(channels, channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w]; also the gating map.
            skip: skip connection, float [B,skip_channels,H,W], or None.
            size: (H, W) of the result without a skip, at most (2h + 1, 2w + 1); with one it has the skip's size.

        Returns:
            Float [B,channels,H,W].
        """
        size = size if skip is None else (skip.shape[-2], skip.shape[-1])
        up = fitted(F.interpolate(x, scale_factor=2, mode="bilinear"), size)
        if self.gate is not None:
            up = torch.cat([self.gate(skip, x), up], dim=1)
        return self.conv2(self.conv1(up))


@HEADS.register
class AttentionUNetHead(Head):
    """U-Net decoder for any encoder, with an attention gate on each skip connection.

    The map that is upsampled is also the gating signal. The paper's networks are three-dimensional and have deep
    supervision (losses at every level) as well; here auxiliary heads do that. There are no published weights, so parity
    is not measured.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: image pixels per cell of each feature map.
        channels: widths of the decoder blocks, deep to shallow. With fewer blocks than the encoder has halvings, the
            result stays at that fraction of the image's size.
        normalize: normalization of the attention gates: "sigmoid" or "softmax", as in AttentionGate.
        dropout: share of channels dropped before the classifier.

    Raises:
        ValueError: there are more blocks than the encoder has halvings, or normalize is unknown.
    """

    needs_pyramid = True

    needs = ("size",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: tuple[PositiveInt, ...] = (256, 128, 64, 32, 16),
        normalize: Annotated[str, OneOf(NORMALIZE)] = "sigmoid",
        dropout: Decay = 0.0,
    ):
        super().__init__()
        self.strides = halved_strides(strides, channels)
        self.skips = tuple(skips_of(strides, len(channels)))
        widths = (in_channels[-1], *channels)
        self.blocks = nn.ModuleList(
            GatedUp(width, 0 if skip is None else in_channels[skip], out, normalize=normalize)
            for width, skip, out in zip(widths, self.skips, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels[-1], num_classes, 1)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels[-1],h,w], the input of the classifier; both at
            the last block's stride.
        """
        x = features[-1]
        for block, skip, stride in zip(self.blocks, self.skips, self.strides):
            rows, columns = (-(-side // stride) for side in size)
            x = block(x, None if skip is None else features[skip], (rows, columns))
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

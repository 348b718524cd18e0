"""Attention U-Net: Learning Where to Look for the Pancreas, Oktay et al., MIDL 2018,
https://arxiv.org/abs/1804.03999."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, resize
from segkit.registry import HEADS

NORMALIZE = {"sigmoid": torch.sigmoid, "softmax": lambda x: x.flatten(2).softmax(dim=2).view_as(x)}


class AttentionGate(nn.Module):
    """Weighs the positions of a skipped map by what a coarser map makes of them (section 2.2, eq. 1 and 2, figure 2):
    [B,in_channels,h,w] -> the same.

    gate_channels: of the coarser map; channels: that both are compared in, None for half of in_channels; factor: cells
    of the skipped map per weight and side; normalize: "sigmoid" (each weight for itself) or "softmax" (over positions).
    """

    def __init__(
        self,
        in_channels: int,
        gate_channels: int,
        *,
        channels: int | None = None,
        factor: int = 2,
        normalize: str = "sigmoid",
    ):
        super().__init__()
        if normalize not in NORMALIZE:
            raise ValueError(f"normalize = {normalize!r}: choose one of {', '.join(map(repr, NORMALIZE))}")
        channels = channels or max(in_channels // 2, 1)
        self.factor = factor
        self.normalize = normalize
        self.theta = nn.Conv2d(in_channels, channels, factor, factor, bias=False)
        self.phi = nn.Conv2d(gate_channels, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)
        self.out = ConvBNReLU(in_channels, in_channels, 1, act=False, bias=True)

    def weights(self, x: Tensor, gate: Tensor) -> Tensor:
        """x: float [B,in_channels,h,w]; gate: float [B,gate_channels,h',w'] -> float [B,1,h,w]."""
        height, width = x.shape[-2:]
        bottom, right = -height % self.factor, -width % self.factor
        theta = self.theta(F.pad(x, (0, right, 0, bottom)) if bottom or right else x)
        coarse = self.psi(F.relu(theta + resize(self.phi(gate), like=theta)))
        size = (height + bottom, width + right)
        return resize(NORMALIZE[self.normalize](coarse), size=size)[..., :height, :width]

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """x: float [B,in_channels,h,w]; gate: float [B,gate_channels,h',w'] -> float [B,in_channels,h,w]."""
        return self.out(x * self.weights(x, gate))


class GatedUp(nn.Module):
    """Doubles the size, joins the gated map of that size where there is one, two convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int, *, normalize: str):
        super().__init__()
        self.gate = AttentionGate(skip_channels, in_channels, normalize=normalize) if skip_channels else None
        self.conv1 = ConvBNReLU(in_channels + skip_channels, channels)
        self.conv2 = ConvBNReLU(channels, channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """x: float [B,in_channels,h,w]; skip: float [B,skip_channels,H,W] or None -> float [B,channels,H,W],
        (H, W) = size, at most (2h, 2w)."""
        up = F.interpolate(x, scale_factor=2, mode="bilinear")[..., : size[0], : size[1]]
        if self.gate is not None:
            up = torch.cat([self.gate(skip, x), up], dim=1)
        return self.conv2(self.conv1(up))


@HEADS.register
class AttentionUNetHead(nn.Module):
    """A U-Net's way up on any encoder, with a gate on every map that joins; the map that doubles is the gate's signal.

    channels: of the blocks, deep to shallow; fewer blocks than the encoder has strides leave the result at that
    fraction of the image; normalize: of the gates, as AttentionGate has it. The paper's nets are three-dimensional and
    have losses on every level besides: here auxiliary heads do that. No published weights: no parity is measured.
    """

    needs = ("size",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[int, ...],
        *,
        channels: tuple[int, ...] = (256, 128, 64, 32, 16),
        normalize: str = "sigmoid",
        dropout: float = 0.0,
    ):
        super().__init__()
        doublings = int(math.log2(strides[-1]))
        if len(channels) > doublings:
            raise ValueError(
                f"channels: {len(channels)} blocks, but an encoder of stride {strides[-1]} has {doublings}"
            )
        self.strides = tuple(strides[-1] // 2 ** (i + 1) for i in range(len(channels)))
        # At a stride that several maps have, the last and deepest of them joins.
        self.skips = tuple(max((i for i, s in enumerate(strides) if s == own), default=None) for own in self.strides)
        widths = (in_channels[-1], *channels)
        self.blocks = nn.ModuleList(
            GatedUp(width, 0 if skip is None else in_channels[skip], out, normalize=normalize)
            for width, skip, out in zip(widths, self.skips, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels[-1], num_classes, 1)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; size: (H, W) of the image -> logits [B,num_classes,h,w] and
        embedding [B,channels[-1],h,w] at the last block's stride."""
        x = features[-1]
        for block, skip, stride in zip(self.blocks, self.skips, self.strides):
            rows, columns = (-(-side // stride) for side in size)
            x = block(x, None if skip is None else features[skip], (rows, columns))
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

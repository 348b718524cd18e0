"""U-Net, Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597, as a decoder on any encoder."""

from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, OneOf, PositiveInt
from segkit.models.bases import Head
from segkit.models.decoder_layers import UpBlock, halved_strides, skips_of
from segkit.models.layers import SCSE
from segkit.ops.resizing import resize
from segkit.registry import HEADS
from segkit.types import Outputs

ATTENTION = {"scse": SCSE}
"""Attention blocks of UNetHead by name."""


@HEADS.register
class UNetHead(Head):
    """U-Net decoder for any encoder: doubles the size step by step and concatenates the encoder's map at every stride.

    The default five blocks reach the image's own resolution on an encoder of stride 32; fewer blocks than the encoder
    has strides leave the result at that fraction of the image. A stride that the encoder has no map for is passed
    without one.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image.
        channels: channels of the blocks, deep to shallow.
        attention: None or "scse", which gates the input (where a map is concatenated) and the output of each block.
        reduction: of scSE, see SCSE; segmentation_models has 16, the authors' code 2.
        combine: of scSE, see SCSE; segmentation_models has "sum", the authors' code "max".
        upsample: "nearest" or "bilinear".
        norm: uses batch normalization.
        kernel: kernel size of the classifier.
        dropout: share of channels dropped before the classifier.
        hypercolumns: the classifier reads the maps of all blocks, resized to the last one's and concatenated
            (Hariharan et al., CVPR 2015, https://arxiv.org/abs/1411.5752), as the winners of TGS Salt have it.

    Raises:
        ValueError: if attention is unknown, or if there are more blocks than the encoder's deepest stride has
            doublings.
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
        attention: Annotated[str, OneOf(ATTENTION)] | None = None,
        reduction: PositiveInt = 16,
        combine: Literal["sum", "max"] = "sum",
        upsample: Literal["nearest", "bilinear"] = "nearest",
        norm: bool = True,
        kernel: PositiveInt = 3,
        dropout: Decay = 0.0,
        hypercolumns: bool = False,
    ):
        super().__init__()
        if attention is not None and attention not in ATTENTION:
            raise ValueError(f"attention = {attention!r}: must be None or one of {', '.join(map(repr, ATTENTION))}")
        self.strides = halved_strides(strides, channels)
        self.skips = tuple(skips_of(strides, len(channels)))
        skip_channels = [0 if skip is None else in_channels[skip] for skip in self.skips]
        gate = partial(ATTENTION[attention], reduction=reduction, combine=combine) if attention else nn.Identity
        self.blocks = nn.ModuleList(
            UpBlock(width, skip, out, gate=gate, upsample=upsample, norm=norm)
            for width, skip, out in zip((in_channels[-1], *channels), skip_channels, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.hypercolumns = hypercolumns
        width = sum(channels) if hypercolumns else channels[-1]
        self.classifier = nn.Conv2d(width, num_classes, kernel, padding=kernel // 2)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the input in pixels.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels[-1],h,w] (of hypercolumns
            [B,sum(channels),h,w]), the input of the classifier, at the last block's stride.
        """
        x = features[-1]
        maps = []
        for block, skip, stride in zip(self.blocks, self.skips, self.strides):
            rows, columns = (-(-side // stride) for side in size)
            x = block(x, None if skip is None else features[skip], (rows, columns))
            if self.hypercolumns:
                maps.append(x)
        if self.hypercolumns:
            x = torch.cat([resize(level, like=x) for level in maps], dim=1)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}

"""UNet++: A Nested U-Net Architecture, Zhou et al., DLMIA 2018, https://arxiv.org/abs/1807.10165."""

from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, OneOf, PositiveInt
from segkit.models.bases import Head
from segkit.models.decoder_layers import UpBlock, halved_strides, skips_of
from segkit.models.layers import SCSE
from segkit.registry import HEADS, LevelError
from segkit.types import Outputs

ATTENTION = {"scse": SCSE}
"""Attention blocks of UNetPlusPlusHead by name."""


@HEADS.register
class UNetPlusPlusHead(Head):
    """UNet++ decoder for any encoder: every skip connection of a U-Net is a row of blocks that read deeper maps, too.

    Section 3.1, eq. 1, in the form of segmentation_models: figure 1a without deep supervision, and a last block without
    a skip that reaches the image's own resolution. The block named i_j is on row j, of stride strides[-1] / 2 ** (j +
    1); it upsamples block i_(j-1), or the encoder's map of row j - 1 where i = j, and concatenates the blocks after it
    on its row and the encoder's map. The blocks 0_j are the decoder proper.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image.
        channels: channels of the blocks 0_j, deep to shallow; the others have those of the encoder's map of their row.
        attention: None or "scse", which gates the input (where a map is concatenated) and the output of each block.
        upsample: "nearest" or "bilinear".
        norm: uses batch normalization.
        kernel: kernel size of the classifier.
        dropout: share of channels dropped before the classifier.

    Raises:
        LevelError: there are more blocks than the encoder's deepest stride has doublings, or the encoder has no map of
            a stride between its deepest and its finest.
    """

    needs = ("size",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: tuple[PositiveInt, ...] = (256, 128, 64, 32, 16),
        attention: Annotated[str, OneOf(ATTENTION)] | None = None,
        upsample: Literal["nearest", "bilinear"] = "nearest",
        norm: bool = True,
        kernel: PositiveInt = 3,
        dropout: Decay = 0.0,
    ):
        super().__init__()
        self.strides = halved_strides(strides, channels)
        self.skips = tuple(skips_of(strides, len(channels)))
        found = [skip is not None for skip in self.skips]
        if found != sorted(found, reverse=True):
            raise LevelError(
                f"UNet++ reads maps of all strides between the deepest and the finest, but the encoder has {strides}; "
                "take another encoder, or UNetHead, which passes strides without a map"
            )
        make = partial(UpBlock, gate=ATTENTION[attention] if attention else nn.Identity, upsample=upsample, norm=norm)
        # A row without a map is its block 0_j alone.
        widths = [0 if skip is None else in_channels[skip] for skip in self.skips]
        deeper = (in_channels[-1], *channels)
        self.blocks = nn.ModuleDict()
        for row, width in enumerate(widths):
            for column in range(row + 1):
                joined = width * (row + 1 - column)
                if column == 0:
                    self.blocks[f"0_{row}"] = make(deeper[row], joined, channels[row])
                elif width:
                    self.blocks[f"{column}_{row}"] = make(widths[row - 1], joined, width)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels[-1], num_classes, kernel, padding=kernel // 2)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the input in pixels.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels[-1],h,w], the input of the classifier, at the
            last block's stride.
        """
        before = [features[-1]]  # of the row before: its blocks, then the encoder's map
        for row, (skip, stride) in enumerate(zip(self.skips, self.strides)):
            height, width = (-(-side // stride) for side in size)
            done = [] if skip is None else [features[skip]]
            for column in reversed(range(len(before) if done else 1)):
                joined = torch.cat(done, dim=1) if done else None
                done.insert(0, self.blocks[f"{column}_{row}"](before[column], joined, (height, width)))
            before = done
        embedding = self.dropout(before[0])
        return {"logits": self.classifier(embedding), "embedding": embedding}

"""HRNet2x of SegFix: HRNet whose finest branch has stride 2, with a fifth branch, Yuan et al., ECCV 2020,
https://arxiv.org/abs/2007.04269."""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.hrnet import (
    FUSE_UPSAMPLES,
    ChannelOrder,
    HRModule,
    bottleneck,
    conv_bn,
    init_convs,
    to_next_stage,
    transition,
)
from segkit.backbones.weights import load_encoder, read_weights
from segkit.constraints.named import OneOf, PositiveFloat, PositiveInt, Rounds
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.registry import BACKBONES

FIRST_WIDTHS = (128, 256)
"""Channels of the two branches of the first stage, which has bottlenecks."""


@BACKBONES.register
class HRNet2x(Backbone):
    """High-resolution network that keeps a branch at stride 2 to the end, beside branches of strides 4 to 32.

    One convolution leads to stride 2; the first stage already has two branches, the last one five. State dict keys are
    those of SegFix's published code.

    Args:
        width: channels of the finest branch; 20 is published.
        in_channels: channels of the image.
        pretrained: None for random weights, or a file.
        num_modules: number of HRModules in the stages with two, three, four and five branches.
        num_blocks: residual blocks of every branch of a module.
        fuse_upsample: one of FUSE_UPSAMPLES; "bilinear_corners" is published.
        mean, std: per channel of the image in `order`, in 0..255.
        order: of the channels that the network reads, "RGB" or "BGR"; images stay RGB.
    """

    def __init__(
        self,
        width: PositiveInt = 20,
        in_channels: PositiveInt = 3,
        pretrained: str | Path | None = None,
        *,
        num_modules: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1, 1, 4, 3),
        num_blocks: Rounds = 4,
        fuse_upsample: Annotated[str, OneOf(FUSE_UPSAMPLES)] = "bilinear_corners",
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
        order: ChannelOrder = "RGB",
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.is_pretrained, self.order = bool(pretrained), order
        self.stem_channels, self.stem_stride = 64, 2
        self.channels, self.strides = tuple(width * 2**i for i in range(5)), (2, 4, 8, 16, 32)
        self.conv1, self.bn1 = conv_bn(in_channels, 64, stride=2)
        before: tuple[int, ...] = (64,)
        self.num_stages = len(num_modules)
        for stage, count in enumerate(num_modules, start=1):
            widths = FIRST_WIDTHS if stage == 1 else self.channels[: stage + 1]
            self.add_module(f"transition{stage - 1}", transition(before, widths))
            block = {"block": bottleneck} if stage == 1 else {}
            modules = [HRModule(widths, num_blocks, fuse_upsample, **block) for _ in range(count)]
            self.add_module(f"stage{stage}", nn.Sequential(*modules))
            before = widths
        init_convs(self)
        if pretrained and not torch.empty(0).is_meta:
            weights = read_weights(pretrained, list(self.state_dict()), "backbone.pretrained")
            load_encoder(self, weights, in_channels, "backbone.pretrained")

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,64,ceil(H / 2),ceil(W / 2)], added after the first convolution, its normalization and
                ReLU.

        Returns:
            Five maps of strides 2 to 32, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        if stem_add is not None:
            x = x + stem_add
        maps = [x]
        for stage in range(1, self.num_stages + 1):
            layers = self.get_submodule(f"transition{stage - 1}")
            assert isinstance(layers, nn.ModuleList)
            maps = self.get_submodule(f"stage{stage}")(to_next_stage(layers, maps))
        return maps

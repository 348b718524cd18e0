"""VGG-16 at output stride 8, as in DeepLab: Chen et al., ICLR 2015, https://arxiv.org/abs/1412.7062, section 3."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.vgg import VGG16
from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD
from segkit.registry import BACKBONES


@BACKBONES.register
class VGG16Dilated(VGG16):
    """The convolutions of VGG-16 with the last two poolings at stride 1 and the last stage dilated by 2.

    It returns the maps after pool1 to pool5 (strides 2, 4, 8, 8, 8). Pooling windows are 3x3, as in the DeepLab papers,
    so that an image of 8n + 1 pixels becomes n + 1 cells; other sizes are rounded up.

    Args:
        in_channels, channels, pretrained, mean, std: as in VGG16.
    """

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: tuple[PositiveInt, ...] = (64, 128, 256, 512, 512),
        *,
        pretrained: bool | None = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__(in_channels, channels, hidden=0, pretrained=pretrained, mean=mean, std=std)
        self.strides = (2, 4, 8, 8, 8)
        for conv in self.stages[-1].modules():
            if isinstance(conv, nn.Conv2d):
                conv.dilation = conv.padding = (2, 2)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],H,W], added after the first convolution.

        Returns:
            Maps shallow to deep, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        stages = cast(Sequence[nn.Sequential], self.stages)
        x = stages[0][0](image)
        if stem_add is not None:
            x = x + stem_add
        features, stride = [], 1
        for i, stage in enumerate(stages):
            for conv in stage[1:] if i == 0 else stage:
                x = conv(x)
            x = F.max_pool2d(x, 3, self.strides[i] // stride, padding=1)
            stride = self.strides[i]
            features.append(x)
        return features

"""VGG-16, Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556, fully convolutional."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.backbones.weights import load_encoder
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, per_channel
from segkit.registry import BACKBONES


@BACKBONES.register
class VGG16(Backbone):
    """VGG-16 with its two large fully connected layers as convolutions.

    Thirteen convolutions in five stages, each followed by pooling. It returns the maps after pool1 to pool5 (strides 2
    to 32) and after fc7 (stride 32).

    Args:
        in_channels: channels of the image.
        channels: of the five stages.
        hidden: channels of fc6 and fc7; 0 for neither.
        padding: of the first convolution, 1 or 100. With 1 the maps have the sizes of their strides (rounded up). FCN
            has 100: fc6 (7x7) is then not padded and every image is large enough for it; the maps are larger, and FCN's
            head crops them.
        dropout: share of values dropped after fc6 and after fc7.
        pretrained: loads timm's weights, fetched from the hub.
        mean, std: per channel of the image, in 0..255.

    Raises:
        ValueError: another padding.
    """

    stem_stride = 1

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: tuple[PositiveInt, ...] = (64, 128, 256, 512, 512),
        *,
        hidden: NonNegativeInt = 4096,
        padding: NonNegativeInt = 1,
        dropout: Decay = 0.5,
        pretrained: bool | None = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if padding not in (1, 100):
            raise ValueError(f"padding = {padding}: must be 1, or FCN's 100")
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.padding, self.is_pretrained = padding, bool(pretrained)
        self.channels = (*channels, *([hidden] if hidden else []))
        self.strides = (2, 4, 8, 16, 32, 32)[: len(self.channels)]
        self.stem_channels = channels[0]
        self.stages = nn.ModuleList()
        width = in_channels
        for stage, (out, num_convs) in enumerate(zip(channels, (2, 2, 3, 3, 3))):
            convs = []
            for i in range(num_convs):
                convs.append(ConvBNReLU(width, out, padding=padding if stage == i == 0 else 1, norm=False))
                width = out
            self.stages.append(nn.Sequential(*convs))
        self.fc = None
        if hidden:
            self.fc = nn.Sequential(
                ConvBNReLU(width, hidden, 7, padding=3 if padding == 1 else 0, norm=False),
                nn.Dropout(dropout),
                ConvBNReLU(hidden, hidden, 1, norm=False),
                nn.Dropout(dropout),
            )
        if pretrained and not torch.empty(0).is_meta:
            self._load(in_channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],H,W], added after the first convolution.

        Returns:
            Maps shallow to deep, float [B,channels[i],h_i,w_i].
        """
        stages = cast(Sequence[nn.Sequential], self.stages)
        x = stages[0][0](image)
        if stem_add is not None:
            x = x + F.pad(stem_add, [self.padding - 1] * 4)
        features = []
        for i, stage in enumerate(stages):
            for conv in stage[1:] if i == 0 else stage:
                x = conv(x)
            x = F.max_pool2d(x, 2, ceil_mode=True)
            features.append(x)
        return features if self.fc is None else [*features, self.fc(x)]

    def _load(self, in_channels: int) -> None:
        """timm's weights, whose layers come in the same order."""
        import timm

        published = [*timm.create_model("vgg16", pretrained=True).state_dict().values()]
        names = [*self.state_dict()]
        load_encoder(self, dict(zip(names, published)), in_channels, "backbone.pretrained")

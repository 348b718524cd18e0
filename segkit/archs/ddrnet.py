"""DDRNet: Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes, Hong et al.,
2021, https://arxiv.org/abs/2101.06085."""

import torch
from torch import Tensor, nn

from segkit.archs._dual_resolution import DAPPM, PreActLayers, basic_blocks, bottleneck_blocks, shared_stem
from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, at_level, per_channel, resize
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs


@BACKBONES.register
class DDRNet(Backbone):
    """DDRNet-23: a branch that stays at stride 8 and one that falls to stride 64, fused twice in both directions.

    Section 3.2, figure 4. Gives two maps of stride 8: the branch of full detail after the first fusion, which an
    auxiliary head reads in training, and the sum of both branches. Takes images of any size; the published code fails
    where a side is no multiple of 8, with which this one agrees.

    Args:
        in_channels: channels of the image.
        channels: width of the first layers: 32 is DDRNet-23-slim, 64 DDRNet-23.
        pool_channels: width of each pooling of the context.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (8, 8)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: PositiveInt = 32,
        *,
        pool_channels: PositiveInt = 128,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels = channels
        wide = 2 * channels
        self.channels = (wide, 4 * channels)
        self.stem = shared_stem(in_channels, channels, 2)
        self.context = nn.ModuleList(
            [
                basic_blocks(wide, 4 * channels, 2, stride=2),
                basic_blocks(4 * channels, 8 * channels, 2, stride=2),
                bottleneck_blocks(8 * channels, 8 * channels, 1, stride=2),
            ]
        )
        self.detail = nn.ModuleList(
            [basic_blocks(wide, wide, 2), basic_blocks(wide, wide, 2), bottleneck_blocks(wide, wide, 1)]
        )
        self.compress = nn.ModuleList(ConvBNReLU(width * channels, wide, 1, act=False) for width in (4, 8))
        self.down = nn.ModuleList(
            [
                nn.Sequential(ConvBNReLU(wide, 4 * channels, stride=2, act=False)),
                nn.Sequential(
                    ConvBNReLU(wide, 4 * channels, stride=2),
                    ConvBNReLU(4 * channels, 8 * channels, stride=2, act=False),
                ),
            ]
        )
        self.pool = DAPPM(16 * channels, pool_channels, 4 * channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes both maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels,ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            The detailed and the fused map, float [B,2 channels or 4 channels,ceil(H / 8),ceil(W / 8)].
        """
        x = self.stem[0](image)
        x = self.stem[1:](x if stem_add is None else x + stem_add)
        context = detail = x
        early = x
        for i in range(2):
            context, detail = self.context[i](context), self.detail[i](detail)
            # Each sum is made of maps before their ReLU, and each branch is rectified for its reader alone.
            from_context = resize(self.compress[i](torch.relu(context)), like=detail)
            context = torch.relu(context + self.down[i](torch.relu(detail)))
            detail = detail + from_context
            early = early if i else detail
            detail = torch.relu(detail)
        detail, context = self.detail[2](detail), self.pool(self.context[2](context))
        return [early, detail + resize(context, like=detail)]


@HEADS.register
class DDRHead(Head):
    """Batch normalization, ReLU, 3x3 convolution, batch normalization, ReLU and a classifier on one map.

    Of DDRNet (section 3.4) and PIDNet, whose encoders give maps before their ReLU.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the convolution.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 64,
        dropout: Decay = 0.0,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        self.layers = PreActLayers(at_level(in_channels, level), channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        nn.init.kaiming_normal_(self.classifier.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        embedding = self.dropout(self.layers(features[self.level]))
        return {"logits": self.classifier(embedding), "embedding": embedding}

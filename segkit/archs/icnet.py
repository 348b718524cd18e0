"""ICNet for Real-Time Semantic Segmentation on High-Resolution Images, Zhao et al., ECCV 2018,
https://arxiv.org/abs/1704.08545."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, PyramidPooling, per_channel, resize
from segkit.registry import BACKBONES, NECKS


@BACKBONES.register
class ICNet(Backbone):
    """ICNet encoder: three branches read the image at full, half and quarter size.

    The image at its own size passes through three convolutions. At half its size it passes through the first half of a
    ResNet, and at a quarter the other half and pyramid pooling. Section 3.2, figure 2, in the form of mmsegmentation's
    benchmark (pyramid pooling concatenates; the paper adds). The maps have strides 8, 16 and 32; they may have a cell
    more than that, since pooling rounds up.

    Args:
        in_channels: channels of the image.
        encoder: name of a ResNet of timm; it is dilated to output stride 8.
        pretrained: loads timm's weights, fetched from the hub.
        channels: channels of the three maps, shallow to deep.
        pool_channels: width of each pooling grid and of the map that fuses them.
        bins: cells along each side of a pooling grid, one value per grid.
        mean, std: statistics of each channel of the image, in 0..255.
    """

    strides = (8, 16, 32)
    stem_channels, stem_stride = 32, 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        encoder: str = "resnet50c",
        *,
        pretrained: bool | None = False,
        channels: tuple[PositiveInt, ...] = (64, 256, 256),
        pool_channels: PositiveInt = 512,
        bins: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        import timm

        is_real = not torch.empty(0).is_meta
        self.is_pretrained = bool(pretrained)
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.channels = tuple(channels)
        self.encoder = timm.create_model(
            encoder, bool(pretrained) and is_real, in_chans=in_channels, output_stride=8, num_classes=0
        )
        # Keeps the last row and column of an even map.
        cast(nn.MaxPool2d, self.encoder.maxpool).ceil_mode = True
        stages = cast(list[dict[str, Any]], self.encoder.feature_info)
        middle, deep = stages[-3]["num_chs"], stages[-1]["num_chs"]
        light, half, quarter = channels
        self.light = nn.Sequential(
            ConvBNReLU(in_channels, self.stem_channels, stride=2),
            ConvBNReLU(self.stem_channels, self.stem_channels, stride=2),
            ConvBNReLU(self.stem_channels, light, stride=2),
        )
        self.project_half = ConvBNReLU(middle, half, 1)
        self.pools = PyramidPooling(deep, pool_channels, bins)
        self.fuse = ConvBNReLU(deep + len(bins) * pool_channels, pool_channels)
        self.project_quarter = ConvBNReLU(pool_channels, quarter, 1)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Encodes an image.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,32,ceil(H / 2),ceil(W / 2)], added after the first convolution of the full-size
                branch.

        Returns:
            Three maps, float [B,channels[i],h_i,w_i], shallow to deep.
        """
        light = self.light[0](image)
        light = self.light[2](self.light[1](light if stem_add is None else light + stem_add))
        middle = self._encoded(_half(image), "conv1", "bn1", "act1", "maxpool", "layer1", "layer2")
        x = self._encoded(_half(middle), "layer3", "layer4")
        deep = self.fuse.over_concat([*self.pools(x), x], like=x)
        return [light, self.project_half(middle), self.project_quarter(deep)]

    def _encoded(self, x: Tensor, *names: str) -> Tensor:
        """Runs modules of the encoder one after the other."""
        for name in names:
            x = self.encoder.get_submodule(name)(x)
        return x


class CascadeFusion(nn.Module):
    """Cascade feature fusion: adds a coarse map to a finer one after resizing and a dilated convolution.

    Section 3.3, figure 3.

    Args:
        low_channels: channels of the coarse map.
        high_channels: channels of the fine map.
        channels: channels of the sum.
    """

    def __init__(self, low_channels: int, high_channels: int, channels: int):
        super().__init__()
        self.low = ConvBNReLU(low_channels, channels, dilation=2)
        self.high = ConvBNReLU(high_channels, channels, 1)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses two maps.

        Args:
            low: float [B,low_channels,h',w'], the coarse map.
            high: float [B,high_channels,h,w], the fine map.

        Returns:
            The sum, float [B,channels,h,w], and the coarse map's term of it, of the same shape, which an auxiliary
            loss guides (section 3.4).
        """
        low = self.low(resize(low, like=high))
        # The benchmark's form: each term has its ReLU, so that the paper's ReLU on the sum changes nothing.
        return low + self.high(high), low


@NECKS.register
class ICNeck(nn.Module):
    """Fuses maps of strides 8, 16 and 32 by two cascade feature fusions.

    Its maps are the coarse terms of both fusions, of strides 16 and 8, for auxiliary heads, and the last sum, of stride
    8.

    Args:
        in_channels: channels of each feature map; the last three are read.
        strides: stride of each feature map in pixels of the image.
        channels: channels of the three results.
    """

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[PositiveInt, ...], *, channels: PositiveInt = 128):
        super().__init__()
        fine, middle, coarse = in_channels[-3:]
        self.channels = (channels,) * 3
        self.strides = (strides[-2], strides[-3], strides[-3])
        self.coarse = CascadeFusion(coarse, middle, channels)
        self.fine = CascadeFusion(channels, fine, channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Fuses the maps.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            Three maps, float [B,channels,h,w]: the coarse term of the first and of the second fusion, and the last
            sum.
        """
        fine, middle, coarse = features[-3:]
        fused, guided_coarse = self.coarse(coarse, middle)
        fused, guided_fine = self.fine(fused, fine)
        return [guided_coarse, guided_fine, fused]


def _half(x: Tensor) -> Tensor:
    """Halves a map [B,C,h,w], rounding down; cell i is read at 2 i + 0.5 whether or not the size is even."""
    return F.interpolate(x, scale_factor=0.5, mode="bilinear")

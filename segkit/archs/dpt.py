"""Dense Prediction Transformers (DPT), Ranftl et al., ICCV 2021, https://arxiv.org/abs/2103.13413."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS, NECKS, ConfigError
from segkit.types import Outputs

LEVELS = 4


@NECKS.register
class Reassemble(nn.Module):
    """Makes maps of strides 4, 8, 16 and 32 of four maps of a Vision Transformer.

    Section 3.1, "Convolutional decoder". Where the maps hold the class token (backbone.append_class_token), it is
    projected into each patch ("project"); then follow a 1x1 convolution and a transposed convolution of stride 4 or 2,
    nothing, or a convolution of stride 2.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: of the four maps.
        class_token: whether the second half of each map's channels is the class token.

    Raises:
        ConfigError: the last four maps are not of one stride that is a multiple of 4.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[PositiveInt, ...],
        *,
        channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (96, 192, 384, 768),
        class_token: bool = True,
    ):
        super().__init__()
        at_level(in_channels, -LEVELS)  # raises where the backbone has fewer maps
        stride = strides[-1]
        if set(strides[-LEVELS:]) != {stride} or stride % 4:
            raise ConfigError(
                f"neck: maps of strides {tuple(strides[-LEVELS:])}, but Reassemble takes four of one stride that is a "
                "multiple of 4; leave the neck out on an encoder with a pyramid, or name SimplePyramid"
            )
        widths = [width // 2 if class_token else width for width in in_channels[-LEVELS:]]
        self.channels = tuple(channels)
        self.strides = (stride // 4, stride // 2, stride, 2 * stride)
        self.readouts = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.GELU()) for width in widths if class_token
        )
        self.projects = nn.ModuleList(nn.Conv2d(width, out, 1) for width, out in zip(widths, channels))
        first, second, _, last = channels
        self.resizes = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, 4),
                nn.ConvTranspose2d(second, second, 2, 2),
                nn.Identity(),
                nn.Conv2d(last, last, 3, 2, 1),
            ]
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Computes the pyramid.

        Args:
            features: feature maps, float [B,in_channels[i],h,w]; the last four are read.

        Returns:
            Four maps, float [B,channels[i],...], of 4, 2, 1 and 1 / 2 times the size, the last rounded up.
        """
        maps = features[-LEVELS:]
        if len(self.readouts):
            maps = [read(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for read, x in zip(self.readouts, maps)]
        return [resized(project(x)) for x, project, resized in zip(maps, self.projects, self.resizes)]


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each after a ReLU and before a batch normalization, added to their input.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.Sequential(ConvBNReLU(channels, channels, act=False), ConvBNReLU(channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,h,w] to the same shape."""
        return x + self.convs[1](F.relu(self.convs[0](F.relu(x))))


class Fusion(nn.Module):
    """Adds a map to the fused deeper ones, and doubles the result's size.

    Args:
        channels: of all maps.
        has_skip: whether there are deeper ones; without them the unit for the map reads the only one.
    """

    def __init__(self, channels: int, has_skip: bool):
        super().__init__()
        self.skip = ResidualUnit(channels) if has_skip else None
        self.unit = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Fuses maps.

        Args:
            x: float [B,channels,h,w], of the deeper maps.
            skip: float [B,channels,h',w'], resized to x.

        Returns:
            float [B,channels,2 * h,2 * w].
        """
        if self.skip is not None:
            x = self.skip(x) if skip is None else x + self.skip(resize(skip, like=x, align_corners=False))
        x = F.interpolate(self.unit(x), scale_factor=2, mode="bilinear", align_corners=True)
        return self.project(x)


@HEADS.register
class DPTHead(Head):
    """DPT's decoder: fuses four maps from the deepest on, each time doubling the size.

    Section 3.1, figure 1. Its maps come from a Vision Transformer by the neck Reassemble, or from any pyramid.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the decoder.
        dropout: share of channels dropped before the classifier.
        auxiliary: classifies the fused maps a second time in training, as Hugging Face's networks.
        two_units_first: gives the deepest map two residual units, as segmentation_models, and not one.
    """

    needs_pyramid = True

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        dropout: Decay = 0.1,
        auxiliary: bool = False,
        two_units_first: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -LEVELS)  # raises where the backbone has fewer maps
        self.convs = nn.ModuleList(
            nn.Conv2d(width, channels, 3, padding=1, bias=False) for width in in_channels[-LEVELS:]
        )
        self.fusions = nn.ModuleList(Fusion(channels, has_skip=i > 0 or two_units_first) for i in range(LEVELS))
        self.project = ConvBNReLU(channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.second = _classifier(channels, num_classes, dropout) if auxiliary else None

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i]; the last four are read.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, at 16
            times the size of the deepest map; with auxiliary, in training, "second.logits" of the same shape.
        """
        maps = [conv(x) for conv, x in zip(self.convs, features[-LEVELS:])]
        fused = self.fusions[0](maps[-1])
        for i in range(1, LEVELS):
            fused = self.fusions[i](fused, maps[-1 - i])
        embedding = self.dropout(self.project(fused))
        outputs = {"logits": self.classifier(embedding), "embedding": embedding}
        if self.second is not None and self.training:
            outputs["second.logits"] = self.second(fused)
        return outputs


def _classifier(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(ConvBNReLU(channels, channels), nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))

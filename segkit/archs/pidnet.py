"""PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers, Xu, Xiong and Bhattacharyya, CVPR
2023, https://arxiv.org/abs/2206.02066."""

import torch
from torch import Tensor, nn

from segkit.archs._dual_resolution import (
    DAPPM,
    PAPPM,
    PreActConv,
    PreActLayers,
    basic_blocks,
    bottleneck_blocks,
    shared_stem,
)
from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, at_level, per_channel, resize
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs


class PixelAttention(nn.Module):
    """Pixel-attention-guided fusion (Pag): mixes a map with a coarser one by how alike both are at each pixel.

    Section 3.2, figure 4.

    Args:
        in_channels: channels of both maps.
        channels: width in which they are compared.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.fine = ConvBNReLU(in_channels, channels, 1, act=False)
        self.coarse = ConvBNReLU(in_channels, channels, 1, act=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Mixes float [B,in_channels,h,w] and float [B,in_channels,h',w'] to float [B,in_channels,h,w]."""
        alike = (self.fine(fine) * resize(self.coarse(coarse), like=fine)).sum(1, keepdim=True).sigmoid()
        return alike * resize(coarse, like=fine) + (1 - alike) * fine


class LightBag(nn.Module):
    """Boundary-attention-guided fusion of S and M: near a boundary the detailed map counts, elsewhere the context.

    Section 3.4, figure 6b.

    Args:
        channels: of all maps.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail = ConvBNReLU(channels, channels, 1, act=False)
        self.context = ConvBNReLU(channels, channels, 1, act=False)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Fuses three maps float [B,channels,h,w] to one."""
        gate = boundary.sigmoid()
        return self.detail((1 - gate) * context + detail) + self.context(context + gate * detail)


class Bag(nn.Module):
    """Boundary-attention-guided fusion of L: the mix of both maps passes a 3x3 convolution. Figure 6a.

    Args:
        channels: of all maps.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = PreActConv(channels, channels)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Fuses three maps float [B,channels,h,w] to one."""
        gate = boundary.sigmoid()
        return self.conv(gate * detail + (1 - gate) * context)


@BACKBONES.register
class PIDNet(Backbone):
    """PIDNet: a branch for detail, one for context and one for boundaries, which says where which of them counts.

    Section 3, figure 3. Gives three maps of stride 8: detail after its first fusion and boundaries after their second,
    both read by auxiliary heads in training, and the fused one. Takes images of any size; the published code fails
    where a side is no multiple of 8, with which this one agrees.

    Args:
        in_channels: channels of the image.
        channels: width of the first layers: 32 is S, 64 M and L.
        pool_channels: width of each pooling of the context: 96, L 112.
        stem_blocks: residual blocks of the stages before the branches part and of the detailed branch: 2, L 3.
        branch_blocks: residual blocks of the context's stages: 3, L 4.
        light: the smaller pooling, fusion and boundary branch of S and M; False for L.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (8, 8, 8)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: PositiveInt = 32,
        *,
        pool_channels: PositiveInt = 96,
        stem_blocks: PositiveInt = 2,
        branch_blocks: PositiveInt = 3,
        light: bool = True,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels = channels
        wide, widest = 2 * channels, 4 * channels
        self.channels = (wide, wide, widest)
        self.stem = shared_stem(in_channels, channels, stem_blocks)
        self.context = nn.ModuleList(
            [
                basic_blocks(wide, widest, branch_blocks, stride=2),
                basic_blocks(widest, 8 * channels, branch_blocks, stride=2),
                bottleneck_blocks(8 * channels, 8 * channels, 2, stride=2),
            ]
        )
        self.detail = nn.ModuleList(
            [
                basic_blocks(wide, wide, stem_blocks),
                basic_blocks(wide, wide, stem_blocks),
                bottleneck_blocks(wide, wide, 1),
            ]
        )
        narrow = channels if light else wide
        self.boundary = nn.ModuleList(
            [
                basic_blocks(wide, narrow, 1),
                bottleneck_blocks(channels, channels, 1) if light else basic_blocks(wide, wide, 1),
                bottleneck_blocks(wide, wide, 1),
            ]
        )
        self.compress = nn.ModuleList(ConvBNReLU(width * channels, wide, 1, act=False) for width in (4, 8))
        self.attend = nn.ModuleList(PixelAttention(wide, channels) for _ in range(2))
        self.differences = nn.ModuleList(
            ConvBNReLU(width, out, act=False) for width, out in ((widest, narrow), (8 * channels, wide))
        )
        self.pool = (PAPPM if light else DAPPM)(16 * channels, pool_channels, widest)
        self.fuse = (LightBag if light else Bag)(widest)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the three maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels,ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Detail, boundary and fused map, float [B,2 channels, 2 channels or 4 channels,ceil(H / 8),ceil(W / 8)].
        """
        x = self.stem[0](image)
        x = self.stem[1:](x if stem_add is None else x + stem_add)
        context = detail = boundary = early = x
        for i in range(2):
            context = torch.relu(self.context[i](context))
            detail = self.attend[i](self.detail[i](detail), self.compress[i](context))
            boundary = self.boundary[i](boundary)
            boundary = boundary + resize(self.differences[i](context), like=boundary)
            early, late = early if i else detail, boundary
            detail, boundary = torch.relu(detail), torch.relu(boundary)
        detail, boundary = self.detail[2](detail), self.boundary[2](boundary)
        context = resize(self.pool(self.context[2](context)), like=detail)
        return [early, late, self.fuse(detail, context, boundary)]


@HEADS.register
class BoundaryHead(Head):
    """Predicts where one class ends and another begins, as an auxiliary head of PIDNet.

    Args:
        in_channels: channels of each feature map.
        num_classes: of the model; the head has one output whatever it is.
        channels: width of the convolution.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, *, channels: PositiveInt = 32, level: int = -2):
        super().__init__()
        self.level = level
        self.layers = PreActLayers(at_level(in_channels, level), channels)
        self.predict = nn.Conv2d(channels, 1, 1)
        nn.init.kaiming_normal_(self.predict.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts boundaries.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "edge", float [B,1,h,w], logits.
        """
        return {"edge": self.predict(self.layers(features[self.level]))}

"""ESPNet: Efficient Spatial Pyramid of Dilated Convolutions, Mehta et al., ECCV 2018,
https://arxiv.org/abs/1803.06815."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import per_channel
from segkit.registry import BACKBONES, HEADS

CITYSCAPES_MEAN = (72.3923111, 82.90893555, 73.15840149)
CITYSCAPES_STD = tuple(255 * std for std in (45.3192215, 46.15289307, 44.91483307))
"""Blue, green, red. The released weights take (image - mean) / std / 255."""


class NormPReLU(nn.Module):
    """Batch normalization and a ReLU with a learnt slope per channel: [B,C,h,w] -> [B,C,h,w]."""

    def __init__(self, channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]."""
        return self.act(self.bn(x))


class ESP(nn.Module):
    """Reduce to a fifth of the channels, filter at five dilations, add up from the second on, so that no grid shows,
    concatenate (section 3.1, figure 1): [B,in_channels,h,w] -> [B,channels,h',w'].

    stride: 2 reduces by a 3x3 convolution, 1 by a 1x1; is_residual: the input is added before the normalization.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, is_residual: bool = False):
        super().__init__()
        part = channels // 5
        self.is_residual = is_residual
        self.reduce = _conv(in_channels, part, 1 if stride == 1 else 3, stride=stride)
        # What five equal parts leave over goes to the first.
        widths = (channels - 4 * part, part, part, part, part)
        self.branches = nn.ModuleList(_conv(part, width, 3, dilation=2**i) for i, width in enumerate(widths))
        self.norm = NormPReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h / stride,w / stride]."""
        reduced = self.reduce(x)
        first, *rest = [branch(reduced) for branch in self.branches]
        sums = [first, rest[0]]
        for filtered in rest[1:]:
            sums.append(sums[-1] + filtered)
        merged = torch.cat(sums, dim=1)
        return self.norm(x + merged if self.is_residual else merged)


@BACKBONES.register
class ESPNet(nn.Module):
    """Convolution, two stages of ESP blocks, the image again at the first two sizes: [B,in_channels,H,W] -> maps of
    strides 2, 4 and 8.

    Figure 3 (ESPNet-C), table 1. blocks: of both stages, the paper's alpha_2 and alpha_3 (2 and 8, or 3);
    image_in_first: the map of stride 2 holds the image again, as in the authors' code; their released weights for 3
    blocks were trained with a map that does not; mean, std: of the image's channels, blue first.
    """

    order = "BGR"
    strides = (2, 4, 8)
    stem_channels, stem_stride = 16, 2

    def __init__(
        self,
        in_channels: int = 3,
        blocks: tuple[int, int] = (2, 8),
        *,
        image_in_first: bool = True,
        mean: tuple[float, ...] = CITYSCAPES_MEAN,
        std: tuple[float, ...] = CITYSCAPES_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        first, second, third = self.stem_channels + in_channels, 2 * 64 + in_channels, 2 * 128
        self.image_in_first = image_in_first
        self.channels = (first if image_in_first else self.stem_channels, second, third)
        self.stem = nn.Sequential(_conv(in_channels, self.stem_channels, 3, stride=2), NormPReLU(self.stem_channels))
        self.downs = nn.ModuleList([ESP(first, 64, stride=2), ESP(second, 128, stride=2)])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ESP(width, width, is_residual=True) for _ in range(num)))
            for width, num in zip((64, 128), blocks)
        )
        self.norms = nn.ModuleList(NormPReLU(width) for width in (first, second, third))

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """image: float [B,in_channels,H,W]; stem_add: float [B,16,ceil(H / 2),ceil(W / 2)], added after the first
        convolution -> list of float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])]."""
        half = F.avg_pool2d(image, 3, 2, 1)
        quarter = F.avg_pool2d(half, 3, 2, 1)
        x = self.stem(image)
        x = x if stem_add is None else x + stem_add
        joined = self.norms[0](torch.cat([x, half], dim=1))
        first = joined if self.image_in_first else x
        x = self.downs[0](joined)
        second = self.norms[1](torch.cat([self.stages[0](x), x, quarter], dim=1))
        x = self.downs[1](second)
        return [first, second, self.norms[2](torch.cat([x, self.stages[1](x)], dim=1))]


@HEADS.register
class ESPHead(nn.Module):
    """The decoder of ESPNet: up by transposed convolutions of the classes' own width, joined with a 1x1 projection of
    the map above and with the first map (figure 3). The last convolution is transposed too: this head cannot grow."""

    needs = ("size",)
    classifier = None

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        first, second, third = in_channels[-3:]
        self.project_third = _conv(third, num_classes, 1)
        self.norm_third = nn.BatchNorm2d(num_classes, eps=1e-3)
        self.up_third = _up(num_classes)
        # Five dilations need a channel each, however few the classes.
        width = max(num_classes, 5)
        self.project_second = _conv(second, num_classes, 1)
        self.combine = nn.Sequential(NormPReLU(2 * num_classes), ESP(2 * num_classes, width))
        self.up_second = nn.ConvTranspose2d(width, num_classes, 2, 2, bias=False)
        self.norm_second = NormPReLU(num_classes)
        self.merge = nn.Sequential(_conv(first + num_classes, num_classes, 3), NormPReLU(num_classes))
        self.up_first = _up(num_classes)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features: float [B,in_channels[i],h_i,w_i] of strides 2, 4, 8; size: (H, W) of the image -> logits
        [B,num_classes,H,W], embedding [B,num_classes,h_0,w_0]."""
        first, second, third = features[-3:]
        x = _cut(self.up_third(self.norm_third(self.project_third(third))), second.shape[-2:])
        x = self.combine(torch.cat([self.project_second(second), x], dim=1))
        x = self.norm_second(_cut(self.up_second(x), first.shape[-2:]))
        embedding = self.merge(torch.cat([x, first], dim=1))
        return {"logits": _cut(self.up_first(embedding), size), "embedding": embedding}


@HEADS.register
class ESPCHead(nn.Module):
    """The classifier of ESPNet-C, a 1x1 convolution without bias on the deepest map (figure 3)."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = _conv(in_channels[-1], num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding: the deepest map."""
        return {"logits": self.classifier(features[-1]), "embedding": features[-1]}


def _conv(in_channels: int, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2 * dilation, dilation, bias=False)


def _up(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, 2, bias=False)


def _cut(x: Tensor, size: tuple[int, int]) -> Tensor:
    """float [B,C,h,w] -> [B,C,size]: doubling overshoots by a cell what was rounded up on the way down."""
    return x[..., : size[0], : size[1]]

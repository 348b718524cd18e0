"""Fully Convolutional Networks, Shelhamer, Long and Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038: the nets of
the paper, FCN-32s, FCN-16s and FCN-8s."""

import torch
from torch import Tensor, nn

from segkit.registry import HEADS

BORDER = {32: 19, 16: 27, 8: 31}
"""Cells that the last upsampling lays before the image, by its factor: what padding 100 and fc6 add up to."""
OFFSETS = (5, 9)
"""The same for the scores of pool4 and of pool3, in their own cells."""


@HEADS.register
class FCNSkipHead(nn.Module):
    """Scores of fc7, doubled and added to scores of pool4 and pool3, then brought to the image's size by a transposed
    convolution that starts as bilinear interpolation (section 4.2, figure 3). For VGG16 with padding 100 alone.

    num_skips: 0 is FCN-32s, 1 FCN-16s, 2 FCN-8s; learned_up: whether the transposed convolutions are trained: the
    released nets keep them; skip_scales: of the maps before their scores, 1 for nets trained in stages, (0.01, 0.0001)
    for the FCN-8s trained at once; zero_init: scores start at 0, as the authors'. The scores are several layers: no one
    of them is the classifier, this head cannot grow.
    """

    needs = ("size",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        num_skips: int = 2,
        learned_up: bool = False,
        skip_scales: tuple[float, float] = (1.0, 1.0),
        zero_init: bool = True,
    ):
        super().__init__()
        if num_skips not in (0, 1, 2):
            raise ValueError(f"num_skips = {num_skips}: 0, 1 or 2")
        if len(in_channels) != 6:
            raise ValueError("FCNSkipHead reads pool3, pool4 and fc7 of the backbone VGG16 with padding=100")
        self.skip_scales = tuple(skip_scales)
        self.factor = 32 // 2**num_skips
        self.score = nn.Conv2d(in_channels[-1], num_classes, 1)
        self.skips = nn.ModuleList(nn.Conv2d(in_channels[-3 - i], num_classes, 1) for i in range(num_skips))
        self.doublings = nn.ModuleList(bilinear_up(num_classes, 2, learned_up) for _ in range(num_skips))
        self.up = bilinear_up(num_classes, self.factor, learned_up)
        if zero_init:
            for conv in (self.score, *self.skips):
                nn.init.zeros_(conv.weight)
                nn.init.zeros_(conv.bias)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features: the six maps of VGG16; size: (H, W) of the image -> logits [B,num_classes,H,W]."""
        x = self.score(features[-1])
        for i, (score, double) in enumerate(zip(self.skips, self.doublings)):
            x = double(x)
            skipped = score(features[-3 - i] * self.skip_scales[i])
            x = x + _cut(skipped, OFFSETS[i], tuple(x.shape[-2:]))
        return {"logits": _cut(self.up(x), BORDER[self.factor], size)}


def bilinear_up(channels: int, factor: int, learned: bool) -> nn.ConvTranspose2d:
    """A transposed convolution that brings each channel to factor times its size by bilinear interpolation, for an
    even factor."""
    up = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, bias=False)
    tent = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    with torch.no_grad():
        up.weight.zero_()
        index = torch.arange(channels)
        up.weight[index, index] = tent[:, None] * tent
    up.weight.requires_grad_(learned)
    return up


def _cut(x: Tensor, offset: int, size: tuple[int, int]) -> Tensor:
    return x[..., offset : offset + size[0], offset : offset + size[1]]

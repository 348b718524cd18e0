"""Fully Convolutional Networks, Shelhamer, Long and Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038: the nets of
the paper, FCN-32s, FCN-16s and FCN-8s."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import OptionalRounds
from segkit.models.bases import Head
from segkit.registry import HEADS
from segkit.types import Outputs

BORDER = {32: 19, 16: 27, 8: 31}
"""Crop offset of the last upsampling by its factor, in pixels: it undoes the padding of 100 and fc6's border."""
OFFSETS = (5, 9)
"""Crop offsets of the scores of pool4 and pool3, in cells of those maps."""


@HEADS.register
class FCNSkipHead(Head):
    """FCN-32s, FCN-16s and FCN-8s: scores of fc7 are upsampled and fused with scores of pool4 and pool3.

    Section 4.2, figure 3. Scores are doubled by transposed convolutions and added; a last one, initialized as bilinear
    interpolation like the others, brings them to the image's size. The head works with VGG16 with padding=100 alone.
    The scores come from several layers, none of which is the classifier, so this head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        num_skips: 0 is FCN-32s, 1 FCN-16s, 2 FCN-8s.
        learned_up: trains the transposed convolutions; the released networks keep them fixed.
        skip_scales: factors of pool4 and pool3 before their scores: 1 for networks trained in stages, (0.01, 0.0001)
            for the FCN-8s trained at once.
        zero_init: starts the scores at 0, as the authors do.

    Raises:
        ValueError: num_skips is not 0, 1 or 2, or the backbone is not VGG16 with padding.
    """

    needs = ("size",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        num_skips: OptionalRounds = 2,
        learned_up: bool = False,
        skip_scales: tuple[float, float] = (1.0, 1.0),
        zero_init: bool = True,
    ):
        super().__init__()
        if num_skips not in (0, 1, 2):
            raise ValueError(f"num_skips = {num_skips}: must be 0, 1 or 2")
        if len(in_channels) != 6:
            raise ValueError(
                f"FCNSkipHead reads pool3, pool4 and fc7 among six feature maps, but the backbone gives "
                f"{len(in_channels)}; use VGG16 with padding=100"
            )
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

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: the six maps of VGG16, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,H,W].
        """
        x = self.score(features[-1])
        for i, (score, double) in enumerate(zip(self.skips, self.doublings)):
            x = double(x)
            skipped = score(features[-3 - i] * self.skip_scales[i])
            x = x + _cut(skipped, OFFSETS[i], tuple(x.shape[-2:]))
        return {"logits": _cut(self.up(x), BORDER[self.factor], size)}


def bilinear_up(channels: int, factor: int, learned: bool) -> nn.ConvTranspose2d:
    """Builds a transposed convolution that resizes each channel by bilinear interpolation.

    Args:
        channels: channels of input and output.
        factor: even factor by which the size grows.
        learned: lets the weights be trained.

    Returns:
        The transposed convolution, without bias.
    """
    up = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, bias=False)
    tent = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    with torch.no_grad():
        up.weight.zero_()
        index = torch.arange(channels)
        up.weight[index, index] = tent[:, None] * tent
    up.weight.requires_grad_(learned)
    return up


def _cut(x: Tensor, offset: int, size: tuple[int, int]) -> Tensor:
    """Crops a window of `size` that starts at row and column `offset`."""
    return x[..., offset : offset + size[0], offset : offset + size[1]]

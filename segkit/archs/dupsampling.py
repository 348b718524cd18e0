"""Decoders Matter for Semantic Segmentation: Data-Dependent Decoding (DUpsampling), Tian et al., CVPR 2019,
https://arxiv.org/abs/1903.02120."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs

MOST_VALUES = 16384
"""Most values (classes times pixels) of a patch; its second moments then take 2 GiB."""


@HEADS.register
class DUpsamplingHead(Head):
    """DUpsampling: fuses maps at the deepest one's size and predicts ratio x ratio pixels per cell by one linear layer.

    Sections 3.1 and 3.2. The early map is resized down to the deepest one's size. The linear layer can start from a
    linear autoencoder of label patches, see `fit`. Logits are divided by a learned temperature (eq. 5). The public
    versions differ from the paper and from each other, so parity is not measured. The last layer holds the scores of
    several pixels, so this head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: image pixels per cell of each feature map.
        channels: width of the three convolutions.
        low_level: early map, counted from the end.
        low_channels: width that the early map is reduced to.
        ratio: pixels along each side that a cell predicts; None is the deepest map's stride, which gives logits of the
            image's size.
        fit_images: number of training images whose masks `fit` gets before the first training step; 0 for a random
            start. The buffer is_fitted, part of the state dict, is 1 from then on.
        dropout: share of channels dropped after the fusion.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    needs = ("size",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 256,
        low_level: int = -4,
        low_channels: PositiveInt = 48,
        ratio: int | None = None,
        fit_images: PositiveInt = 256,
        dropout: Decay = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.fit_images = fit_images
        self.low_level = low_level
        self.align_corners = align_corners
        self.ratio = ratio or strides[-1]
        self.stride = strides[-1] // self.ratio
        self.low = ConvBNReLU(at_level(in_channels, low_level), low_channels, 1)
        self.fuse = nn.Sequential(
            ConvBNReLU(in_channels[-1] + low_channels, channels), ConvBNReLU(channels, channels), nn.Dropout2d(dropout)
        )
        # The autoencoder's codes may be negative: no normalization, no ReLU.
        self.code = nn.Conv2d(channels, channels, 1)
        self.up = nn.Conv2d(channels, num_classes * self.ratio**2, 1, bias=False)
        self.temperature = nn.Parameter(torch.ones(()))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.uint8))

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,H,W], smaller by strides[-1] / ratio where ratio is given.
        """
        deep = features[-1]
        low = resize(self.low(features[self.low_level]), like=deep, align_corners=self.align_corners)
        x = self.up(self.code(self.fuse(torch.cat([deep, low], dim=1))))
        rows, columns = -(-size[0] // self.stride), -(-size[1] // self.stride)
        return {"logits": F.pixel_shuffle(x, self.ratio)[..., :rows, :columns] / self.temperature}

    @torch.no_grad()
    def fit(self, masks: Iterable[Tensor], ignore: int = 255) -> None:
        """Starts the last layer from training masks.

        Args:
            masks: batches of label maps of the training set, int [B,H,W], at the images' size.
            ignore: label of pixels that do not count.

        Raises:
            ValueError: a patch has too many values (classes times pixels) to be fitted.
        """
        num_values = self.up.out_channels
        if num_values > MOST_VALUES:
            raise ValueError(
                f"{num_values} values per patch of {self.ratio} x {self.ratio} pixels are too many to fit, at most "
                f"{MOST_VALUES}; give a smaller model.head.ratio, or model.head.fit_images = 0 for a random start"
            )
        num_classes = num_values // self.ratio**2
        moments = torch.zeros(num_values, num_values, dtype=torch.float64, device=self.up.weight.device)
        for batch in masks:
            reduced = batch.to(moments.device)[:, :: self.stride, :: self.stride]
            patches = label_patches(reduced, num_classes, ratio=self.ratio, ignore=ignore)
            # The entries are counts, exact in single precision below 2 ** 24 patches.
            moments += patches.T @ patches
        self.up.weight.copy_(leading_axes(moments, self.up.in_channels)[:, :, None, None])
        self.is_fitted.fill_(1)


def label_patches(masks: Tensor, num_classes: int, *, ratio: int, ignore: int = 255) -> Tensor:
    """Cuts masks into one-hot patches of ratio x ratio pixels.

    Args:
        masks: int [B,H,W].
        num_classes: number of classes K.
        ratio: side of a patch in pixels.
        ignore: label of pixels that become 0 in all classes.

    Returns:
        Float [P,K * ratio * ratio], P patches, values in the order of pixel_shuffle. Incomplete patches at the right
        and bottom are left out.
    """
    height, width = masks.shape[-2:]
    masks = masks[:, : height // ratio * ratio, : width // ratio * ratio].long()
    one_hot = F.one_hot(masks.where(masks != ignore, num_classes), num_classes + 1)[..., :num_classes]
    patches = F.pixel_unshuffle(one_hot.permute(0, 3, 1, 2).float(), ratio)
    return patches.permute(0, 2, 3, 1).flatten(0, 2)


def leading_axes(moments: Tensor, channels: int) -> Tensor:
    """Computes the leading principal axes of patches from their second moments.

    They are the decoder W of the linear autoencoder that reconstructs patches v with the least squared error,
    min ||v - W P v||^2 (eq. 3).

    Args:
        moments: float64 [D,D], second moments of patches.
        channels: number of axes.

    Returns:
        Float32 [D,channels], one axis per column; columns beyond D are 0.
    """
    axes = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :channels].float()
    return F.pad(axes, (0, channels - axes.shape[1]))

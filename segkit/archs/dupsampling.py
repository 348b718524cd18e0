"""Decoders Matter for Semantic Segmentation: Data-Dependent Decoding (DUpsampling), Tian et al., CVPR 2019,
https://arxiv.org/abs/1903.02120."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS

MOST_VALUES = 16384
"""Of a patch, classes times pixels: its second moments then take 2 GiB."""


@HEADS.register
class DUpsamplingHead(nn.Module):
    """The early map goes down to the deepest one's size, and from there one linear layer, which a linear autoencoder of
    label patches starts, gives the scores of ratio x ratio pixels per cell (sections 3.1 and 3.2).

    channels: of the three convolutions; low_channels: that the early map low_level is reduced to; ratio: the deepest
    map's stride, for scores of the image's size. Logits are divided by a learned temperature (eq. 5). fit_images: how
    many training images' masks `fit` is given before the first step of training, 0 for a random start; is_fitted, a
    part of the state, is 1 from then on. The public versions differ from the paper and from each other: no parity. The
    last layer holds several pixels' scores: this head cannot grow.
    """

    needs = ("size",)
    classifier = None
    is_fitted: Tensor

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[int, ...],
        *,
        channels: int = 256,
        low_level: int = -4,
        low_channels: int = 48,
        ratio: int | None = None,
        fit_images: int = 256,
        dropout: float = 0.1,
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
        # What the autoencoder codes may be negative: no normalization, no ReLU.
        self.code = nn.Conv2d(channels, channels, 1)
        self.up = nn.Conv2d(channels, num_classes * self.ratio**2, 1, bias=False)
        self.temperature = nn.Parameter(torch.ones(()))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.uint8))

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; size: (H, W) of the image -> logits [B,num_classes,H,W],
        smaller by strides[-1] / ratio where ratio is given."""
        deep = features[-1]
        low = resize(self.low(features[self.low_level]), like=deep, align_corners=self.align_corners)
        x = self.up(self.code(self.fuse(torch.cat([deep, low], dim=1))))
        rows, columns = (-(-side // self.stride) for side in size)
        return {"logits": F.pixel_shuffle(x, self.ratio)[..., :rows, :columns] / self.temperature}

    @torch.no_grad()
    def fit(self, masks: Iterable[Tensor], ignore: int = 255) -> None:
        """Starts the last layer from masks: int [B,H,W], batches of the training set at the images' size. ValueError
        where a patch has more values than can be fitted."""
        num_values = self.up.out_channels
        if num_values > MOST_VALUES:
            raise ValueError(
                f"{num_values} values per patch of {self.ratio} x {self.ratio} pixels are more than {MOST_VALUES}, too "
                "many to fit; give a smaller model.head.ratio, or model.head.fit_images = 0 for a random start"
            )
        num_classes = num_values // self.ratio**2
        moments = torch.zeros(num_values, num_values, dtype=torch.float64, device=self.up.weight.device)
        for batch in masks:
            small = batch.to(moments.device)[:, :: self.stride, :: self.stride]
            patches = label_patches(small, num_classes, ratio=self.ratio, ignore=ignore)
            # Sums of ones, exact in single precision below 2 ** 24 patches.
            moments += patches.T @ patches
        self.up.weight.copy_(leading_axes(moments, self.up.in_channels)[:, :, None, None])
        self.is_fitted.fill_(1)


def label_patches(masks: Tensor, num_classes: int, *, ratio: int, ignore: int = 255) -> Tensor:
    """masks: int [B,H,W] -> float [P,num_classes * ratio * ratio], its ratio x ratio patches as one-hot vectors in the
    order of pixel_shuffle, 0 where ignored; incomplete patches are left out."""
    height, width = (side // ratio * ratio for side in masks.shape[-2:])
    masks = masks[:, :height, :width].long()
    one_hot = F.one_hot(masks.where(masks != ignore, num_classes), num_classes + 1)[..., :num_classes]
    patches = F.pixel_unshuffle(one_hot.permute(0, 3, 1, 2).float(), ratio)
    return patches.permute(0, 2, 3, 1).flatten(0, 2)


def fit_decoder(patches: Tensor, channels: int) -> Tensor:
    """patches: float [P,D] -> float [D,channels]: W of the linear autoencoder that reconstructs them with the least
    squared error, min ||v - W P v||^2 (eq. 3)."""
    return leading_axes((patches.T @ patches).double(), channels)


def leading_axes(moments: Tensor, channels: int) -> Tensor:
    """moments: float64 [D,D], second moments of patches -> float32 [D,channels]: their leading axes, of which there are
    at most D; further columns are 0."""
    axes = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :channels].float()
    return F.pad(axes, (0, channels - axes.shape[1]))

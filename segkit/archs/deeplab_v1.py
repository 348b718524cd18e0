"""Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs (DeepLab), Chen et al., ICLR 2015,
https://arxiv.org/abs/1412.7062."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._large_fov import large_fov
from segkit.models.layers import ConvBNReLU
from segkit.registry import HEADS


@HEADS.register
class LargeFOVHead(nn.Module):
    """fc6 with a large field of view, fc7 and the classifier on VGG's last map (section 3): DeepLab-LargeFOV. The
    dense CRF of section 4.2 is not part of the model.

    rate: dilation of fc6; mean_pool: the released net smooths pool5 by a mean over 3x3 cells; side_channels: 0, or
    width of the two convolutions on the image and on each of the first four poolings, whose maps join fc7's
    (section 4.3, "MSc"; paper: 128); image_channels: of the image, for them.
    """

    needs = ("image",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[int, ...],
        *,
        channels: int = 1024,
        rate: int = 12,
        mean_pool: bool = True,
        side_channels: int = 0,
        image_channels: int = 3,
        dropout: float = 0.5,
    ):
        super().__init__()
        if side_channels and len(in_channels) != 5:
            raise ValueError("side_channels: the five maps of VGG16Dilated are wanted")
        self.mean_pool = mean_pool
        self.convs = large_fov(in_channels[-1], channels, rate=rate, dropout=dropout)
        self.sides = nn.ModuleList()
        if side_channels:
            for width, stride in zip((image_channels, *in_channels[:4]), (1, *strides[:4])):
                self.sides.append(
                    nn.Sequential(
                        ConvBNReLU(width, side_channels, 3, stride=strides[-1] // stride, norm=False),
                        nn.Dropout(dropout),
                        ConvBNReLU(side_channels, side_channels, 1, norm=False),
                        nn.Dropout(dropout),
                    )
                )
        self.classifier = nn.Conv2d(channels + len(self.sides) * side_channels, num_classes, 1)

    def forward(self, features: list[Tensor], image: Tensor) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; image: float [B,image_channels,H,W], normalized -> logits
        [B,num_classes,h,w], embedding [B,channels + 5 * side_channels,h,w]."""
        x = features[-1]
        if self.mean_pool:
            x = F.avg_pool2d(x, 3, stride=1, padding=1)
        maps = [self.convs(x), *(side(below) for side, below in zip(self.sides, (image, *features[:4])))]
        embedding = torch.cat(maps, dim=1)
        return {"logits": self.classifier(embedding), "embedding": embedding}

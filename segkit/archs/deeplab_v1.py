"""Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs (DeepLab), Chen et al., ICLR 2015,
https://arxiv.org/abs/1412.7062."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._large_fov import large_fov
from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class LargeFOVHead(Head):
    """DeepLab-LargeFOV: fc6 with a large field of view, fc7 and the classifier on VGG's last map (section 3).

    The dense CRF of section 4.2 is not part of the model.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: image pixels per cell of each feature map.
        channels: width of fc6 and fc7.
        rate: dilation of fc6.
        mean_pool: smooths pool5 with a 3x3 average pooling, as the released network does.
        side_channels: width of the two convolutions on the image and on each of the first four poolings, whose maps are
            concatenated with fc7's (section 4.3, "MSc"; 128 in the paper). 0 leaves them out.
        image_channels: channels of the image, for these convolutions.
        dropout: probability of dropping an element after fc6, fc7 and the side convolutions.

    Raises:
        ValueError: side_channels is given and the backbone does not have five maps.
    """

    needs = ("image",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 1024,
        rate: PositiveInt = 12,
        mean_pool: bool = True,
        side_channels: NonNegativeInt = 0,
        image_channels: PositiveInt = 3,
        dropout: Decay = 0.5,
    ):
        super().__init__()
        if side_channels and len(in_channels) != 5:
            raise ValueError(
                f"side_channels = {side_channels}: needs the five maps of VGG16Dilated, but the backbone gives "
                f"{len(in_channels)}; use that backbone or side_channels = 0"
            )
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

    def forward(self, features: list[Tensor], image: Tensor) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            image: float [B,image_channels,H,W], normalized.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels + 5 * side_channels,h,w], the input of the
            classifier.
        """
        x = features[-1]
        if self.mean_pool:
            x = F.avg_pool2d(x, 3, stride=1, padding=1)
        maps = [self.convs(x), *(side(source) for side, source in zip(self.sides, (image, *features[:4])))]
        embedding = torch.cat(maps, dim=1)
        return {"logits": self.classifier(embedding), "embedding": embedding}

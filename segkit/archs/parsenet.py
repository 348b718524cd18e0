"""ParseNet: Looking Wider to See Better, Liu, Rabinovich and Berg, 2015, https://arxiv.org/abs/1506.04579."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._large_fov import large_fov
from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Head
from segkit.registry import HEADS
from segkit.types import Outputs


class L2Norm(nn.Module):
    """L2 normalization of each position's vector, followed by a learned scale per channel.

    Section 3.3.

    Args:
        channels: channels of the map.
        scale: initial scale of all channels.
    """

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes the map.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,h,w].
        """
        return F.normalize(x, dim=1) * self.scale.view(-1, 1, 1)


@HEADS.register
class ParseNetHead(Head):
    """ParseNet head: concatenates DeepLab-LargeFOV's fc7 with its global average, both normalized to comparable length.

    Section 3.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: channels of fc6 and fc7.
        rate: dilation rate of fc6.
        late: False concatenates local feature and context before one classifier (early fusion, section 3.2). True
            classifies each and adds the scores (late fusion); its classifier is two layers, so that the head cannot
            grow.
        normalize: applies L2Norm to both; without it the larger of the two drowns the other (section 3.3).
        local_scale: initial scale of the local feature's normalization, that of a released network (the paper
            starts both at 10).
        context_scale: initial scale of the context's normalization, likewise.
        dropout: dropout of fc6 and fc7.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 1024,
        rate: PositiveInt = 12,
        late: bool = False,
        normalize: bool = True,
        local_scale: PositiveFloat = 50.0,
        context_scale: PositiveFloat = 10.0,
        dropout: Decay = 0.5,
    ):
        super().__init__()
        self.convs = large_fov(in_channels[-1], channels, rate=rate, dropout=dropout)
        self.local_norm = L2Norm(channels, local_scale) if normalize else nn.Identity()
        self.context_norm = L2Norm(channels, context_scale) if normalize else nn.Identity()
        self.classifier = None if late else nn.Conv2d(2 * channels, num_classes, 1)
        self.late = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in range(2 * late))

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,2 * channels,h,w]: the local feature, then the
            context, which is equal at all positions.
        """
        local = self.convs(features[-1])
        context = self.context_norm(local.mean((2, 3), keepdim=True))
        local = self.local_norm(local)
        embedding = torch.cat([local, context.expand_as(local)], dim=1)
        if self.classifier is None:
            return {"logits": self.late[0](local) + self.late[1](context), "embedding": embedding}
        return {"logits": self.classifier(embedding), "embedding": embedding}

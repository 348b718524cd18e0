"""ParseNet: Looking Wider to See Better, Liu, Rabinovich and Berg, 2015, https://arxiv.org/abs/1506.04579."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._large_fov import large_fov
from segkit.registry import HEADS


class L2Norm(nn.Module):
    """Each position divided by the length of its vector, each channel times a learnt factor (section 3.3):
    [B,C,h,w] -> [B,C,h,w]. scale: the factors at the start."""

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]."""
        return F.normalize(x, dim=1) * self.scale.view(-1, 1, 1)


@HEADS.register
class ParseNetHead(nn.Module):
    """DeepLab-LargeFOV's fc7 beside its own mean over the image, both brought to comparable length (section 3).

    late: False concatenates local feature and context before the classifier (section 3.2, early fusion), True
    classifies each and adds the scores; the latter is two layers, of which none is the classifier: it cannot grow.
    normalize: without it the larger of the two drowns the other (section 3.3); local_scale, context_scale: factors of
    the two normalizations at the start, those of a released net (the paper starts both at 10). rate: dilation of fc6.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 1024,
        rate: int = 12,
        late: bool = False,
        normalize: bool = True,
        local_scale: float = 50.0,
        context_scale: float = 10.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.convs = large_fov(in_channels[-1], channels, rate=rate, dropout=dropout)
        self.local_norm = L2Norm(channels, local_scale) if normalize else nn.Identity()
        self.context_norm = L2Norm(channels, context_scale) if normalize else nn.Identity()
        self.classifier = None if late else nn.Conv2d(2 * channels, num_classes, 1)
        self.late = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in range(2 * late))

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w]; embedding [B,2 * channels,h,w]:
        the local feature, then the context, equal at all positions."""
        local = self.convs(features[-1])
        context = self.context_norm(local.mean((2, 3), keepdim=True))
        local = self.local_norm(local)
        embedding = torch.cat([local, context.expand_as(local)], dim=1)
        if self.late:
            return {"logits": self.late[0](local) + self.late[1](context), "embedding": embedding}
        return {"logits": self.classifier(embedding), "embedding": embedding}

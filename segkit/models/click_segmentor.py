"""Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.

How clicks and the previous mask enter any segmentor (section 3). B batch, P clicks per sign, G guidance channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import gaussian_xavier_, resize
from segkit.models.segmentor import Segmentor
from segkit.ops.interactive.click_maps import clicks_of_group, disk_maps, distance_maps
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class DMF(nn.Module):
    """Distance maps fusion (figure 3a): two 1x1 convolutions turn image and guidance into three channels again."""

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        inner = 6 + guidance
        self.layers = nn.Sequential(
            nn.Conv2d(3 + guidance, inner, 1), nn.BatchNorm2d(inner), _act(act), nn.Conv2d(inner, 3, 1)
        )

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, None]:
        """image: float [B,3,H,W], normalized; guidance: float [B,G,H,W] -> what the backbone reads, nothing to add."""
        return self.layers(torch.cat([image, guidance], dim=1)), None


class Conv1E(nn.Module):
    """One convolution beside the stem, added to what leaves the stem (figure 3b)."""

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        self.conv = _strided(guidance, channels, stride)

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """As DMF.forward -> the image as it is, float [B,channels,ceil(H / stride),ceil(W / stride)]."""
        return image, self.conv(guidance)


class Conv1S(nn.Module):
    """Two convolutions beside the stem, times a learnt scale that starts small (figure 3c)."""

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(guidance, 16, 1), _act(act), _strided(16, channels, stride))
        # the published code's start value: the image's features lead at first
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """As Conv1E.forward."""
        return image, self.layers(guidance) * self.scale.abs()


SCHEMES: dict[str, type[nn.Module]] = {"DMF": DMF, "Conv1E": Conv1E, "Conv1S": Conv1S}
ENCODINGS = ("disks", "distance")


def _act(act: type[nn.Module] | None) -> nn.Module:
    return nn.LeakyReLU(0.2) if act is nn.LeakyReLU else nn.ReLU()


def _strided(in_channels: int, channels: int, stride: int) -> nn.Conv2d:
    """The smallest odd kernel that leaves no pixel out; 3 at the stem stride of 2."""
    kernel = max(3, stride // 2 * 2 + 1)
    return nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2)


@MODELS.register
class ClickSegmentor(Segmentor):
    """A segmentor that also reads clicks and the mask of the round before; any backbone whose stem is known, any head.

    scheme: how guidance enters, one of SCHEMES; encoding: "disks" of `radius` pixels, or "distance" (tanh(2 d /
    norm_radius)); previous_mask: whether the last probabilities are read as well; binary_previous: cut at .5 first;
    groups: radii of click groups, of the first click, the second, ..., of the rest (in place of `radius`);
    guidance_channels: maps added to the stem, None for as many as it has; with fewer, the stem's last stay as they are;
    leaky: LeakyReLU(.2) in DMF and Conv1S instead of ReLU; xavier: everything but a pretrained backbone starts by
    layers.gaussian_xavier_, as the published networks do, instead of by its own law. num_classes is 1: object or not.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        head: nn.Module,
        *,
        neck: nn.Module | None = None,
        aux: tuple[nn.Module, ...] = (),
        align_corners: bool = True,
        scheme: str = "Conv1S",
        encoding: str = "disks",
        radius: float = 5.0,
        norm_radius: float = 260.0,
        previous_mask: bool = True,
        binary_previous: bool = False,
        groups: tuple[float, ...] = (),
        guidance_channels: int | None = None,
        leaky: bool = True,
        xavier: bool = False,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        if num_classes != 1:
            raise ConfigError(f"model.num_classes = {num_classes}: a click model tells one object from the rest, set 1")
        for name, value, known in (("scheme", scheme, SCHEMES), ("encoding", encoding, ENCODINGS)):
            if value not in known:
                raise ConfigError(f"model.{name} = {value!r}: choose one of {', '.join(known)}")
        self.encoding, self.radius, self.norm_radius = encoding, radius, norm_radius
        self.has_previous, self.binary_previous = previous_mask, binary_previous
        self.groups = tuple(groups)
        stem, stride = getattr(backbone, "stem_channels", 0), getattr(backbone, "stem_stride", 0)
        if not stem and scheme != "DMF":
            raise ConfigError(f"model.scheme = {scheme!r}: this backbone has no stem that segkit knows; use 'DMF'")
        self.extra_channels = stem - (guidance_channels or stem)
        if self.extra_channels < 0:
            raise ConfigError(f"model.guidance_channels = {guidance_channels}: the stem has {stem} channels")
        width = 2 * max(len(self.groups), 1) + previous_mask
        self.guide = SCHEMES[scheme](width, guidance_channels or stem, stride, nn.LeakyReLU if leaky else None)
        for name, part in self.named_children():
            if xavier and not (name == "backbone" and getattr(part, "is_pretrained", False)):
                gaussian_xavier_(part)

    def guidance(self, clicks: Tensor, size: tuple[int, int], previous: Tensor | None = None) -> Tensor:
        """clicks: float [B,2P,3]; previous: float [B,1,H,W] probabilities, None for nothing yet -> float32 [B,G,H,W]:
        the previous mask where the model reads it, then the positive and the negative map (of each group)."""
        maps = [self._encode(clicks_of_group(clicks, i, len(self.groups)), size, r) for i, r in enumerate(self.groups)]
        maps = maps or [self._encode(clicks, size, self.radius)]
        if self.has_previous:
            if previous is None:
                previous = torch.zeros(len(clicks), 1, *size, device=clicks.device)
            maps.insert(0, (previous > 0.5).float() if self.binary_previous else previous.float())
        return torch.cat(maps, dim=1)

    def _encode(self, clicks: Tensor, size: tuple[int, int], radius: float) -> Tensor:
        if self.encoding == "distance":
            return distance_maps(clicks, size, radius if self.groups else self.norm_radius)
        return disk_maps(clicks, size, radius)

    def features(self, normalized: Tensor, guidance: Tensor) -> list[Tensor]:
        """normalized: float [B,3,H,W]; guidance: float [B,G,H,W] -> the backbone's feature maps."""
        image, stem_add = self.guide(normalized, guidance)
        if stem_add is not None and self.extra_channels:
            stem_add = F.pad(stem_add, (0, 0, 0, 0, 0, self.extra_channels))
        return self.backbone(image, stem_add)

    def run(self, normalized: Tensor, guidance: Tensor, window: list | None = None) -> Outputs:
        """As features -> Outputs of the head, and in training of the aux."""
        return self.outputs_of(self.features(normalized, guidance), normalized, window)

    def forward(
        self, image: Tensor, clicks: Tensor, previous: Tensor | None = None, window: list | None = None
    ) -> Outputs:
        """image: uint8, or float in 0..255, RGB [B,3,H,W]; clicks: float [B,2P,3] of y, x, order, the first P positive,
        a row empty iff max(y, x) < 0; previous: float [B,1,H,W] probabilities -> "logits" float [B,1,h,w], ..."""
        return self.run(self.normalize(image), self.guidance(clicks, tuple(image.shape[-2:]), previous), window)

    def probabilities(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """As forward -> float32 [B,1,H,W], at the image's size."""
        logits = self(image, clicks, previous)["logits"].float()
        return resize(logits, like=image, align_corners=self.align_corners).sigmoid()

"""How clicks and the previous mask enter any segmentation model.

Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583, section 3.
B batch, P clicks per sign, G guidance channels.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import OneOf, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import gaussian_xavier_, resize
from segkit.models.segmentor import Segmentor
from segkit.ops.interactive.click_maps import clicks_of_group, disk_maps, distance_maps
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class DMF(nn.Module):
    """Distance maps fusion (figure 3a): two 1x1 convolutions fuse image and guidance into three channels.

    Args:
        guidance: G, channels of the guidance.
        channels: of the stem; not used here.
        stride: of the stem; not used here.
        act: nn.LeakyReLU for one of slope 0.2, anything else for a ReLU.
    """

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        inner = 6 + guidance
        self.layers = nn.Sequential(
            nn.Conv2d(3 + guidance, inner, 1), nn.BatchNorm2d(inner), _act(act), nn.Conv2d(inner, 3, 1)
        )

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, None]:
        """Fuses image and guidance.

        Args:
            image: float [B,3,H,W], normalized.
            guidance: float [B,G,H,W].

        Returns:
            What the backbone reads, float [B,3,H,W]; and None, since nothing is added to the stem's output.
        """
        return self.layers(torch.cat([image, guidance], dim=1)), None


class Conv1E(nn.Module):
    """One convolution of the guidance, added to the stem's output (figure 3b).

    Args:
        guidance: G, channels of the guidance.
        channels: channels that are added to the stem's output.
        stride: of the stem.
        act: not used here.
    """

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        self.conv = _strided(guidance, channels, stride)

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes the guidance.

        Args:
            image: float [B,3,H,W], normalized.
            guidance: float [B,G,H,W].

        Returns:
            The unchanged image, and what is added to the stem's output,
            float [B,channels,ceil(H / stride),ceil(W / stride)].
        """
        return image, self.conv(guidance)


class Conv1S(nn.Module):
    """Two convolutions of the guidance, times a learned scale, added to the stem's output (figure 3c).

    Args:
        guidance: G, channels of the guidance.
        channels: channels that are added to the stem's output.
        stride: of the stem.
        act: nn.LeakyReLU for one of slope 0.2, anything else for a ReLU.
    """

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(guidance, 16, 1), _act(act), _strided(16, channels, stride))
        # the published code's initial value: the image's features dominate at first
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """As Conv1E.forward."""
        return image, self.layers(guidance) * self.scale.abs()


class Patch(nn.Module):
    """One convolution of patches that do not overlap, as a Vision Transformer embeds the image.

    Liu et al., SimpleClick, ICCV 2023, https://arxiv.org/abs/2210.11006, section 3.

    Args:
        guidance: G, channels of the guidance.
        channels: channels that are added to the patch embedding.
        stride: of the patches.
        act: not used here.
    """

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(guidance, channels, stride, stride)

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """As Conv1E.forward; guidance is padded with zeros at the right and bottom to whole patches."""
        height, width = guidance.shape[-2:]
        return image, self.conv(F.pad(guidance, (0, -width % self.stride, 0, -height % self.stride)))


class Side(nn.Module):
    """One large convolution of the guidance with a layer normalization, as in SegFormer's first embedding.

    FocalClick on SegFormer, Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574, with the backbone TimmLate.

    Args:
        guidance: G, channels of the guidance.
        channels: channels that are added.
        stride: of the map that they are added to; the kernel has 2 stride - 1 pixels.
        act: not used here.
    """

    def __init__(self, guidance: int, channels: int, stride: int, act: type[nn.Module] | None = None):
        super().__init__()
        self.proj = nn.Conv2d(guidance, channels, 2 * stride - 1, stride, stride - 1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """As Conv1E.forward."""
        return image, self.norm(self.proj(guidance).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


SCHEMES: dict[str, type[nn.Module]] = {"DMF": DMF, "Conv1E": Conv1E, "Conv1S": Conv1S, "Patch": Patch, "Side": Side}
ENCODINGS = ("disks", "distance")


def _act(act: type[nn.Module] | None) -> nn.Module:
    return nn.LeakyReLU(0.2) if act is nn.LeakyReLU else nn.ReLU()


def _strided(in_channels: int, channels: int, stride: int) -> nn.Conv2d:
    """A convolution with the smallest odd kernel that reads every pixel; 3 at the stem stride of 2."""
    kernel = max(3, stride // 2 * 2 + 1)
    return nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2)


class Encoded(NamedTuple):
    """What a click model computes of images once, for all clicks on them.

    Attributes:
        image: float [B,3,H,W], normalized.
        features: maps that depend on the image alone, float [B,C_i,h_i,w_i]; [] where clicks enter before the encoder,
            so that there are none.
    """

    image: Tensor
    features: list[Tensor]

    def split(self, rows: Sequence[int]) -> "list[Encoded]":
        """Returns the parts of a batch, of so many images each."""
        images = self.image.split(list(rows))
        maps = [values.split(list(rows)) for values in self.features]
        return [Encoded(image, [values[i] for values in maps]) for i, image in enumerate(images)]


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Returns images of one size as one batch; a single part is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    maps = zip(*(part.features for part in parts), strict=True)
    return Encoded(torch.cat([part.image for part in parts]), [torch.cat(values) for values in maps])


@MODELS.register
class ClickSegmentor(Segmentor):
    """A segmentor that also reads clicks and the mask predicted before the newest click.

    Takes any head, and any backbone whose stem segkit knows (DMF takes all). `encode` computes what depends on the
    image alone, `answer` what a click changes: a subclass whose clicks enter late gives its own `encode` and `fused`.

    Args:
        num_classes: must be 1, the object.
        backbone, head, neck, aux: as in Segmentor.
        align_corners: as in Segmentor.
        scheme: how the guidance enters, one of SCHEMES.
        encoding: how clicks are drawn: "disks" of `radius` pixels, or "distance" maps, tanh(2 d / norm_radius).
        radius: of the disks, in pixels.
        norm_radius: of the distance maps, in pixels.
        previous_mask: whether the probabilities predicted before are read as well.
        binary_previous: whether these are thresholded at 0.5 first.
        groups: radii for groups of clicks, of the first click, the second, ..., of the rest (in place of `radius`).
        guidance_channels: channels that are added to the stem's output; None for as many as it has. With fewer, the
            stem's last channels are left unchanged.
        leaky: LeakyReLU of slope 0.2 in DMF and Conv1S instead of ReLU.
        xavier: initializes everything but a pretrained backbone by layers.gaussian_xavier_, as the published networks
            do, instead of by each layer's own rule.

    Raises:
        ConfigError: an argument has no such value, or the backbone has no known stem and the scheme needs one.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Head,
        *,
        neck: nn.Module | None = None,
        aux: tuple[Head, ...] = (),
        align_corners: bool = True,
        scheme: Annotated[str, OneOf(SCHEMES)] = "Conv1S",
        encoding: Annotated[str, OneOf(ENCODINGS)] = "disks",
        radius: PositiveFloat = 5.0,
        norm_radius: PositiveFloat = 260.0,
        previous_mask: bool = True,
        binary_previous: bool = False,
        groups: tuple[float, ...] = (),
        guidance_channels: PositiveInt | None = None,
        leaky: bool = True,
        xavier: bool = False,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        if num_classes != 1:
            raise ConfigError(
                f"model.num_classes = {num_classes}: a click model separates one object from the rest, set 1"
            )
        if scheme not in SCHEMES:
            raise ConfigError(f"model.scheme = {scheme!r}: must be one of {', '.join(SCHEMES)}")
        if encoding not in ENCODINGS:
            raise ConfigError(f"model.encoding = {encoding!r}: must be one of {', '.join(ENCODINGS)}")
        self.encoding, self.radius, self.norm_radius = encoding, radius, norm_radius
        self.has_previous, self.binary_previous = previous_mask, binary_previous
        self.groups = tuple(groups)
        stem, stride = self.entry(backbone)
        if not stem and scheme != "DMF":
            raise ConfigError(f"model.scheme = {scheme!r}: this backbone has no stem that segkit knows; use 'DMF'")
        self.extra_channels = stem - (guidance_channels or stem)
        if self.extra_channels < 0:
            raise ConfigError(
                f"model.guidance_channels = {guidance_channels}: the stem has {stem} channels; give at most as many"
            )
        width = 2 * max(len(self.groups), 1) + previous_mask
        act = nn.LeakyReLU if leaky else None
        self.guide = SCHEMES[scheme](width, guidance_channels or stem, stride, act)
        if xavier:
            for name, child in self.named_children():
                if name != "backbone" or not backbone.is_pretrained:
                    gaussian_xavier_(child)

    @staticmethod
    def entry(backbone: Backbone) -> tuple[int, int]:
        """Returns channels and stride of the map that guidance is added to, here the stem's; 0 where it is unknown."""
        return backbone.stem_channels, backbone.stem_stride

    def guidance(self, clicks: Tensor, size: tuple[int, int], previous: Tensor | None = None) -> Tensor:
        """Draws the clicks, and puts the previous mask before them where the model reads it.

        Args:
            clicks: float [B,2P,3], as in `forward`.
            size: (H, W) of the image.
            previous: float [B,1,H,W] probabilities; None before the first prediction.

        Returns:
            float32 [B,G,H,W]: the previous mask, then the positive and the negative map (of each group).
        """
        maps = [
            self._encode(clicks_of_group(clicks, i, len(self.groups)), size, radius)
            for i, radius in enumerate(self.groups)
        ]
        maps = maps or [self._encode(clicks, size, self.radius)]
        if self.has_previous:
            if previous is None:
                previous = torch.zeros(clicks.shape[0], 1, *size, device=clicks.device)
            maps.insert(0, (previous > 0.5).float() if self.binary_previous else previous.float())
        return torch.cat(maps, dim=1)

    def _encode(self, clicks: Tensor, size: tuple[int, int], radius: float) -> Tensor:
        if self.encoding == "distance":
            return distance_maps(clicks, size, radius if self.groups else self.norm_radius)
        return disk_maps(clicks, size, radius)

    def encode(self, normalized: Tensor) -> Encoded:
        """Computes what depends on the images alone: here nothing, since clicks enter before the encoder.

        Args:
            normalized: float [B,3,H,W], the normalized images.
        """
        return Encoded(normalized, [])

    def fused(self, encoded: Encoded, guidance: Tensor) -> list[Tensor]:
        """Computes the feature maps that the neck or the heads read, of images and guidance.

        Args:
            encoded: of `encode`.
            guidance: float [B,G,H,W].

        Returns:
            Feature maps, float [B,channels[i],h_i,w_i]; here those of the backbone.
        """
        image, stem_add = self.guide(encoded.image, guidance)
        if stem_add is not None and self.extra_channels:
            stem_add = F.pad(stem_add, (0, 0, 0, 0, 0, self.extra_channels))
        return self.backbone(image, stem_add)

    def features(self, normalized: Tensor, guidance: Tensor) -> list[Tensor]:
        """Runs `encode` and `fused`.

        Args:
            normalized: float [B,3,H,W], the normalized images.
            guidance: float [B,G,H,W].

        Returns:
            As `fused`.
        """
        return self.fused(self.encode(normalized), guidance)

    def answer(self, encoded: Encoded, guidance: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from images that are encoded and guidance that is drawn already.

        Args:
            encoded: of `encode`; one encoding serves any number of answers.
            guidance: float [B,G,H,W].
            window: as in Segmentor.forward.

        Returns:
            As `forward`.
        """
        return self.outputs_of(self.fused(encoded, guidance), encoded.image, window)

    def run(self, normalized: Tensor, guidance: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from a normalized image and guidance that is drawn already.

        Args:
            normalized, guidance: as in `features`.
            window: as in Segmentor.forward.

        Returns:
            As `forward`.
        """
        return self.answer(self.encode(normalized), guidance, window)

    def forward(  # type: ignore[override]  # it takes clicks as well
        self,
        image: Tensor,
        clicks: Tensor,
        previous: Tensor | None = None,
        window: Sequence[tuple[float, ...]] | None = None,
    ) -> Outputs:
        """Predicts the object's mask from image and clicks.

        Args:
            image: uint8, or float in 0..255, RGB [B,3,H,W].
            clicks: float [B,2P,3] of y, x, order; the first P are positive, the others negative; a row is empty iff
                max(y, x) < 0.
            previous: float [B,1,H,W] probabilities predicted before the newest click; None for none.
            window: as in Segmentor.forward.

        Returns:
            The head's outputs, "logits" float [B,1,h,w] among them, and in training those of the auxiliary heads.
        """
        height, width = image.shape[-2:]
        return self.run(self.normalize(image), self.guidance(clicks, (height, width), previous), window)

    def probabilities(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """As `forward`, but returns probabilities at the image's size, float32 [B,1,H,W]."""
        # the model is called: one that processes share out among them is run in no other way
        logits = self(image, clicks, previous)["logits"].float()
        return resize(logits, like=image, align_corners=self.align_corners).sigmoid()

    def probabilities_of(self, encoded: Encoded, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """Answers clicks on images that are encoded already.

        Args:
            encoded: of `encode`.
            clicks, previous: as in `forward`.

        Returns:
            Probabilities at the size of the images, float32 [B,1,H,W].
        """
        height, width = encoded.image.shape[-2:]
        logits = self.answer(encoded, self.guidance(clicks, (height, width), previous))["logits"].float()
        return resize(logits, like=encoded.image, align_corners=self.align_corners).sigmoid()

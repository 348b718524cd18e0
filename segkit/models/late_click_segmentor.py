"""Click models that encode the image once and add clicks behind the encoder.

SegNext, Liu et al., CVPR 2024, https://arxiv.org/abs/2404.00741. Not SegNeXt, a semantic network of 2022. B batch, P
clicks per sign, G guidance channels.
"""

from typing import Annotated

from torch import Tensor, nn

from segkit.constraints.named import OneOf, OptionalRounds, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.click_fusion import FUSIONS
from segkit.models.click_segmentor import ENCODINGS, ClickSegmentor, Encoded
from segkit.registry import MODELS, ConfigError


@MODELS.register
class LateClickSegmentor(ClickSegmentor):
    """A click segmentor whose backbone sees the image alone: it runs once, what follows it once per click.

    Guidance is embedded in patches of the size of the backbone's last stride, and fused with the backbone's last map;
    neck and heads read the fused map in that one's place.

    Args:
        num_classes, backbone, head, neck, aux, align_corners: as in ClickSegmentor. Any backbone fits.
        encoding, radius, norm_radius, previous_mask, binary_previous: as in ClickSegmentor.
        fusion: "self" adds both maps and attends over the sum, "cross" attends from each to the other.
        fusion_depth: number of blocks; of "self", 0 leaves the sum as it is.
        fusion_heads: of the attention, a divisor of the last map's channels.
        fusion_target_norm: of "cross", whether the map that is attended to is normalized; False as in the published
            code, which marks this fusion as faulty.

    Raises:
        ConfigError: an argument has no such value.
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
        encoding: Annotated[str, OneOf(ENCODINGS)] = "disks",
        radius: PositiveFloat = 5.0,
        norm_radius: PositiveFloat = 260.0,
        previous_mask: bool = True,
        binary_previous: bool = False,
        fusion: Annotated[str, OneOf(FUSIONS)] = "self",
        fusion_depth: OptionalRounds = 2,
        fusion_heads: PositiveInt = 12,
        fusion_target_norm: bool = True,
    ):
        super().__init__(
            num_classes,
            backbone,
            head,
            neck=neck,
            aux=aux,
            align_corners=align_corners,
            scheme="Patch",
            encoding=encoding,
            radius=radius,
            norm_radius=norm_radius,
            previous_mask=previous_mask,
            binary_previous=binary_previous,
        )
        if fusion not in FUSIONS:
            raise ConfigError(f"model.fusion = {fusion!r}: must be one of {', '.join(FUSIONS)}")
        if fusion == "cross" and not fusion_depth:
            raise ConfigError("model.fusion_depth = 0: without blocks 'cross' sees no clicks; give at least 1")
        width = backbone.channels[-1]
        if fusion_depth and width % fusion_heads:
            raise ConfigError(
                f"model.fusion_heads = {fusion_heads}: must divide the {width} channels of the backbone's last map"
            )
        self.fusion = FUSIONS[fusion](width, fusion_depth, fusion_heads, target_norm=fusion_target_norm)

    @staticmethod
    def entry(backbone: Backbone) -> tuple[int, int]:
        """Returns channels and stride of the backbone's last map, to which guidance is added."""
        return backbone.channels[-1], backbone.strides[-1]

    def encode(self, normalized: Tensor) -> Encoded:
        """Runs the backbone.

        Args:
            normalized: float [B,3,H,W], the normalized images.
        """
        return Encoded(normalized, self.backbone(normalized))

    def fused(self, encoded: Encoded, guidance: Tensor) -> list[Tensor]:
        """Fuses the backbone's last map with the guidance; see ClickSegmentor.fused."""
        *others, last = encoded.features
        _, clicks = self.guide(encoded.image, guidance)
        # a backbone that rounds down has a row or column less than there are patches
        return [*others, self.fusion(last, clicks[..., : last.shape[-2], : last.shape[-1]])]

"""Where users click on an object: a network that predicts click maps.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 4. B batch, H W image, h w of the stem.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit.models.bases import Backbone, Head
from segkit.models.layers import resize
from segkit.models.segmentor import Segmentor
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs

SMALL = 1e-8
"""Added to the range of a map before it is divided by it."""


class MaskGuide(nn.Module):
    """Convolutions of the masks, times a learned scale, that are added to the output of a stem of stride 4.

    Args:
        channels: of the stem.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, channels, 3, 2, 1),
        )
        # the image's features dominate at first, as in click models
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, masks: Tensor) -> Tensor:
        """Maps float [B,2,H,W] to float [B,channels,h,w]."""
        return self.layers(masks) * self.scale.abs()


@MODELS.register
class ClickabilityNetwork(Segmentor):
    """Predicts from an image, an object's mask and the part of it that is wrong how likely users click each pixel.

    The published network has the encoder of SegNeXt-B, head LightHamHead with channels=512, levels=4, fixed_bases=True.

    Args:
        num_classes: must be 1, the map.
        backbone: with a stem of stride 4.
        head, neck, aux: as in Segmentor.
        align_corners: as in Segmentor.

    Raises:
        ConfigError: there are several classes, or the backbone has no stem of stride 4.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Head,
        *,
        neck: nn.Module | None = None,
        aux: tuple[Head, ...] = (),
        align_corners: bool = False,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        if num_classes != 1:
            raise ConfigError(f"model.num_classes = {num_classes}: a clickability network predicts one map, set 1")
        if not backbone.stem_channels or backbone.stem_stride != 4:
            raise ConfigError(
                f"model.backbone: has a stem of stride {backbone.stem_stride}, and the masks are added at stride 4; "
                "use type='MSCAN'"
            )
        self.guide = MaskGuide(backbone.stem_channels)

    def run(self, normalized: Tensor, masks: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from a normalized image.

        Args:
            normalized: float [B,3,H,W].
            masks: float [B,2,H,W], the object's mask and the part that is missed or too much, 0 to 1.
            window: as in Segmentor.forward.

        Returns:
            The head's outputs, "logits" float [B,1,h,w] among them.
        """
        return self.outputs_of(self.backbone(normalized, self.guide(masks)), normalized, window)

    def forward(  # type: ignore[override]  # it takes masks as well
        self, image: Tensor, masks: Tensor, window: Sequence[tuple[float, ...]] | None = None
    ) -> Outputs:
        """As `run`, of images: uint8, or float in 0..255, RGB [B,3,H,W]."""
        return self.run(self.normalize(image), masks, window)

    def click_maps(self, normalized: Tensor, masks: Tensor) -> Tensor:
        """Predicts click maps, each stretched to 0..1: float32 [B,1,H,W]; arguments as of `run`."""
        # the published code aligns the corners here, and not where its head resizes maps
        logits = resize(self.run(normalized, masks)["logits"].float(), like=normalized, align_corners=True)
        least, most = logits.amin((1, 2, 3), keepdim=True), logits.amax((1, 2, 3), keepdim=True)
        return (logits - least) / (most - least + SMALL)

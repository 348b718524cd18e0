"""A segmentor that refines a mask in three passes, each finer than the one before.

CascadePSP, Cheng et al., CVPR 2020, https://arxiv.org/abs/2005.02551. B batch, H W image.
"""

import torch
from torch import Tensor

from segkit.models.bases import Backbone, Head
from segkit.models.layers import resize
from segkit.models.segmentor import Segmentor
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs

MASKS = 3
"""Masks that the network reads beside the image: the coarse one, and those refined at strides 8 and 4."""


class CascadeHead(Head):
    """A head that predicts a mask at strides 8, 4 and 1, and can stop at a coarse one.

    A subclass gives `forward(features, image, stride=1) -> Outputs`: "os8.logits", "os4.logits" where stride is 4 or
    less, and "logits" where it is 1.
    """

    needs = ("image",)

    def forward(self, features: list[Tensor], image: Tensor, stride: int = 1) -> Outputs:
        """Predicts masks.

        Args:
            features: feature maps, float [B,C_i,h_i,w_i].
            image: float [B,3,H,W], normalized.
            stride: 8, 4 or 1, of the finest mask.

        Returns:
            The logits, float [B,1,h,w] of each stride.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no forward()")


@MODELS.register
class CascadeSegmentor(Segmentor):
    """CascadePSP: refines a coarse mask by running one network three times.

    The network reads image and three masks. Pass 1 reads the coarse mask three times and refines it at stride 8; pass 2
    reads that result twice and refines at strides 8 and 4; pass 3 reads both and refines at 8, 4 and 1. Results enter
    the next pass as tanh of their logits at the image's size. Sections 3.1 and 3.2.

    Args:
        num_classes: must be 1, the object.
        backbone: an encoder that reads three channels of an image and three of masks, TimmRawStem.
        head: CascadePSPHead.
        align_corners: how every resize of predictions aligns pixels; the published network has False.

    Raises:
        ConfigError: num_classes is not 1, the backbone reads other channels, or the head is of another kind.
    """

    head: CascadeHead

    def __init__(self, num_classes: int, backbone: Backbone, head: CascadeHead, *, align_corners: bool = False):
        super().__init__(num_classes, backbone, head, align_corners=align_corners)
        if num_classes != 1:
            raise ConfigError(f"model.num_classes = {num_classes}: the model refines the mask of one object, set 1")
        if backbone.mask_channels != MASKS or self.mean.shape[1] != 3:
            raise ConfigError(
                f"model.backbone = {type(backbone).__name__}: reads {self.mean.shape[1]} channels of an image and "
                f"{backbone.mask_channels} of masks; the model gives it 3 of each: use TimmRawStem with "
                "mask_channels = 3"
            )
        if not isinstance(head, CascadeHead):
            raise ConfigError(
                f"model.head = {type(head).__name__}: cannot stop at a coarse mask; use CascadePSPHead, or derive it "
                "from segkit.models.cascade_segmentor.CascadeHead"
            )

    def forward(  # type: ignore[override]  # it takes masks as well
        self, image: Tensor, coarse: Tensor, os8: Tensor | None = None, os4: Tensor | None = None
    ) -> Outputs:
        """Refines masks.

        Args:
            image: uint8, or float in 0..255, RGB [B,3,H,W].
            coarse: float [B,1,H,W] in -1..1, where 1 is the object.
            os8: a mask refined at stride 8 before, float [B,1,H,W] in -1..1; pass 1 is left out.
            os4: one refined at stride 4; pass 2 is left out as well.

        Returns:
            Logits at the image's size, float [B,1,H,W]: "logits", those of the third pass at stride 1, and, as far as
            the passes run, "pass1.os8.logits", "pass2.os8.logits", "pass2.os4.logits", "pass3.os8.logits",
            "pass3.os4.logits".

        Raises:
            ValueError: os4 is given without os8.
        """
        return self.run(self.normalize(image), coarse, os8, os4)

    def run(self, normalized: Tensor, coarse: Tensor, os8: Tensor | None = None, os4: Tensor | None = None) -> Outputs:
        """Refines masks of images that are normalized already; otherwise as `forward`."""
        if os8 is None and os4 is not None:
            raise ValueError("os4 without os8: give both, or os8 alone")
        outputs: Outputs = {}
        if os8 is None:
            outputs["pass1.os8.logits"] = self._pass(normalized, (coarse, coarse, coarse), 8)["os8.logits"]
            os8 = outputs["pass1.os8.logits"].tanh()
        if os4 is None:
            second = self._pass(normalized, (coarse, os8, os8), 4)
            outputs |= {f"pass2.{name}": logits for name, logits in second.items()}
            os8, os4 = second["os8.logits"].tanh(), second["os4.logits"].tanh()
        third = self._pass(normalized, (coarse, os8, os4), 1)
        final = third.pop("logits")
        return {"logits": final, **outputs, **{f"pass3.{name}": logits for name, logits in third.items()}}

    def _pass(self, normalized: Tensor, masks: tuple[Tensor, Tensor, Tensor], stride: int) -> Outputs:
        """Runs the network once; its logits at the image's size."""
        features = self.backbone(torch.cat([normalized, *(mask.to(normalized.dtype) for mask in masks)], 1))
        outputs = self.head(features, normalized, stride)
        return {
            name: resize(logits, like=normalized, align_corners=self.align_corners) for name, logits in outputs.items()
        }

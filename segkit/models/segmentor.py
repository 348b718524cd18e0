"""The model of every runner: a backbone, an optional neck, a head and heads for auxiliary losses."""

import torch
from torch import Tensor, nn

from segkit.registry import MODELS
from segkit.types import Outputs


@MODELS.register
class Segmentor(nn.Module):
    """Normalizes the image, runs backbone, neck and head, and in training the auxiliary heads.

    num_classes: K; align_corners: how every resize of predictions is done; the other arguments are built modules.
    The image is uint8, or float in 0..255, RGB [B,C,H,W]; mean and standard deviation are the backbone's.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        head: nn.Module,
        *,
        neck: nn.Module | None = None,
        aux: tuple[nn.Module, ...] = (),
        align_corners: bool = False,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.aux = nn.ModuleList(aux)
        # The model's constants, not its weights: they move with the module and stay out of the state dict.
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, -1, 1, 1), persistent=False)
        self.is_reversed = backbone.order == "BGR"

    def normalize(self, image: Tensor) -> Tensor:
        """uint8 or float [B,C,H,W] in 0..255 -> float32 [B,C,H,W], channels in the backbone's order."""
        if image.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"the image has {image.shape[1]} channels, the model takes {self.mean.shape[1]}; "
                "set model.backbone.in_channels"
            )
        if self.is_reversed:
            image = image.flip(1)
        return (image.float() - self.mean) / self.std

    def forward(self, image: Tensor, window: list | None = None) -> Outputs:
        """image: [B,C,H,W] -> Outputs of the head by name; those of auxiliary heads as "aux0.logits", ...

        window: per image y0, x0, y1, x1 of the crop and H, W of the whole image at its scale, for heads
        that need to know their place.
        """
        normalized = self.normalize(image)
        return self.outputs_of(self.backbone(normalized), normalized, window)

    def outputs_of(self, features: list[Tensor], normalized: Tensor, window: list | None = None) -> Outputs:
        """features: of the backbone; normalized: float [B,C,H,W], the image they are of -> Outputs of the head, and of
        the auxiliary heads in training."""
        extra = {"image": normalized, "window": window, "size": normalized.shape[-2:]}
        if self.neck is not None:
            features = self.neck(features)
        outputs = self.head(features, **{name: extra[name] for name in getattr(self.head, "needs", ())})
        if self.training:
            for i, head in enumerate(self.aux):
                more = head(features, **{name: extra[name] for name in getattr(head, "needs", ())})
                outputs |= {f"aux{i}.{name}": value for name, value in more.items()}
        return outputs

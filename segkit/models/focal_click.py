"""FocalClick, Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574: a coarse click network and a small refiner.

B batch, P clicks per sign, G guidance channels, H W image, h w features, S side of the refiner's input.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Fraction, NonNegativeInt, OneOf, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.click_segmentor import ENCODINGS, SCHEMES, ClickSegmentor, Encoded
from segkit.models.layers import gaussian_xavier_, resize
from segkit.ops.interactive.click_maps import disk_maps
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class Refiner(nn.Module):
    """Section 3.3: finds details and the boundary in an enlarged part, and mixes the details into a coarse mask.

    Args:
        in_channels: channels C of the coarse network's features.
        width: channels of the refiner.
    """

    def __init__(self, in_channels: int, width: int = 32):
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(6, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.image_blocks = nn.Sequential(_separable(width), _separable(width))
        self.project = nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.fuse_blocks = nn.Sequential(_separable(width), _separable(width))
        self.detail = nn.Conv2d(width, 1, 3, padding=1)
        self.boundary = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor, disks: Tensor, features: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Refines.

        Args:
            image: float [B,3,S,S] in 0..1, not normalized.
            disks: float [B,2,S,S], the maps of positive and negative clicks.
            features: float [B,C,h,w] of the coarse network, of the same part of the image.
            coarse: logits of the coarse network there, float [B,1,S,S].

        Returns:
            The refined logits and the logits of the boundary, where details replace the coarse logits, both
            float [B,1,S,S].
        """
        x = self.image_blocks(self.enter(torch.cat([image, disks, coarse.sigmoid()], dim=1)))
        x = self.fuse_blocks(x + resize(self.project(features), like=x, align_corners=True))
        detail = resize(self.detail(x), like=image, align_corners=True)
        boundary = resize(self.boundary(x), like=image, align_corners=True)
        share = boundary.sigmoid()
        return share * detail + (1 - share) * coarse, boundary


def _separable(width: int) -> nn.Sequential:
    """A depthwise and a pointwise convolution, which keep their biases before the normalization, as published."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class Focus(NamedTuple):
    """How the part that is refined is chosen, see FocalClick.

    Attributes:
        size: side of the network's inputs in pixels: of the view of the image and of the part of it.
        expansion: factor from the sides of the changed part to those of the part that is refined.
        threshold: probability above which a pixel belongs to the masks that are compared.
        whole_until: number of first clicks whose coarse answer replaces the mask before.
        as_published: whether two slips of the published code are reproduced.
    """

    size: int = 256
    expansion: float = 1.4
    threshold: float = 0.49
    whole_until: int = 10
    as_published: bool = False


@MODELS.register
class FocalClick(ClickSegmentor):
    """A ClickSegmentor on small inputs whose answer is refined in the part of the image that a click has changed.

    In training `forward` also refines one part of each image, which the transform FocusOnObject chooses. In use the
    part follows from the click: around what it has changed. The network always sees inputs of one size, to which the
    whole image and the zoom's boxes are resized in place of the zoom's target.

    Args:
        num_classes, backbone, head, neck, aux, align_corners, scheme, encoding, radius, norm_radius, previous_mask: as
            in ClickSegmentor; the head gives "embedding", the input of its `classifier`.
        binary_previous, groups, guidance_channels, leaky, xavier: as in ClickSegmentor.
        reduction: factor by which image and guidance are reduced for the coarse network: 2 in the published S1, whose
            inputs of 256 x 256 pixels become 128 x 128; 1 in S2.
        refiner_width: channels of the refiner.
        refiner_radius: of the disks that it reads, in pixels of its input.
        input_size: side in pixels of the input of both networks in use.
        expansion: factor from the sides of the changed part to those of the part that is refined.
        threshold: probability above which a pixel belongs to the masks that are compared.
        whole_until: number of first clicks whose coarse answer replaces the mask before; later clicks change the
            refined part alone.
        as_published: reproduces two slips of the published code: it compares the logit of the new mask with
            `threshold`, and takes all pixels that did not change for the changed part where the clicked one did not.

    Raises:
        ConfigError: the head has no classifier that says how wide its embedding is.
    """

    takes: ClassVar[tuple[str, ...]] = ("focus", "focus_image")

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
        reduction: PositiveInt = 1,
        refiner_width: PositiveInt = 32,
        refiner_radius: PositiveFloat = 5.0,
        input_size: PositiveInt = 256,
        expansion: PositiveFloat = 1.4,
        threshold: Fraction = 0.49,
        whole_until: NonNegativeInt = 10,
        as_published: bool = False,
    ):
        super().__init__(
            num_classes,
            backbone,
            head,
            neck=neck,
            aux=aux,
            align_corners=align_corners,
            scheme=scheme,
            encoding=encoding,
            radius=radius,
            norm_radius=norm_radius,
            previous_mask=previous_mask,
            binary_previous=binary_previous,
            groups=groups,
            guidance_channels=guidance_channels,
            leaky=leaky,
            xavier=xavier,
        )
        classifier = head.classifier if hasattr(head, "classifier") else None
        if not isinstance(classifier, nn.Conv2d):
            raise ConfigError(
                f"model.head = {type(head).__name__}: has no convolution `classifier`, whose input the refiner of "
                "FocalClick reads; use ClickOCRHead or SegFormerHead"
            )
        self.reduction, self.refiner_radius = reduction, refiner_radius
        self.focus = Focus(input_size, expansion, threshold, whole_until, as_published)
        self.input_size = (input_size, input_size)
        self.refiner = Refiner(classifier.in_channels, refiner_width)
        if xavier:
            gaussian_xavier_(self.refiner)

    def encode(self, normalized: Tensor) -> Encoded:
        """Reduces the images for the coarse network; see ClickSegmentor.encode."""
        return Encoded(normalized, [self._reduced(normalized)])

    def fused(self, encoded: Encoded, guidance: Tensor) -> list[Tensor]:
        """Runs the backbone on the reduced image and guidance; see ClickSegmentor.fused."""
        return super().fused(Encoded(encoded.features[0], []), self._reduced(guidance))

    def _reduced(self, x: Tensor) -> Tensor:
        if self.reduction == 1:
            return x
        return F.interpolate(x, scale_factor=1 / self.reduction, mode="bilinear", align_corners=True)

    def refine(self, image: Tensor, clicks: Tensor, outputs: Outputs, boxes: Tensor, size: tuple[int, int]) -> Outputs:
        """Refines the coarse answer in one part of each image.

        Args:
            image: the part, enlarged, uint8 or float in 0..255, RGB [B,3,S,S].
            clicks: float [B,2P,3] in the pixels of that part; those beside it may be negative.
            outputs: of `answer`: "logits" and "embedding".
            boxes: the part in pixels of the coarse network's input, float [B,4] of y0, x0, y1, x1, ends outside.
            size: (H, W) of that input.

        Returns:
            "refined" and "boundary" of Refiner, and "focused", the coarse logits of the part; float [B,1,S,S].
        """
        from torchvision.ops import roi_align

        embedding = outputs["embedding"].float()
        logits = resize(outputs["logits"].float(), size=size, align_corners=self.align_corners)
        numbers = torch.arange(len(boxes), device=boxes.device, dtype=torch.float32)[:, None]
        rois = torch.cat([numbers, boxes.float()[:, [1, 0, 3, 2]]], dim=1)
        shape = (embedding.shape[-2], embedding.shape[-1])
        side = (image.shape[-2], image.shape[-1])
        features = roi_align(embedding, rois, shape, spatial_scale=shape[0] / size[0], aligned=True)
        coarse = roi_align(logits, rois, side, spatial_scale=1.0, aligned=True)
        disks = disk_maps(clicks, side, self.refiner_radius)
        refined, boundary = self.refiner(image.float() / 255, disks, features, coarse)
        return {"refined": refined, "boundary": boundary, "focused": coarse}

    def forward(  # type: ignore[override]  # it takes clicks and a part as well
        self,
        image: Tensor,
        clicks: Tensor,
        previous: Tensor | None = None,
        window: Sequence[tuple[float, ...]] | None = None,
        focus: Tensor | None = None,
        focus_image: Tensor | None = None,
    ) -> Outputs:
        """Predicts the object's mask from image and clicks, and refines a part of it where one is given.

        Args:
            image, clicks, previous, window: as in ClickSegmentor.forward.
            focus: the part, float [B,4] of y0, x0, y1, x1 in pixels of the image, ends outside; None for none.
            focus_image: the part, enlarged, uint8 or float in 0..255, RGB [B,3,S,S]; None for none.

        Returns:
            As ClickSegmentor.forward, and with a part the outputs of `refine`.
        """
        outputs = super().forward(image, clicks, previous, window)
        if focus is None or focus_image is None:
            return outputs
        size, side = (image.shape[-2], image.shape[-1]), (focus_image.shape[-2], focus_image.shape[-1])
        moved = clicks_in_boxes(clicks, focus, side)
        return outputs | self.refine(focus_image, moved, outputs, focus, size)


def clicks_in_boxes(clicks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Moves clicks into parts of their images.

    Args:
        clicks: float [B,2P,3] of y, x, order in pixels of the image.
        boxes: float [B,4] of y0, x0, y1, x1, ends outside.
        size: (height, width) that the parts are resized to.

    Returns:
        float [B,2P,3]; empty rows stay empty.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    sides = boxes.new_tensor(size)
    moved = (clicks[..., :2] - low) * (sides / (high - low))
    is_empty = clicks[..., :2].amax(-1, keepdim=True) < 0
    return torch.cat([torch.where(is_empty, -1.0, moved), clicks[..., 2:]], dim=-1)

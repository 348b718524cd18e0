"""The segmentation model that all runners use: backbone, optional neck, head and auxiliary heads."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from segkit.constraints.named import NonNegativeInt
from segkit.models.bases import Backbone, Head, Network, QueryHead
from segkit.models.normalize import normalized
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


@MODELS.register
class Segmentor(Network):
    """Normalizes the image and runs backbone, neck and head, and in training the auxiliary heads.

    An auxiliary head whose outputs predictions read, such as PresenceHead, runs in evaluation as well. Mean and
    standard deviation are the backbone's.

    Args:
        num_classes: K.
        backbone: the encoder.
        head: the decoder.
        neck: maps the backbone's list of feature maps to another list; None for none.
        aux: auxiliary heads, which read the same feature maps as the head.
        align_corners: how every resize of predictions aligns pixels.
        projection: channels of a branch that, in training alone, projects what the head's classifier reads to the
            output "projected", for losses that compare features (TreeEnergy); 0 for none.

    Raises:
        ConfigError: the backbone is no Backbone, one of the heads no Head, or the head has no classifier to project
            the input of.
    """

    backbone: Backbone
    head: Head

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Head,
        *,
        neck: nn.Module | None = None,
        aux: tuple[Head, ...] = (),
        align_corners: bool = False,
        projection: NonNegativeInt = 0,
    ):
        super().__init__()
        check_base(backbone, Backbone, "model.backbone")
        check_base(head, Head, "model.head")
        for i, auxiliary in enumerate(aux):
            check_base(auxiliary, Head, f"model.aux.{i}")
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.gives_scores = isinstance(head, QueryHead)
        self.aux = nn.ModuleList(aux)
        self.projection = _projection(head, projection) if projection else None
        # Constants of the model, not weights: they move with the module and stay out of the state dict.
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, -1, 1, 1), persistent=False)
        self.is_reversed = backbone.order == "BGR"

    def normalize(self, image: Tensor) -> Tensor:
        """Subtracts the mean and divides by the standard deviation.

        Args:
            image: uint8, or float in 0..255, RGB [B,C,H,W].

        Returns:
            float32 [B,C,H,W], channels in the backbone's order.

        Raises:
            ValueError: the image has another number of channels than the backbone reads.
        """
        if image.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"the image has {image.shape[1]} channels, the model takes {self.mean.shape[1]}; "
                "set model.backbone.in_channels"
            )
        if self.is_reversed:
            image = image.flip(1)
        return normalized(image, self.mean, self.std)

    def pixels_of(self, normalized: Tensor) -> Tensor:
        """Undoes `normalize`.

        Args:
            normalized: float [B,C,H,W], channels in the backbone's order.

        Returns:
            uint8 [B,C,H,W], the image rounded to whole numbers in 0..255, RGB.
        """
        image = (normalized.detach() * self.std + self.mean).round().clamp(0, 255).to(torch.uint8)
        return image.flip(1) if self.is_reversed else image

    def forward(self, image: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from images.

        Args:
            image: uint8, or float in 0..255, RGB [B,C,H,W]; of a head that needs proposals [B,C + 1,H,W], the last
                channel being the number of the proposed region that a pixel is of, 0 for none.
            window: of each image (y0, x0, y1, x1) of the crop and (H, W) of the whole image at its scale, for heads
                that read where the crop lies.

        Returns:
            The head's outputs by name ("logits" float [B,K,h,w], ...); in training those of the auxiliary heads as
            "aux0.logits", ...; what auxiliary heads predict by its own name, such as "presence" float [B,K]; in
            training with `projection` also "projected", float [B,projection,h,w].
        """
        proposals = None
        if "proposals" in self.head.needs and image.shape[1] == self.mean.shape[1] + 1:
            image, proposals = image[:, :-1], image[:, -1]
        normalized = self.normalize(image)
        return self.outputs_of(self.backbone(normalized), normalized, window, proposals)

    def maps(self, outputs: Outputs, size: tuple[int, int]) -> Tensor:
        """Returns what a semantic prediction is made of: the scores of a head with queries, else logits."""
        if isinstance(self.head, QueryHead):
            return self.head.semantic_scores(outputs, size)
        return super().maps(outputs, size)

    def outputs_of(
        self,
        features: list[Tensor],
        normalized: Tensor,
        window: Sequence[tuple[float, ...]] | None = None,
        proposals: Tensor | None = None,
    ) -> Outputs:
        """Runs neck and heads on the backbone's feature maps.

        Args:
            features: of the backbone, float [B,channels[i],h_i,w_i].
            normalized: float [B,C,H,W], the normalized images that the features are of.
            window: as in `forward`.
            proposals: [B,H,W], as in `forward`.

        Returns:
            As `forward`.

        Raises:
            ConfigError: the head needs proposals, and there are none.
        """
        if "proposals" in self.head.needs and proposals is None:
            raise ConfigError(
                f"model.head = {type(self.head).__name__}: classifies proposed regions, and this image comes without; "
                "name their folder in runner.proposals, and score with segkit test (segkit predict, serve and export "
                "read images alone)"
            )
        extras = {"image": normalized, "window": window, "size": normalized.shape[-2:], "proposals": proposals}
        heads = (self.head, *cast(Sequence[Head], self.aux))
        if any("pixels" in head.needs for head in heads):
            extras["pixels"] = self.pixels_of(normalized)
        if self.neck is not None:
            features = self.neck(features)
        outputs = self.head(features, **{name: extras[name] for name in self.head.needs})
        if self.training and self.projection is not None:
            outputs["projected"] = self.projection(_embedding(outputs, self.head))
        for i, head in enumerate(cast(Sequence[Head], self.aux)):
            if self.training or head.predicts:
                auxiliary = head(features, **{name: extras[name] for name in head.needs})
                _add(outputs, auxiliary, head, i)
        return outputs


def _projection(head: Head, channels: int) -> nn.Module:
    """A branch on the input of a head's classifier: 1x1 convolution without bias, normalization, ReLU."""
    classifier = getattr(head, "classifier", None)
    if not isinstance(classifier, nn.Conv2d):
        raise ConfigError(
            f"model.projection = {channels}: projects what the classifier of a head reads, and {type(head).__name__} "
            "has none that is one convolution; choose another head, or set it to 0"
        )
    return nn.Sequential(
        nn.Conv2d(classifier.in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def _embedding(outputs: Outputs, head: Head) -> Tensor:
    if "embedding" not in outputs:
        raise ConfigError(
            f"model.projection: {type(head).__name__} does not return what its classifier reads; choose another head, "
            "or set it to 0"
        )
    return outputs["embedding"]


def _add(outputs: Outputs, auxiliary: Outputs, head: Head, number: int) -> None:
    """Adds the outputs of an auxiliary head by their names in the model."""
    for name, value in auxiliary.items():
        if name in head.predicts and name in outputs:
            raise ConfigError(
                f"model.aux.{number} = {type(head).__name__}: predicts '{name}', and so does another head of this "
                "model; remove one of them"
            )
        outputs[name if name in head.predicts else f"aux{number}.{name}"] = value


def check_base(module: nn.Module, base: type[nn.Module], at: str) -> None:
    """Raises a ConfigError where a part of a model, at this config path, does not derive from a base class."""
    if not isinstance(module, base):
        raise ConfigError(
            f"{at} = {type(module).__name__}: is not a {base.__name__}; derive it from "
            f"{base.__module__}.{base.__name__}"
        )

"""A segmentor that runs one network on several scales of the image and merges the scores per pixel.

Attention to Scale, Chen et al., CVPR 2016, https://arxiv.org/abs/1511.03339; by maximum also DeepLabv2, Chen et al.,
https://arxiv.org/abs/1606.00915, section 4.1.2. S scales.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import resize
from segkit.models.segmentor import Segmentor
from segkit.ops.resizing import scaled_side
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class ScaleAttention(nn.Module):
    """Predicts the weight of each scale at each pixel with two convolutions (section 3.2, equation 2).

    Args:
        in_channels: S * C, channels of the concatenated embeddings of all scales.
        num_scales: S.
        channels: between the two convolutions.
        dropout: share of values dropped between them.
    """

    def __init__(self, in_channels: int, num_scales: int, *, channels: int = 512, dropout: float = 0.5):
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Conv2d(channels, num_scales, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Predicts the weights.

        Args:
            embeddings: float [B,S * C,h,w].

        Returns:
            float [B,S,h,w], a softmax over S.
        """
        return self.scores(self.dropout(F.relu(self.reduce(embeddings)))).softmax(1)


@MODELS.register
class MultiScaleSegmentor(Segmentor):
    """A Segmentor whose backbone, neck and head run on every scale of the image.

    Scores are resized to the size of the finest scale's and merged there. Every output of the network is also returned
    once per scale, as "scale0.logits" in the order of `scales`: losses on "logits" and on "scale?.logits" are the 1 + S
    of section 3.3. The dense CRF is not part of the model.

    Args:
        num_classes, backbone, head, neck, aux, align_corners: as in Segmentor.
        scales: factors of the image's height and width.
        merge: "attention" weights the scores per pixel and scale, with weights predicted from the heads' embeddings and
            shared by all classes (section 3.2, equation 1); "max" takes the largest score, "mean" their mean.
        attention_channels: hidden channels of the attention.
        attention_dropout: share of values that the attention drops.

    Raises:
        ConfigError: a value is not allowed, or merge="attention" and the head has no single last convolution.
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
        scales: tuple[PositiveFloat, ...] = (1.0, 0.75, 0.5),
        merge: Literal["attention", "max", "mean"] = "attention",
        attention_channels: PositiveInt = 512,
        attention_dropout: Decay = 0.5,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        if merge not in MERGES:
            raise ConfigError(f"model.merge = {merge!r}: must be one of {', '.join(map(repr, MERGES))}")
        if not scales or min(scales) <= 0:
            raise ConfigError(f"model.scales = {scales}: must be one or more positive factors")
        self.scales, self.merge = tuple(scales), MERGES[merge]
        self.finest = self.scales.index(max(self.scales))
        self.attention = None
        if merge == "attention":
            width = embedding_width(head)
            if width is None:
                raise ConfigError(
                    "model.merge = 'attention': reads the embedding before the head's classifier, and "
                    f"{type(head).__name__} has no single last convolution; choose 'max' or 'mean'"
                )
            self.attention = ScaleAttention(
                len(scales) * width, len(scales), channels=attention_channels, dropout=attention_dropout
            )

    def forward(self, image: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from images at all scales.

        Args:
            image: uint8, or float in 0..255, RGB [B,C,H,W].
            window: as in Segmentor.forward.

        Returns:
            "logits" float [B,K,h,w], merged, at the size of the finest scale's; "presence" float [B,K] of models that
            have it, the mean over the scales; and "scale<i>.<name>", the outputs at each scale.
        """
        normalized = self.normalize(image)
        outputs = [self._at_scale(normalized, window, scale) for scale in self.scales]
        fine = outputs[self.finest]["logits"]
        scores = torch.stack(
            [resize(output["logits"], like=fine, align_corners=self.align_corners) for output in outputs], dim=1
        )
        named = {f"scale{i}.{name}": value for i, output in enumerate(outputs) for name, value in output.items()}
        return {"logits": self.merge(scores, self._weights(outputs)), **mean_presence(outputs), **named}

    def _at_scale(self, normalized: Tensor, window: Sequence[tuple[float, ...]] | None, scale: float) -> Outputs:
        height, width = normalized.shape[-2:]
        size = (scaled_side(height, scale, 0.5), scaled_side(width, scale, 0.5))
        scaled = resize(normalized, size=size, align_corners=self.align_corners)
        return self.outputs_of(self.backbone(scaled), scaled, scaled_window(window, scale))

    def _weights(self, outputs: list[Outputs]) -> Tensor | None:
        if self.attention is None:
            return None
        fine = outputs[self.finest]["embedding"]
        resized = [resize(output["embedding"], like=fine, align_corners=self.align_corners) for output in outputs]
        return self.attention(torch.cat(resized, dim=1))


def mean_presence(outputs: Sequence[Outputs]) -> Outputs:
    """Returns "presence", float [B,K], as the mean of its logits over the scales; {} where no scale has it."""
    presences = [output["presence"] for output in outputs if "presence" in output]
    return {"presence": torch.stack(presences).mean(0)} if presences else {}


def embedding_width(head: Head) -> int | None:
    """Returns the channels of a head's output "embedding"; None where it has no single last convolution."""
    # the base class has no default for classifier
    return getattr(getattr(head, "classifier", None), "in_channels", None)


def scaled_window(window: Sequence[tuple[float, ...]] | None, scale: float) -> Sequence[tuple[float, ...]] | None:
    """Returns the positions of crops in the resized images.

    Args:
        window: as in Segmentor.forward.
        scale: factor of the images' sides.
    """
    if window is None or scale == 1:
        return window
    return [tuple(float(value) * scale for value in position) for position in window]


def weighted_sum(scores: Tensor, weights: Tensor) -> Tensor:
    """Sums the scores of all scales, weighted per pixel (equation 1).

    Args:
        scores: float [B,S,K,h,w].
        weights: float [B,S,h,w].

    Returns:
        float [B,K,h,w].
    """
    return (scores * weights.unsqueeze(2)).sum(1)


def largest(scores: Tensor, weights: None) -> Tensor:
    """Returns the maximum of scores [B,S,K,h,w] over the scales, float [B,K,h,w]; weights is not used."""
    return scores.amax(1)


def mean(scores: Tensor, weights: None) -> Tensor:
    """Returns the mean of scores [B,S,K,h,w] over the scales, float [B,K,h,w]; weights is not used."""
    return scores.mean(1)


MERGES: dict[str, Callable[..., Tensor]] = {"attention": weighted_sum, "max": largest, "mean": mean}

"""One network at several scales of the image, its scores merged at each pixel: Attention to Scale, Chen et al., CVPR
2016, https://arxiv.org/abs/1511.03339; by maximum also DeepLabv2, Chen et al., https://arxiv.org/abs/1606.00915,
section 4.1.2. S scales."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import resize
from segkit.models.segmentor import Segmentor
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class ScaleAttention(nn.Module):
    """The weights of the scales at each pixel, from the embeddings of all of them (section 3.2, equation 2): two
    convolutions, [B,S * C,h,w] -> [B,S,h,w]."""

    def __init__(self, in_channels: int, num_scales: int, *, channels: int = 512, dropout: float = 0.5):
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Conv2d(channels, num_scales, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """float [B,S * C,h,w] -> float [B,S,h,w], a softmax over S."""
        return self.scores(self.dropout(F.relu(self.reduce(embeddings)))).softmax(1)


@MODELS.register
class MultiScaleSegmentor(Segmentor):
    """A Segmentor whose backbone, neck and head see the image at every scale; scores are resized to the finest scale's
    and merged there. Its other arguments are Segmentor's.

    scales: factors of the image's sides; merge: "attention" weighs the scores per pixel and scale with weights learnt
    from the heads' embeddings, the same for all classes (section 3.2, equation 1), "max" takes the largest score,
    "mean" their mean; attention_channels, attention_dropout: of the first. Every output of the network is there once
    per scale, as "scale0.logits" in the order of scales: losses on "logits" and on "scale?.logits" are the 1 + S of
    section 3.3. The dense CRF is not part of the model.
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
        scales: tuple[float, ...] = (1.0, 0.75, 0.5),
        merge: str = "attention",
        attention_channels: int = 512,
        attention_dropout: float = 0.5,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        if merge not in MERGES:
            raise ConfigError(f"model.merge = {merge!r}: it is one of {', '.join(map(repr, MERGES))}")
        if not scales or min(scales) <= 0:
            raise ConfigError(f"model.scales = {scales}: one positive factor or more")
        self.scales, self.merge = tuple(scales), MERGES[merge]
        self.finest = self.scales.index(max(self.scales))
        self.attention = None
        if merge == "attention":
            width = getattr(getattr(head, "classifier", None), "in_channels", None)
            if width is None:
                raise ConfigError(
                    f"model.merge = 'attention' reads the embedding before the head's classifier; {type(head).__name__}"
                    " has no single one: choose 'max' or 'mean'"
                )
            self.attention = ScaleAttention(
                len(scales) * width, len(scales), channels=attention_channels, dropout=attention_dropout
            )

    def forward(self, image: Tensor, window: list | None = None) -> Outputs:
        """image: [B,C,H,W]; window: as Segmentor's -> "logits" float [B,K,h,w] of the finest scale's size and
        "scale<i>.<name>", the Outputs at each scale."""
        normalized = self.normalize(image)
        outputs = [self._at_scale(normalized, window, scale) for scale in self.scales]
        fine = outputs[self.finest]["logits"]
        scores = torch.stack(
            [resize(one["logits"], like=fine, align_corners=self.align_corners) for one in outputs], dim=1
        )
        named = {f"scale{i}.{name}": value for i, one in enumerate(outputs) for name, value in one.items()}
        return {"logits": self.merge(scores, self._weights(outputs)), **named}

    def _at_scale(self, normalized: Tensor, window: list | None, scale: float) -> Outputs:
        size = tuple(max(int(side * scale + 0.5), 1) for side in normalized.shape[-2:])
        scaled = resize(normalized, size=size, align_corners=self.align_corners)
        if window is not None and scale != 1:
            window = [tuple(float(value) * scale for value in one) for one in window]
        return self.outputs_of(self.backbone(scaled), scaled, window)

    def _weights(self, outputs: list[Outputs]) -> Tensor | None:
        if self.attention is None:
            return None
        fine = outputs[self.finest]["embedding"]
        resized = [resize(one["embedding"], like=fine, align_corners=self.align_corners) for one in outputs]
        return self.attention(torch.cat(resized, dim=1))


def weighted_sum(scores: Tensor, weights: Tensor) -> Tensor:
    """scores: float [B,S,K,h,w]; weights: float [B,S,h,w] -> float [B,K,h,w] (equation 1)."""
    return (scores * weights.unsqueeze(2)).sum(1)


def largest(scores: Tensor, weights: None) -> Tensor:
    """scores: float [B,S,K,h,w] -> float [B,K,h,w], the maximum over the scales."""
    return scores.amax(1)


def mean(scores: Tensor, weights: None) -> Tensor:
    """scores: float [B,S,K,h,w] -> float [B,K,h,w], the mean over the scales."""
    return scores.mean(1)


MERGES = {"attention": weighted_sum, "max": largest, "mean": mean}

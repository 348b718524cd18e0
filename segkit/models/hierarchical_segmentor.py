"""A segmentor that merges scales of the image in a chain, each by an attention predicted from that scale alone.

Hierarchical Multi-Scale Attention (HMSA), Tao et al., 2020, https://arxiv.org/abs/2005.10821.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from segkit.constraints.named import PositiveInt, Scale
from segkit.models.bases import Backbone, Head
from segkit.models.layers import ConvBNReLU, resize
from segkit.models.multi_scale_segmentor import embedding_width, mean_presence, scaled_window
from segkit.models.segmentor import Segmentor
from segkit.ops.averaging import full_precision
from segkit.ops.resizing import scaled_side
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class PixelAttention(nn.Module):
    """Predicts from the embedding of one scale how much each pixel of that scale counts (section 3.1).

    Args:
        in_channels: C, of the embedding.
        channels: of the two 3x3 convolutions.
    """

    def __init__(self, in_channels: int, channels: int = 256):
        super().__init__()
        self.convs = nn.Sequential(ConvBNReLU(in_channels, channels), ConvBNReLU(channels, channels))
        self.score = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to float [B,1,h,w] in 0..1."""
        return self.score(self.convs(embedding)).sigmoid()


class Member(NamedTuple):
    """What the chain reads of one scale.

    Attributes:
        scale: factor of the image's sides.
        scores: float [B,K,h,w], at the size of the scaled image.
        attention: float [B,1,h,w] in 0..1; not read of the largest scale, where it may be None.
    """

    scale: float
    scores: Tensor
    attention: Tensor | None


def merge_chain(members: Iterable[Member], *, align_corners: bool = False) -> Tensor:
    """Merges the scores of several scales, from the largest to the smallest (section 3.1, equation 1).

    The largest scale's scores start the chain. At a scale s of 1 or more the result so far is resized to that scale
    and becomes a_s p_s + (1 - a_s) result. Below 1 the scale's product a_s p_s and its attention are enlarged instead,
    and the result keeps its size. So the attention of the largest scale has no effect.

    Args:
        members: of each scale, in falling order. They are read one at a time.
        align_corners: of the resizing.

    Returns:
        float [B,K,h,w], at the size of the smallest scale of 1 or more.
    """
    result: Tensor | None = None
    for scale, scores, attention in members:
        if result is None:
            result = scores
            continue
        assert attention is not None
        if scale >= 1:
            result = resize(result, like=scores, align_corners=align_corners)
            result = attention * scores + (1 - attention) * result
        else:
            enlarged = resize(attention * scores, like=result, align_corners=align_corners)
            result = enlarged + (1 - resize(attention, like=result, align_corners=align_corners)) * result
    assert result is not None
    return result


class View(NamedTuple):
    """What the network gives of the image at one scale.

    Attributes:
        size: (height, width) of the scaled image in pixels.
        outputs: of neck and heads, at their own strides.
        attention: float [B,1,*size]; None where nothing reads it.
    """

    size: tuple[int, int]
    outputs: Outputs
    attention: Tensor | None


@MODELS.register
class HierarchicalSegmentor(Segmentor):
    """A Segmentor that runs on several scales of the image and merges them in a chain (HMSA).

    Unlike the attention of MultiScaleSegmentor, the one of a scale is predicted from this scale alone: a network
    trained on two scales predicts with any others. In training all outputs named "logits" or "<name>.logits" are
    merged, the logits of auxiliary heads by the same attention; in evaluation only "logits" is. With
    test_scales=(1.0,) the result is that of the network without attention.

    Args:
        num_classes, backbone, head, neck, aux, align_corners: as in Segmentor.
        train_scales: factors of the image's sides in training, 1 and others.
        test_scales: the same in evaluation; they may be changed after training.
        attention_channels: hidden channels of the attention.

    Raises:
        ConfigError: the scales lack 1 or name one twice, train_scales hold no other, or the head has no single last
            convolution, whose input the attention reads.
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
        train_scales: tuple[Scale, ...] = (0.5, 1.0),
        test_scales: tuple[Scale, ...] = (0.5, 1.0, 2.0),
        attention_channels: PositiveInt = 256,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        self.train_scales = _checked(train_scales, "train_scales")
        self.test_scales = _checked(test_scales, "test_scales")
        if len(self.train_scales) < 2:
            raise ConfigError(
                f"model.train_scales = {self.train_scales}: must hold another scale beside 1, else the attention is "
                "not trained; for one scale use the model Segmentor"
            )
        width = embedding_width(head)
        if width is None:
            raise ConfigError(
                "model.type = 'HierarchicalSegmentor': the attention reads the embedding before the head's classifier, "
                f"and {type(head).__name__} has no single last convolution; choose another head"
            )
        self.attention = PixelAttention(width, attention_channels)

    def forward(self, image: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from images at all scales.

        Args:
            image: uint8, or float in 0..255, RGB [B,C,H,W].
            window: as in Segmentor.forward.

        Returns:
            "logits" float [B,K,H,W], merged; of each scale, in the order of the scales, "scale<i>.<name>", the
            network's outputs, and "scale<i>.attention" float [B,1,h_i,w_i], at the size of the scaled image (not of the
            largest scale in evaluation); "presence" float [B,K] of models that have it, the mean over the scales. In
            training also the other merged logits, such as "coarse.logits" and "aux0.logits", and
            "scale<i>.resized.logits" float [B,K,h_i,w_i], the logits before they are merged.
        """
        normalized = self.normalize(image)
        scales = self.train_scales if self.training else self.test_scales
        # from small to large: in training the statistics of normalizations move in the order of the published code
        order = sorted(range(len(scales)), key=lambda i: scales[i])
        unread = None if self.training else order[-1]
        views = {i: self._view(normalized, window, scales[i], with_attention=i != unread) for i in order}
        merged: Outputs = {}
        for name in self._merged_names(views[order[0]].outputs):
            # lazily: in evaluation one scale at a time lies in memory at full size
            members = (Member(scales[i], self._resized(views[i], name), views[i].attention) for i in reversed(order))
            if self.training and name == "logits":
                kept = list(members)
                own = {f"scale{i}.resized.logits": member.scores for i, member in zip(reversed(order), kept)}
                merged |= {name: merge_chain(kept, align_corners=self.align_corners), **own}
            else:
                merged[name] = merge_chain(members, align_corners=self.align_corners)
        for i, view in sorted(views.items()):
            merged |= {f"scale{i}.{name}": value for name, value in view.outputs.items()}
            if view.attention is not None:
                merged[f"scale{i}.attention"] = view.attention
        return merged | mean_presence([view.outputs for view in views.values()])

    def _merged_names(self, outputs: Outputs) -> list[str]:
        return [name for name in outputs if f".{name}".endswith(".logits")] if self.training else ["logits"]

    def _resized(self, view: View, name: str) -> Tensor:
        """Logits at the size of the scaled image, in full precision."""
        logits = full_precision(cast(Tensor, view.outputs[name]))
        return resize(logits, size=view.size, align_corners=self.align_corners)

    def _view(
        self, normalized: Tensor, window: Sequence[tuple[float, ...]] | None, scale: float, *, with_attention: bool
    ) -> View:
        height, width = normalized.shape[-2:]
        size = (scaled_side(height, scale), scaled_side(width, scale))
        scaled = resize(normalized, size=size, align_corners=self.align_corners)
        outputs = self.outputs_of(self.backbone(scaled), scaled, scaled_window(window, scale))
        attention = None
        if with_attention:
            if "embedding" not in outputs:
                raise ConfigError(
                    f"model.head: {type(self.head).__name__} returns no output 'embedding', which the attention reads; "
                    "return the input of its classifier by that name, or choose another head"
                )
            attention = full_precision(self.attention(cast(Tensor, outputs["embedding"])))
            attention = resize(attention, size=size, align_corners=self.align_corners)
        return View(size, outputs, attention)


def _checked(scales: tuple[float, ...], name: str) -> tuple[float, ...]:
    scales = tuple(float(scale) for scale in scales)
    if len(set(scales)) < len(scales):
        raise ConfigError(f"model.{name} = {scales}: names a scale twice; name each once")
    if 1.0 not in scales or min(scales) <= 0:
        raise ConfigError(
            f"model.{name} = {scales}: must be factors above 0, 1 among them, since predictions have the image's size"
        )
    return scales

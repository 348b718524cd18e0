"""The contracts of the parts of a model: encoders, heads, and heads that find instances.

Shape legend: B batch, C channels, K classes, H W image, h w features, n objects.
"""

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from segkit.types import Found, Meta, Outputs


class Backbone(nn.Module):
    """An encoder: an image in, feature maps of falling resolution out.

    Attributes:
        channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        mean, std: per input channel, in 0..255; the model normalizes with them.
        order: "RGB" or "BGR", the channel order that the encoder reads.
        stem_channels, stem_stride: of the first layer's output, to which clicks can be added; 0 where there is none.
        is_pretrained: whether the encoder starts from trained weights.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "RGB"
    stem_channels: int = 0
    stem_stride: int = 0
    is_pretrained: bool = False


class Head(nn.Module):
    """A decoder: feature maps in, named outputs out.

    A subclass takes `in_channels` and `num_classes` in its constructor, and gives
    `forward(features: list[Tensor], **needs) -> Outputs`.

    Attributes:
        needs: what `forward` takes by keyword beside the features: "image" (normalized, float [B,C,H,W]), "window" (of
            each image the crop's position) or "size" ((H, W) of the input).
        fit_images: training images whose label maps the head wants to see before the first step; 0 for none.
        is_fitted: bool tensor [], whether it has seen them or was loaded.
        classifier: the last convolution, whose outputs grow with the classes; None where the head cannot grow.
        scale_points: paths of the submodules whose outputs f-BRS scales and shifts, by its letter A, B or C.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    fit_images: int = 0
    is_fitted: Tensor
    scale_points: ClassVar[dict[str, tuple[str, ...]]] = {}

    def fit(self, masks: Iterable[Tensor], ignore: int) -> None:
        """Starts layers from training labels.

        Args:
            masks: int64 [B,H,W] label maps.
            ignore: the label of pixels that do not count.
        """
        raise NotImplementedError(f"{type(self).__name__} sets fit_images and gives no fit()")


class InstanceHead(Head):
    """A head that finds instances."""

    def complete(self, outputs: Outputs, boxes: list[Tensor]) -> Outputs:
        """In training, outputs that depend on the objects of the batch.

        Args:
            outputs: of `forward`.
            boxes: of each image float [n,4] x0, y0, x1, y1 in pixels of the batch.

        Returns:
            Outputs to add to those of `forward`.
        """
        return {}

    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        """Finds instances in the outputs.

        Args:
            outputs: of `forward` in evaluation mode.
            meta: of each image of the batch.

        Returns:
            B results, masks at the images' original sizes.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no instances()")

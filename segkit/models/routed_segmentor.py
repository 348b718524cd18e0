"""A segmentor whose backbone chooses for each image what it computes, and counts it."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from segkit import dist
from segkit.models.bases import Backbone, Head
from segkit.models.segmentor import Segmentor, check_base
from segkit.registry import MODELS
from segkit.types import Outputs

COUNTS = ("real_mflops", "expected_mflops")
"""Names of the outputs that hold the counts, and of the figures of an evaluation."""


class Routed(NamedTuple):
    """What a routed backbone gives.

    Attributes:
        features: feature maps, float [B,C_i,h_i,w_i].
        real_mflops: 1e6 operations of each image as computed, float [B].
        expected_mflops: the same weighted by the gates, with their gradient, float [B].
    """

    features: list[Tensor]
    real_mflops: Tensor
    expected_mflops: Tensor


class RoutedBackbone(Backbone):
    """A backbone that chooses paths for each image. A subclass gives `route`."""

    def route(self, image: Tensor) -> Routed:
        """Computes feature maps and what they cost.

        Args:
            image: float [B,C,H,W], normalized.

        Returns:
            Feature maps and counts.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no route()")

    def count_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the size (height, width) that operations are counted for, of an image of this size."""
        return size

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps alone; stem_add must be None."""
        assert stem_add is None, f"{type(self).__name__} takes no input at its stem"
        return self.route(image).features


class CountedHead(Head):
    """A head that says what it costs. A subclass gives `mflops`."""

    def mflops(self, size: tuple[int, int]) -> float:
        """Returns 1e6 operations for one image of this size (height, width)."""
        raise NotImplementedError(f"{type(self).__name__} gives no mflops()")


class _Count:
    """Sums of both counts and number of images, while an evaluation runs: float [3].

    Copies of a model, such as the one with folded normalizations, count together with it.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def __deepcopy__(self, memo: dict) -> "_Count":
        return self

    def add(self, real: Tensor, expected: Tensor) -> None:
        if self.total is not None:
            self.total = self.total + torch.stack([real.sum(), expected.sum(), real.new_tensor(float(len(real)))])


@MODELS.register
class RoutedSegmentor(Segmentor):
    """A Segmentor that also outputs what its backbone's paths cost each image, for a loss on the budget.

    An evaluation reports the means as "real_mflops" and "expected_mflops", per pass of the network: of one window where
    windows slide, of one view under test-time augmentation.

    Args:
        num_classes, backbone, head, neck, aux, align_corners: as in Segmentor; the backbone is a RoutedBackbone such as
            DynamicRouting, the head a CountedHead.

    Raises:
        ConfigError: the backbone does not choose paths, or the head does not say what it costs.
    """

    backbone: Backbone
    head: Head
    is_same_for_all = False

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Head,
        *,
        neck: torch.nn.Module | None = None,
        aux: tuple[Head, ...] = (),
        align_corners: bool = False,
    ):
        check_base(backbone, RoutedBackbone, "model.backbone")
        check_base(head, CountedHead, "model.head")
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        self._count = _Count()

    def forward(self, image: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from images.

        Args:
            image: uint8, or float in 0..255, RGB [B,C,H,W].
            window: as in Segmentor.

        Returns:
            The outputs of a Segmentor, and "real_mflops" and "expected_mflops", float [B]: 1e6 operations of each
            image, as computed, and weighted by the gates; the head is part of the first alone, as published.
        """
        normalized = self.normalize(image)
        backbone = cast(RoutedBackbone, self.backbone)
        features, real, expected = backbone.route(normalized)
        outputs = self.outputs_of(features, normalized, window)
        real = real + cast(CountedHead, self.head).mflops(backbone.count_size((image.shape[-2], image.shape[-1])))
        if not self.training and not torch.compiler.is_compiling():
            self._count.add(real, expected)
        return outputs | dict(zip(COUNTS, (real, expected)))

    def start_figures(self) -> None:
        """Starts to count passes."""
        self._count.total = torch.zeros(3, dtype=torch.float64, device=self.mean.device)

    def figures(self) -> dict[str, float]:
        """Returns the mean counts of an image since start_figures(), over all processes, and ends the counting."""
        total, self._count.total = self._count.total, None
        if total is None:
            return {}
        real, expected, images = dist.all_reduce_sum(total).tolist()
        return {name: round(value / images, 3) for name, value in zip(COUNTS, (real, expected))} if images else {}

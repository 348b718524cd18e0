"""ConvCRF, Teichmann and Cipolla, BMVC 2019, https://arxiv.org/abs/1805.04777: a dense CRF of local convolutions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import NonNegativeFloat, PositiveFloat, PositiveInt
from segkit.refiners._filters import Filter, WindowFilter, normalized, positions, shares
from segkit.refiners.base import Refiner, as_given, with_background
from segkit.registry import REFINERS

TINY = 1e-20
"""Least probability whose logarithm is taken."""


@REFINERS.register
class ConvCRF(Refiner):
    """ConvCRF: a CRF whose pixels hear those of a window, on a smaller image; may be trained as a layer.

    Each step sets the scores to (unary_weight - update_weight) log p + update_weight * message. The message is the sum
    over the window of two Gaussian kernels, of positions and of colors, times the probabilities. The defaults are those
    of the published code, but for the first message, which is one of probabilities too; see starts_from_logs.

    Args:
        steps: updates.
        window: side of the window in pixels of the smaller image, odd.
        blur: how many times smaller that image is: 1, or an even number.
        is_normalized: whether each kernel is normalized symmetrically by the sums of its rows.
        unary_weight: factor of log p where update_weight is not None.
        update_weight: weight of the message against log p; None adds the message to log p.
        position_sigma: standard deviation of the kernel of positions, in pixels of the whole image.
        position_weight: factor of that kernel.
        color_sigma: standard deviation of the kernel of colors, in values of 0..255.
        color_weight: factor of that kernel.
        color_position_sigma: standard deviation of positions in the kernel of colors, in pixels; None leaves them out.
        starts_from_logs: whether the first message is one of log p, as the published code has it for logits.
        num_classes: classes of the weights; needed by `is_trainable` with update_weight, and by `mixes_classes`.
        is_trainable: whether deviations (as their inverses), factors and update_weight (one per class) are trained.
        mixes_classes: whether a trained 1x1 convolution of the message is added to it, a compatibility of classes.

    Raises:
        ValueError: an even window, an odd blur, or no num_classes where one is needed.
    """

    inverse_position_sigma: Tensor
    position_weight: Tensor
    inverse_color_sigma: Tensor
    color_weight: Tensor
    inverse_color_position_sigma: Tensor | None
    update_weight: Tensor | None

    def __init__(
        self,
        steps: PositiveInt = 5,
        window: PositiveInt = 11,
        *,
        blur: PositiveInt = 4,
        is_normalized: bool = False,
        unary_weight: NonNegativeFloat = 1.0,
        update_weight: NonNegativeFloat | None = 0.2,
        position_sigma: PositiveFloat = 3.0,
        position_weight: NonNegativeFloat = 3.0,
        color_sigma: PositiveFloat = 13.0,
        color_weight: NonNegativeFloat = 10.0,
        color_position_sigma: PositiveFloat | None = None,
        starts_from_logs: bool = False,
        num_classes: PositiveInt | None = None,
        is_trainable: bool = False,
        mixes_classes: bool = False,
    ):
        super().__init__()
        if window % 2 == 0:
            raise ValueError(f"window = {window}: must be odd")
        if blur > 1 and blur % 2:
            raise ValueError(f"blur = {blur}: must be 1 or an even number")
        if num_classes is None and (mixes_classes or (is_trainable and update_weight is not None)):
            raise ValueError("num_classes: needed where classes have weights of their own")
        self.steps, self.window, self.blur = steps, window, blur
        self.is_normalized, self.unary_weight, self.starts_from_logs = is_normalized, unary_weight, starts_from_logs

        def keep(name: str, value: Tensor | None) -> None:
            if is_trainable and value is not None:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value, persistent=False)

        keep("inverse_position_sigma", torch.tensor([1 / position_sigma]))
        keep("position_weight", torch.tensor([float(position_weight)]))
        keep("inverse_color_sigma", torch.tensor([1 / color_sigma]))
        keep("color_weight", torch.tensor([float(color_weight)]))
        keep(
            "inverse_color_position_sigma",
            None if color_position_sigma is None else torch.tensor([1 / color_position_sigma]),
        )
        width = 1 if num_classes is None else max(num_classes, 2)  # one channel is refined as two classes
        keep("update_weight", None if update_weight is None else torch.full((1, width, 1, 1), float(update_weight)))
        self.compatibility = nn.Conv2d(width, width, 1, bias=False) if mixes_classes else None
        if self.compatibility is not None:
            nn.init.constant_(self.compatibility.weight, 0.1 * math.sqrt(2 / width))

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refines maps of probabilities; see Refiner.refine."""
        return as_given(self.scores(image, with_background(coarse).clamp_min(TINY).log()).softmax(1), coarse)

    def scores(self, image: Tensor, log_probabilities: Tensor) -> Tensor:
        """Computes the scores of the last step, of which a loss may take the softmax.

        Args:
            image: float [B,C,H,W] in 0..255.
            log_probabilities: float [B,K,H,W], logits.log_softmax(1), K of at least 2.

        Returns:
            float [B,K,H,W].
        """
        kernels = self._kernels(image)
        q = log_probabilities if self.starts_from_logs else shares(log_probabilities)
        scores = log_probabilities
        for step in range(self.steps):
            message = self._message(kernels, q if step == 0 else shares(scores))
            if self.compatibility is not None:
                message = message + self.compatibility(message)
            if self.update_weight is None:
                scores = log_probabilities + message
            else:
                scores = (self.unary_weight - self.update_weight) * log_probabilities + self.update_weight * message
        return scores

    def _kernels(self, image: Tensor) -> list[tuple[Tensor, Filter]]:
        """Factor and filter of each kernel, on the smaller image."""
        places = positions(image)
        colors = image * self.inverse_color_sigma
        if self.inverse_color_position_sigma is not None:
            colors = torch.cat([places * self.inverse_color_position_sigma, colors], 1)
        kernels = []
        for weight, features in (
            (self.position_weight, places * self.inverse_position_sigma),
            (self.color_weight, colors),
        ):
            small = self._small(features)
            kernel: Filter = WindowFilter.of(small, self.window)
            kernels.append((weight, normalized(kernel, "symmetric", small) if self.is_normalized else kernel))
        return kernels

    def _message(self, kernels: list[tuple[Tensor, Filter]], q: Tensor) -> Tensor:
        small = self._small(q)
        message = sum((weight * kernel(small) for weight, kernel in kernels), torch.zeros_like(small))
        if self.blur == 1:
            return message
        large = F.interpolate(message, scale_factor=float(self.blur), mode="bilinear", align_corners=False)
        (top, left), (height, width) = self._padding(q), q.shape[-2:]
        return large[..., top : top + height, left : left + width]

    def _small(self, x: Tensor) -> Tensor:
        """The means of squares of `blur` pixels; those at the border have fewer."""
        if self.blur == 1:
            return x
        return F.avg_pool2d(x, self.blur, padding=self._padding(x), count_include_pad=False)

    def _padding(self, x: Tensor) -> tuple[int, int]:
        """Pixels above and to the left that make the sides multiples of `blur`."""
        top, left = (-(-(-length % self.blur) // 2) for length in x.shape[-2:])
        return top, left

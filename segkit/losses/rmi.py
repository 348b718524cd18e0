"""Region mutual information loss.

Zhao et al., NeurIPS 2019, https://arxiv.org/abs/1910.12037; as used by hierarchical multi-scale attention, Tao et al.,
2020. B batch, K classes, H W image, D = radius^2 pixels of a neighbourhood.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, PositiveInt
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.pixel_targets import flip_true_class
from segkit.registry import LOSSES
from segkit.types import IGNORE

LEAST_PROBABILITY = 1e-6


@LOSSES.register
class RMI(Loss):
    """Region mutual information loss: binary cross entropy plus the mutual information of neighbourhoods.

    weight BCE + (1 - weight) R, where R is a lower bound of the negative mutual information of label and prediction.
    Both are pooled by `stride`; each radius x radius neighbourhood of a class is a point of dimension D. With the
    points' covariances, R = log det(cov(y) - cov(y, p) cov(p)^-1 cov(y, p)^T) / (2 D), section 3.3 of the paper: what
    remains of the label's variance when the prediction is known. R is summed over classes and averaged over images that
    have a valid pixel; it is negative for good predictions. BCE is each class's sigmoid cross entropy, summed over
    classes and averaged over valid pixels. The covariances are computed in float64; the result has the logits'
    precision.

    Args:
        weight: of the binary cross entropy, in 0..1.
        radius: side of a neighbourhood in pooled pixels.
        stride: of the pooling.
        diagonal: added to the covariances, which are sums over points, before they are inverted.
        ignore: label that is left out.
        extra_pixels: added to the number of valid pixels by which the binary cross entropy is divided; 1 in the code of
            hierarchical multi-scale attention.
    """

    row = dict(target="mask")
    one_channel = "BinaryCrossEntropy"

    def __init__(
        self,
        weight: NonNegativeFloat = 0.5,
        radius: NonNegativeInt = 3,
        stride: PositiveInt = 4,
        diagonal: NonNegativeFloat = 5e-4,
        ignore: int = IGNORE,
        extra_pixels: NonNegativeInt = 0,
    ):
        super().__init__()
        self.weight, self.radius, self.stride = weight, radius, stride
        self.diagonal, self.ignore, self.extra_pixels = diagonal, ignore, extra_pixels

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W] whose pooled sides are at least `radius`.
            target: int64 [B,H,W].

        Returns:
            float [].
        """
        self.need_channels(logits)
        logits = full_precision(logits)
        flipped, index, valid = flip_true_class(logits, target, self.ignore)
        count = valid.sum() + self.extra_pixels
        cross_entropy = (F.softplus(flipped).sum(1) * valid).sum() / count.clamp_min(1)
        mask = valid.unsqueeze(1)
        label = torch.zeros_like(logits).scatter_(1, index, mask.to(logits.dtype))
        bound = self._bound(label, logits.sigmoid() * mask + LEAST_PROBABILITY)
        has_label = valid.flatten(1).any(1)
        region = (bound * has_label).sum() / has_label.sum().clamp_min(1)
        return self.weight * cross_entropy + (1 - self.weight) * region.to(logits.dtype)

    def _bound(self, label: Tensor, p: Tensor) -> Tensor:
        """R of each image, summed over classes, float64 [B]; label, p: float [B,K,H,W]."""
        y, p = self._points(label), self._points(p)
        diagonal = self.diagonal * torch.eye(y.shape[2], dtype=y.dtype, device=y.device)
        cross = y @ p.transpose(2, 3)
        # the checks of cholesky() and inv() would wait for the device
        factor = torch.linalg.cholesky_ex(p @ p.transpose(2, 3) + diagonal).L
        explained = torch.linalg.solve_triangular(factor, cross.transpose(2, 3), upper=False)
        remaining = y @ y.transpose(2, 3) - explained.transpose(2, 3) @ explained + diagonal
        roots = torch.linalg.cholesky_ex(remaining).L.diagonal(dim1=2, dim2=3)
        # half the log determinant is the sum of the logarithms of the factor's diagonal
        return (roots + 1e-8).log().sum(2).sum(1) / y.shape[2]

    def _points(self, maps: Tensor) -> Tensor:
        """The centred neighbourhoods of maps [B,K,H,W] as points, float64 [B,K,D,number of points]."""
        if self.stride > 1:
            maps = F.avg_pool2d(maps, self.stride, self.stride, padding=self.stride // 2)
        side = self.radius
        height, width = maps.shape[2] - side + 1, maps.shape[3] - side + 1
        windows = maps.double().unfold(2, height, 1).unfold(3, width, 1)  # [B,K,side,side,height,width]
        points = windows.flatten(4).flatten(2, 3)
        return points - points.mean(3, keepdim=True)

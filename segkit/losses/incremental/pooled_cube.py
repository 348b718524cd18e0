"""RCIL: distillation of maps averaged over windows of positions, or over windows of channels.

Zhang et al., Representation Compensation Networks for Continual Semantic Segmentation, CVPR 2022,
https://arxiv.org/abs/2203.05402, section 3.4. B batch, K classes of the step before with the background, C classes with
those of this step, h w features.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, PositiveInt
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.incremental.old_classes import num_old_classes
from segkit.registry import LOSSES


class _Pooled(Loss):
    """Base of both forms.

    Args:
        factor: of the maps' distances.
        last_factor: of the last distance.
    """

    def __init__(self, factor: NonNegativeFloat = 0.01, last_factor: NonNegativeFloat = 0.0005):
        super().__init__()
        self.factor, self.last_factor = factor, last_factor

    def _mean(self, distances: list[Tensor], num_old: int, num_classes: int) -> Tensor:
        """sqrt(C / N) times the mean of the weighted distances."""
        last = len(distances) - 1
        weighted = [value * (self.last_factor if i == last else self.factor) for i, value in enumerate(distances)]
        return torch.stack(weighted).mean() * math.sqrt(num_classes / (num_classes - num_old))


def _squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """x^2 - t^2, which is pooled once as pooling is linear."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"a student's map is {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: shapes must agree"
        )
    student = full_precision(student)
    return student.square() - teacher.detach().to(student.dtype).square()


def _paired(features: tuple[Tensor, ...], loss: str) -> list[Tensor]:
    """The squared differences of pairs of a student's and a teacher's map."""
    if len(features) % 2:
        raise ValueError(f"{loss} takes pairs of a student's and a teacher's map, and got {len(features)} maps")
    return [_squared_difference(student, teacher) for student, teacher in zip(features[::2], features[1::2])]


def _norms(values: Tensor) -> Tensor:
    """Norm over all but the batch, averaged over the batch."""
    return torch.linalg.vector_norm(values.flatten(1), dim=1).mean()


@LOSSES.register
class PooledCube(_Pooled):
    """Distillation of maps averaged over square windows of positions (pooled cube, spatial form).

    sqrt(C / N) / L sum_l factor_l d_l over L pairs of maps x of the student and t of the teacher, where d_l is the mean
    over the windows of |pool(x_l^2) - pool(t_l^2)|, a norm over channels and positions, averaged over the batch, and N
    = C - K. The last pair are the logits, whose new classes are added to the background, and which have the last
    factor. RCIL, section 3.4; the squares and factors are the authors' code. The teacher gets no gradient. A row names
    the maps in pairs: on=["logits", "teacher.logits", "features.0", "teacher.features.0", ...].

    Args:
        factor: of the features' distances.
        last_factor: of the logits' distance; on ADE the authors have 5e-6 and 5e-7.
        windows: sides of the windows in positions; each moves by one, and zeros are around the map.
    """

    row = dict(on=["logits", "teacher.logits"], at="native")

    def __init__(
        self,
        factor: NonNegativeFloat = 0.01,
        last_factor: NonNegativeFloat = 0.0005,
        windows: tuple[PositiveInt, ...] = (4, 8, 12, 16, 20, 24),
    ):
        super().__init__(factor, last_factor)
        self.windows = tuple(windows)

    def forward(self, logits: Tensor, teacher_logits: Tensor, *features: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,h,w].
            teacher_logits: float [B,K,h,w], K < C.
            features: float [B,C_l,h_l,w_l], pairs of the student's and the teacher's maps.

        Returns:
            float [].

        Raises:
            ValueError: a map has no partner of its shape.
        """
        num_old, num_classes = num_old_classes(logits, teacher_logits, needs_new=True), logits.shape[1]
        logits = full_precision(logits)
        background = logits[:, :1] + logits[:, num_old:].sum(1, keepdim=True)
        merged = torch.cat([background, logits[:, 1:num_old]], 1)
        differences = [*_paired(features, "PooledCube"), _squared_difference(merged, teacher_logits)]
        return self._mean([self._distance(difference) for difference in differences], num_old, num_classes)

    def _distance(self, difference: Tensor) -> Tensor:
        pooled = (F.avg_pool2d(difference, side, stride=1, padding=side // 2) for side in self.windows)
        return torch.stack([_norms(values) for values in pooled]).mean()


@LOSSES.register
class ChannelCube(_Pooled):
    """Distillation of maps averaged over windows of neighbouring channels (pooled cube, channel form).

    As PooledCube with windows of channels in place of positions. The logits take no part but by their numbers K and C,
    and the last pair of the features, the embedding, has the last factor. RCIL, section 3.4. A row names at least one
    pair: on=["logits", "teacher.logits", "features.0", "teacher.features.0", ..., "embedding", "teacher.embedding"].

    Args:
        factor: of the features' distances.
        last_factor: of the last distance; on ADE the authors have 5e-6 and 5e-7.
        window: channels of a window, an odd number; zeros are before the first and after the last channel.

    Raises:
        ValueError: window is even.
    """

    row = dict(on=["logits", "teacher.logits", "embedding", "teacher.embedding"], at="native")

    def __init__(
        self,
        factor: NonNegativeFloat = 0.01,
        last_factor: NonNegativeFloat = 0.0005,
        window: PositiveInt = 3,
    ):
        super().__init__(factor, last_factor)
        self.window = window
        if window % 2 == 0:
            raise ValueError(f"window = {window}: must be odd, so that a window has a channel in its middle")

    def forward(self, logits: Tensor, teacher_logits: Tensor, *features: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,h,w].
            teacher_logits: float [B,K,h,w], K < C.
            features: float [B,C_l,h_l,w_l], pairs of the student's and the teacher's maps.

        Returns:
            float [].

        Raises:
            ValueError: a map has no partner of its shape, or there is none.
        """
        num_old, num_classes = num_old_classes(logits, teacher_logits, needs_new=True), logits.shape[1]
        if not features:
            raise ValueError("ChannelCube got no pairs of features: name them in `on` after the logits")
        size, padding = (self.window, 1, 1), (self.window // 2, 0, 0)
        pooled = (F.avg_pool3d(x[:, None], size, 1, padding) for x in _paired(features, "ChannelCube"))
        return self._mean([_norms(values) for values in pooled], num_old, num_classes)

"""A click model of several networks, one for each of the first clicks.

From the published code of Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021,
https://arxiv.org/abs/2102.06583. B batch, P clicks per sign.
"""

import torch
from torch import Tensor, nn

from segkit.models.bases import Network
from segkit.models.click_segmentor import ClickSegmentor
from segkit.models.layers import resize
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


@MODELS.register
class ClickStages(Network):
    """Trained click segmentors in a row, chosen by the number of clicks.

    The first predicts after the first click, the second after the second, ..., the last after all further ones. Each
    was trained on its own; together they only predict.

    Args:
        stages: built ClickSegmentors.
    """

    parts = {"stages": MODELS}
    is_same_for_all = False

    def __init__(self, stages: list[ClickSegmentor]):
        super().__init__()
        if not stages:
            raise ConfigError("model.stages: is empty; give at least one click segmentor")
        self.stages = nn.ModuleList(stages)
        self._networks = tuple(stages)  # the same, with their type
        self.num_classes = stages[0].num_classes
        self.align_corners = stages[0].align_corners
        self.has_previous = any(stage.has_previous for stage in stages)

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        """The mean of the first stage's images, float [1,C,1,1]; its device is the model's."""
        return self._networks[0].mean

    def stage(self, num_clicks: int) -> ClickSegmentor:
        """Returns the network that predicts after `num_clicks` clicks of both signs, the newest included."""
        return self._networks[min(max(num_clicks, 1), len(self.stages)) - 1]

    def forward(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Outputs:
        """Predicts each sample with the network for its number of clicks.

        Args:
            image, clicks, previous: as in ClickSegmentor.forward.

        Returns:
            "logits" float [B,1,H,W], at the image's size, since networks may have other strides.
        """
        counts = (clicks[..., :2].amax(-1) >= 0).sum(1).clamp(1, len(self.stages))
        logits = torch.zeros(len(image), 1, *image.shape[-2:], device=image.device)
        for count in counts.unique().tolist():
            is_answered = counts == count
            stage = self.stage(count)
            masks = previous[is_answered] if previous is not None else None
            logits[is_answered] = resize(
                stage(image[is_answered], clicks[is_answered], masks)["logits"].float(),
                like=image,
                align_corners=stage.align_corners,
            )
        return {"logits": logits}

    def probabilities(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """As `forward`, but returns probabilities, float32 [B,1,H,W]."""
        return self(image, clicks, previous)["logits"].sigmoid()

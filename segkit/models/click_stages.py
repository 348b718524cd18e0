"""Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.

The published code's models of several stages: a network for each of the first clicks. B batch, P clicks per sign.
"""

import torch
from torch import Tensor, nn

from segkit.models.layers import resize
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


@MODELS.register
class ClickStages(nn.Module):
    """Trained click segmentors in a row: the first answers the first click, the second the second, ..., the last all
    further ones. Each was trained on its own; together they only predict.

    stages: built ClickSegmentors.
    """

    parts = {"stages": MODELS}

    def __init__(self, stages: list[nn.Module]):
        super().__init__()
        if not stages:
            raise ConfigError("model.stages: is empty; give one click segmentor at least")
        self.stages = nn.ModuleList(stages)
        self.num_classes, self.align_corners = stages[0].num_classes, stages[0].align_corners
        self.has_previous = any(stage.has_previous for stage in stages)

    @property
    def mean(self) -> Tensor:
        """Of the first stage's images; says where the model is."""
        return self.stages[0].mean

    def stage(self, num_clicks: int) -> nn.Module:
        """num_clicks: of both signs, the newest included -> the stage that answers."""
        return self.stages[min(max(num_clicks, 1), len(self.stages)) - 1]

    def forward(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Outputs:
        """As ClickSegmentor.forward, each sample by the stage for its number of clicks -> "logits" float [B,1,H,W], at
        the image's size, since stages may have other strides."""
        counts = (clicks[..., :2].amax(-1) >= 0).sum(1).clamp(1, len(self.stages))
        logits = torch.zeros(len(image), 1, *image.shape[-2:], device=image.device)
        for count in counts.unique().tolist():
            own = counts == count
            stage = self.stage(count)
            given = previous[own] if previous is not None else None
            logits[own] = resize(
                stage(image[own], clicks[own], given)["logits"].float(), like=image, align_corners=stage.align_corners
            )
        return {"logits": logits}

    def probabilities(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """As forward -> float32 [B,1,H,W]."""
        return self(image, clicks, previous)["logits"].sigmoid()

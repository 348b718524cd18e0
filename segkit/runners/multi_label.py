"""Segmentation of overlapping classes: a sigmoid and a mask for each class."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit.analysis.recorders import ImageRecorder
from segkit.constraints.named import Fraction, NonNegativeInt
from segkit.metrics.base import Metric
from segkit.metrics.per_image import ImageScores, OverlappingScores
from segkit.models.bases import Network
from segkit.registry import RUNNERS
from segkit.runners.base import Runner
from segkit.runners.mask_decision import MaskDecision
from segkit.runners.semantic import Semantic
from segkit.runners.tables import score_table
from segkit.runners.writers import MaskWriter, Writer
from segkit.types import Color, Meta, MultiLabelPrediction, Prediction


@RUNNERS.register
class MultiLabel(Semantic):
    """Trains and predicts a mask of each class; masks may overlap.

    Its data sets give masks [H,W,K] (Dataset.mask), and its losses are those of sigmoids. The arguments decide masks
    from probabilities, see runners.mask_decision.MaskDecision; `segkit thresholds` searches them.

    Args:
        threshold: probability above which a pixel is in the mask, K numbers or one for all classes.
        top_threshold: probability above which a pixel is sure, likewise; None for `threshold`.
        min_area: a mask with fewer sure pixels is empty, K numbers or one for all classes.
        min_component: connected parts of fewer pixels are removed, likewise.
    """

    default_metrics = ({"type": "MeanDice"},)
    predicts_maps = False
    activation: Callable[[Tensor], Tensor] = staticmethod(torch.sigmoid)

    def __init__(
        self,
        threshold: Fraction | list[Fraction] = 0.5,
        top_threshold: Fraction | list[Fraction] | None = None,
        min_area: NonNegativeInt | list[NonNegativeInt] = 0,
        min_component: NonNegativeInt | list[NonNegativeInt] = 0,
    ):
        super().__init__(probabilities=True)
        self.decision = MaskDecision(threshold, top_threshold, min_area, min_component)

    def _predictions(
        self,
        model: Network,
        scores: Tensor,
        presence: Tensor | None,
        metas: list[Meta],
        stored: list[Tensor] | None,
    ) -> Sequence[Prediction]:
        return [self.decide(p) for p in self._probabilities(model, scores)]

    def decide(self, probabilities: Tensor) -> Prediction:
        """Returns the masks of an image from its probabilities, float32 [K,H0,W0]."""
        positive = torch.from_numpy(self.decision.apply(probabilities.detach().cpu().numpy())).to(probabilities.device)
        return MultiLabelPrediction(positive=positive, probabilities=probabilities)

    def image_scores(self, dataset: Any) -> ImageScores:
        """Returns the scores of overlapping masks, image by image."""
        return OverlappingScores(dataset)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Raises a ConfigError: masks that overlap have no counts yet; see Runner.image_recorder."""
        return Runner.image_recorder(self, dataset, metrics)

    def table(self, scores: dict[str, Any]) -> str:
        """Formats the scores of one test set as text: those of each class first."""
        sections = [
            "\n".join(f"{name} {key}: {'-' if value is None else f'{value:.2f}'}" for key, value in values.items())
            for name, values in scores.items()
            if name.endswith("_of") and isinstance(values, dict)
        ]
        return score_table(scores, "\n".join([*sections, ""]) if sections else "")

    def writer(
        self,
        folder: Path,
        classes: tuple[str, ...],
        palette: tuple[Color, ...],
        *,
        annotations: str | Path | None = None,
        score: float = 0.3,
    ) -> Writer:
        """Returns what writes masks/CLASS/NAME.png and overlays; see Runner.writer."""
        return MaskWriter(folder, classes, palette)

"""Training of networks that refine a coarse mask; CascadePSP, Cheng et al., CVPR 2020,
https://arxiv.org/abs/2005.02551.

B batch, H W image.
"""

import zlib
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.analysis.recorders import ImageRecorder, LabelRecorder
from segkit.constraints.named import Fraction, Range
from segkit.metrics.base import Metric
from segkit.metrics.per_image import LabelMapScores
from segkit.models.bases import Network
from segkit.models.cascade_segmentor import CascadeSegmentor
from segkit.ops.refining.perturbation import coarse_mask
from segkit.refiners.cascade_psp import SMALLEST_SIDE, cascade_of, refine_mask
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.base import Runner, need_whole
from segkit.types import Batch, Meta, Outputs, Prediction, SemanticPrediction


@RUNNERS.register
class MaskRefinement(Runner):
    """Trains and evaluates a CascadeSegmentor.

    Batches hold image, mask (object 1, rest 0) and coarse, a perturbed mask (transform CoarseMask). In evaluation the
    coarse mask is made of the true one, the same in every evaluation, and refined as the refiner CascadePSP does it.

    Args:
        iou: of the evaluation's coarse masks: the intersection over union at which their perturbation stops.
        side: longer side in pixels of the image in the first step of the refinement, and side of its tiles.
        is_fast: leaves out the tiles.

    Raises:
        ConfigError: side is below 66, at which tiles no longer move on.
    """

    default_metrics = ({"type": "Confusion"}, {"type": "BoundaryAccuracy"})
    needs_stored = True
    predicts_classes = False
    usage = "segkit refine MASKS IMAGES --refiners CascadePSP,checkpoint={quoted} --out refined"

    def __init__(
        self, iou: Fraction = 0.85, side: Annotated[int, Range(SMALLEST_SIDE)] = 900, *, is_fast: bool = False
    ):
        if side < SMALLEST_SIDE:
            raise ConfigError(f"runner.side = {side}: must be {SMALLEST_SIDE} or more")
        self.iou, self.side, self.is_fast = iou, side, is_fast

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the three passes; see Runner.forward.

        Raises:
            ConfigError: the batch holds no coarse masks.
        """
        if "coarse" not in batch:
            raise ConfigError("train.transforms: the batch holds no coarse masks; end with dict(type='CoarseMask')")
        return model(batch["image"], 2.0 * batch["coarse"].unsqueeze(1) - 1)

    @torch.no_grad()
    def image_scores(self, dataset: Any) -> LabelMapScores:
        """Returns the scores of label maps, image by image."""
        return LabelMapScores(dataset)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Returns what counts the pixels of label maps; see Runner.image_recorder."""
        return LabelRecorder(dataset, metrics)

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Perturbs and refines the true mask of each image.

        Args:
            model: the raw model in evaluation mode.
            batch: images, their meta, and the true masks, int [H0,W0] of each.

        Raises:
            ConfigError: the batch holds no masks, the model refines none, or section `inference` asks for a sliding
                window or TTA.
        """
        need_whole(self.inference, "the refinement of masks, which has runner.side and runner.is_fast")
        if not isinstance(model, CascadeSegmentor):
            raise ConfigError(f"model.type = {type(model).__name__}: refines no masks; use CascadeSegmentor")
        if "mask" not in batch:
            raise ConfigError(
                "this model refines masks, and this image has none: use segkit refine CHECKPOINT, or name the "
                "checkpoint in a refiner: dict(type='CascadePSP', checkpoint=...)"
            )
        images = [batch["image"][i, :, : m["valid"][0], : m["valid"][1]] for i, m in enumerate(batch["meta"])]
        return [
            self._refined(model, image[None], mask, meta)
            for image, mask, meta in zip(images, batch["mask"], batch["meta"])
        ]

    def _refined(self, model: CascadeSegmentor, image: Tensor, mask: Tensor, meta: Meta) -> SemanticPrediction:
        truth = mask.cpu().numpy() == 1
        coarse = coarse_mask(truth, self.iou, np.random.default_rng(zlib.crc32(meta["id"].encode())))
        signed = 2 * torch.from_numpy(coarse).to(image.device, torch.float32)[None, None] - 1
        found = refine_mask(cascade_of(model), model.normalize(image), signed, side=self.side, is_fast=self.is_fast)
        return SemanticPrediction(labels=(found[0, 0] > 0.5).to(torch.uint8))

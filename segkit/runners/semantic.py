"""Semantic segmentation: one class for each pixel."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.analysis.recorders import ImageRecorder, LabelRecorder
from segkit.inference import (
    PresenceRecord,
    Score,
    as_shares,
    build_labels,
    build_score,
    refined,
    to_labels,
    to_probabilities,
)
from segkit.metrics.base import Metric
from segkit.metrics.per_image import ImageScores, LabelMapScores
from segkit.models.bases import Network, gives_scores
from segkit.ops.resizing import is_resized
from segkit.registry import RUNNERS
from segkit.runners.base import Runner, alike
from segkit.runners.memory import MemoryWatch
from segkit.types import Batch, Meta, Outputs, Prediction, SemanticPrediction


@RUNNERS.register
class Semantic(Runner):
    """Trains on images and label maps.

    Args:
        probabilities: whether predictions also hold "probabilities", float [K,H0,W0].
    """

    predicts_maps = True
    activation: Callable[[Tensor], Tensor] = staticmethod(to_probabilities)

    def __init__(self, probabilities: bool = False):
        self.probabilities = probabilities
        self._memory = MemoryWatch()

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model on image and, where there is one, window; see Runner.forward."""
        if "window" in batch:
            return model(batch["image"], batch["window"])
        return model(batch["image"])

    def holds_whole_models(self) -> str:
        """Returns "": a training runs the model and nothing else."""
        return ""

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Predicts the images of one size and way back together, without the padding of the batch.

        Padding would change what a network sees at the border: images of other sizes are passes of their own. An image
        that may not fit into memory whole is told of first, see runners.memory.
        """
        record = PresenceRecord()
        score = build_score(model, self.inference, self.activation, record)
        image, metas, stored = batch["image"], batch["meta"], batch.get("stored")
        predictions: dict[int, Prediction] = {}
        for group in alike([(tuple(meta["valid"]), tuple(meta["size"]), _way_back(meta)) for meta in metas]):
            of_group = image if len(group) == len(metas) else torch.cat([image[i : i + 1] for i in group])
            their_metas, their_stored = [metas[i] for i in group], None
            if stored is not None:
                their_stored = [stored[i] for i in group]
            seen = _valid_part(of_group, their_metas[0])
            predictions.update(zip(group, self._predict(model, score, record, seen, their_metas, their_stored)))
        return [predictions[i] for i in range(len(metas))]

    def _predict(
        self,
        model: Network,
        score: Score,
        record: PresenceRecord,
        image: Tensor,
        metas: list[Meta],
        stored: list[Tensor] | None,
    ) -> Sequence[Prediction]:
        self._memory.look(model, image, self.inference)
        size, matrix = metas[0]["size"], metas[0].get("matrix")
        if self._decides_bands(size, matrix, (image.shape[-2], image.shape[-1])):
            labels = build_labels(model, self.inference, record)(image)
            return _label_maps(labels, record.take())
        scores = score(image, size, matrix)
        return self._predictions(model, scores, record.take(), metas, stored)

    def _decides_bands(self, size: tuple[int, int], matrix: np.ndarray | None, seen: tuple[int, int]) -> bool:
        """Whether labels can be decided while a window slides: nothing else is asked for, at the size that it sees."""
        slides = self.inference.mode == "slide" and self.inference.tta is None
        if not slides or self.probabilities or self.applied_refiners:
            return False
        return tuple(size) == seen and is_resized(matrix, seen, seen)

    def _predictions(
        self,
        model: Network,
        scores: Tensor,
        presence: Tensor | None,
        metas: list[Meta],
        stored: list[Tensor] | None,
    ) -> Sequence[Prediction]:
        """Turns what build_score gives for images, float [B,K,H0,W0], into a prediction of each."""
        refiners = self.applied_refiners
        if refiners:
            assert stored is not None, "refiners read the stored images, see Runner.keep_stored"
            for refiner in refiners:
                refiner.check_classes(getattr(model, "classes", None) or ())  # a model in training has no names
            probabilities = self._probabilities(model, scores)
            coarse = as_shares(probabilities) if gives_scores(model) else probabilities
            scores = refined(refiners, torch.stack(stored), coarse, presence, metas)
        predictions = _label_maps(to_labels(scores, self.inference.threshold), presence)
        if self.probabilities:
            probabilities = scores if refiners else self._probabilities(model, scores)
            for prediction, maps in zip(predictions, probabilities):
                prediction["probabilities"] = maps
        return predictions

    def decide(self, probabilities: Tensor) -> Prediction:
        """Returns the prediction of an image from its probabilities, float32 [K,H0,W0], which it holds as well."""
        labels = to_labels(probabilities[None], self.inference.threshold)[0]
        return SemanticPrediction(labels=labels, probabilities=probabilities)

    def keep_probabilities(self) -> None:
        """Makes predictions hold "probabilities"."""
        self.probabilities = True

    def image_scores(self, dataset: Any) -> ImageScores:
        """Returns the scores of label maps, image by image."""
        return LabelMapScores(dataset)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Returns what counts the pixels of label maps; see Runner.image_recorder."""
        return LabelRecorder(dataset, metrics)

    def _probabilities(self, model: Network, scores: Tensor) -> Tensor:
        """Of what build_score gives: the mean under TTA and one channel are probabilities already, and scores stay."""
        is_done = gives_scores(model) or self.inference.tta is not None or scores.shape[1] == 1
        return scores if is_done else self.activation(scores)


def _label_maps(labels: Tensor, presence: Tensor | None) -> list[SemanticPrediction]:
    """Predictions of labels [B,H0,W0] and, where the model gives it, presence [B,K]."""
    predictions = [SemanticPrediction(labels=label_map) for label_map in labels]
    if presence is not None:
        for prediction, of_image in zip(predictions, presence):
            prediction["presence"] = of_image
    return predictions


def _way_back(meta: Meta) -> bytes:
    """What tells different matrices apart."""
    return meta["matrix"].tobytes() if "matrix" in meta else b""


def _valid_part(image: Tensor, meta: Meta) -> Tensor:
    height, width = meta["valid"]
    return image[..., :height, :width]

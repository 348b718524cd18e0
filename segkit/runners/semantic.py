"""Semantic segmentation: one class for each pixel."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from segkit.inference import Score, build_score, to_labels
from segkit.models.bases import Network
from segkit.registry import RUNNERS
from segkit.runners.base import Runner
from segkit.runners.memory import MemoryWatch
from segkit.types import Batch, Meta, Outputs, Prediction, SemanticPrediction


@RUNNERS.register
class Semantic(Runner):
    """Trains on images and label maps.

    Args:
        probabilities: whether predictions also hold "probabilities", float [K,H0,W0].
    """

    def __init__(self, probabilities: bool = False):
        self.probabilities = probabilities
        self._memory = MemoryWatch()

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model on image and, where there is one, window; see Runner.forward."""
        if "window" in batch:
            return model(batch["image"], batch["window"])
        return model(batch["image"])

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Predicts images of one size and way back together, others one by one without the padding of the batch.

        An image that may not fit into memory whole is told of first, see runners.memory.
        """
        score = build_score(model, self.inference)
        image, metas = batch["image"], batch["meta"]
        alike = len({(meta["valid"], meta["size"], _way_back(meta)) for meta in metas}) == 1
        if alike:
            return self._predict(model, score, _valid_part(image, metas[0]), metas)
        singles = (
            self._predict(model, score, _valid_part(image[i : i + 1], meta), [meta]) for i, meta in enumerate(metas)
        )
        return [prediction for single in singles for prediction in single]

    def _predict(self, model: Network, score: Score, image: Tensor, metas: list[Meta]) -> Sequence[Prediction]:
        self._memory.look(model, image, self.inference)
        scores = score(image, metas[0]["size"], metas[0].get("matrix"))
        labels = to_labels(scores, self.inference.threshold)
        if not self.probabilities:
            return [SemanticPrediction(labels=label_map) for label_map in labels]
        is_tta = self.inference.tta is not None or scores.shape[1] == 1
        probabilities = scores if is_tta else scores.softmax(1)
        return [SemanticPrediction(labels=m, probabilities=p) for m, p in zip(labels, probabilities)]


def _way_back(meta: Meta) -> bytes:
    """What tells different matrices apart."""
    return meta["matrix"].tobytes() if "matrix" in meta else b""


def _valid_part(image: Tensor, meta: Meta) -> Tensor:
    height, width = meta["valid"]
    return image[..., :height, :width]

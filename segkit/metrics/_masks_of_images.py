"""The base of metrics that score the mask of each class in each image, on the CPU."""

from collections.abc import Sequence

import numpy as np
import torch

from segkit.dist import gather_objects
from segkit.metrics._pixel_pairs import LabelMap, PixelPairs, labelled_images
from segkit.metrics.base import LabelledSet, Metric
from segkit.types import Batch


class MasksOfImages(Metric):
    """Scores the masks of all classes of an image and keeps the scores; a subclass gives `of_image` and `compute`."""

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        self._ignore = dataset.ignore
        self._pairs = PixelPairs(len(self.classes), self._ignore)
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._images: list[np.ndarray] = []
        self._pairs.forget()

    def update(self, predictions: Sequence[LabelMap], batch: Batch) -> None:
        """Scores B images, on the CPU; arguments as of Confusion."""
        for prediction, truth, image in labelled_images(predictions, batch):
            labels, truth = torch.as_tensor(prediction["labels"]).cpu(), torch.as_tensor(truth).cpu()
            self._pairs.of_image(labels, truth, image)  # raises for values outside the classes
            true = truth.numpy()
            self._images.append(self.of_image(true, labels.numpy(), true != self._ignore))

    def of_image(self, truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Scores an image.

        Args:
            truth, prediction: labels, int [H,W].
            valid: bool [H,W], where the truth is not ignored.

        Returns:
            float64 [..., K], NaN where a class has no score.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no of_image()")

    def all_images(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the scores of the images of all processes, float64 [images, *shape]."""
        images = [scores for of_process in gather_objects(self._images) for scores in of_process]
        return np.stack(images) if images else np.zeros((0, *shape))

"""Predicts single images as the config of a model says."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from segkit.data.loader import collate_eval, to_device
from segkit.data.transforms.way_back import for_network
from segkit.models.bases import Network
from segkit.runners.base import Runner
from segkit.runners.ensemble import runner_of
from segkit.runners.inputs import transforms_of_test
from segkit.types import Meta, Prediction, Sample


def predict_array(model: Network, image: np.ndarray, runner: Runner | None = None) -> Prediction:
    """Predicts an image that is as the model's data sets read theirs, see api.predict.

    Args:
        model: of load_model.
        image: uint8 or float32 [H,W,C].
        runner: of runner_of, to save its construction for many images.

    Returns:
        A prediction at the image's size.
    """
    return predict_arrays(model, [image], runner or runner_of(model))[0]


@torch.inference_mode()
def predict_arrays(model: Network, images: Sequence[np.ndarray], runner: Runner) -> list[Prediction]:
    """Predicts a batch; those of one size run through the network together.

    Args:
        model, runner: as of predict_array.
        images: uint8 or float32 [H,W,C].
    """
    cfg = getattr(model, "config", None) or {}
    transforms = transforms_of_test(cfg, needs_stored=runner.needs_stored)
    samples = []
    for image in images:
        meta = Meta(id="image", path="image", size=image.shape[:2])
        sample = for_network(Sample(image=image, meta=meta), transforms, np.random.default_rng(0))
        if runner.keep_stored:
            sample["stored"] = image
        samples.append(sample)
    found: Any = runner.predict(model, to_device(collate_eval(samples), model.mean.device))
    return [
        cast(Prediction, {key: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for key, v in one.items()})
        for one in found
    ]

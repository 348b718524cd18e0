"""One vector for an image: the mean of the encoder's deepest feature map. D channels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.models.bases import Backbone, Network
from segkit.registry import ConfigError


class PooledFeatures:
    """Keeps, while a model predicts, the mean of the encoder's deepest map; of windows and views the mean over them.

    Args:
        model: whose encoder is watched until `close`.
        file: its checkpoint, for messages.

    Raises:
        ConfigError: the model has no encoder.
    """

    def __init__(self, model: Network, file: str):
        encoder = next((module for module in model.modules() if isinstance(module, Backbone)), None)
        if encoder is None:
            raise ConfigError(
                f"{file}: {type(model).__name__} has no encoder to compare images by; use --rule uncertain"
            )
        seen: list[Tensor] = []

        # a function of its own, which copies of the model with folded normalizations share
        def keep(module: Any, inputs: Any, outputs: list[Tensor]) -> None:
            deepest = outputs[-1].detach().float()
            seen.append(deepest.flatten(2).mean(2).mean(0).cpu())

        self._seen, self._handle = seen, encoder.register_forward_hook(keep)

    def take(self) -> np.ndarray:
        """Returns the vector of what was predicted since the last call, float32 [D]."""
        vector = torch.stack(self._seen).mean(0).numpy()
        self._seen.clear()
        return vector

    def close(self) -> None:
        """Ends the watch."""
        self._handle.remove()

"""What a server predicts with: an exported graph, without torch, or a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from segkit.registry import ConfigError
from segkit.runners.input_images import Inputs
from segkit.runtime.clicks import is_click_graph
from segkit.runtime.session import is_graph
from segkit.serve.clicks import ClickModel
from segkit.types import Color, Prediction

if TYPE_CHECKING:
    from segkit.models.bases import Network

Kind = Literal["semantic", "multi_label", "instances"]
"""What predictions are: label maps, masks that may overlap, or objects."""


class Predictor(Protocol):
    """A model behind a server.

    Attributes:
        kind: see Kind.
        classes: K names, () where they are not known.
        palette: K colors, () for the default ones.
        inputs: how images are read.
    """

    kind: Kind
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    inputs: Inputs

    def predict(self, images: Sequence[np.ndarray], probabilities: bool) -> list[Prediction]:
        """Predicts images of one size, as `inputs` reads them; label maps with "probabilities" where asked for."""


class GraphPredictor:
    """An exported graph; see Predictor.

    Args:
        path: what `segkit export` wrote.
        device, threads: see runtime.model.load_exported.
    """

    def __init__(self, path: str, device: str | None, threads: int | None):
        from segkit.runtime.model import load_exported

        self._model = load_exported(path, "cpu" if device in (None, "auto") else str(device), threads)
        self.kind: Kind = self._model.info.task  # type: ignore[assignment]  # graphs of clicks are refused above
        self.classes, self.palette, self.inputs = self._model.classes, self._model.palette, self._model.inputs

    def predict(self, images: Sequence[np.ndarray], probabilities: bool) -> list[Prediction]:
        """Predicts images of one size; see Predictor."""
        return self._model.predict_batch(images, probabilities)


class CheckpointPredictor:
    """A checkpoint of segkit or of those that it reads; see Predictor.

    Args:
        path: of the checkpoint, for messages.
        model: that was loaded from it.

    Raises:
        ConfigError: it does not predict images alone.
    """

    def __init__(self, path: str, model: "Network"):
        from segkit.runners.inputs import inputs_of
        from segkit.runners.instances.runner import BoxSupervised
        from segkit.runners.multi_label import MultiLabel
        from segkit.runners.predicting import predict_arrays
        from segkit.runners.semantic import Semantic

        self._model = model
        self._runner, self._with = _two_runners(self._model.config)
        kinds: list[tuple[type, Kind]] = [
            (BoxSupervised, "instances"),
            (MultiLabel, "multi_label"),
            (Semantic, "semantic"),
        ]
        kind = next((name for base, name in kinds if isinstance(self._runner, base)), None)
        if kind is None:
            raise ConfigError(
                f"{path}: the runner {type(self._runner).__name__} predicts neither label maps nor masks nor instances "
                "of an image alone, and takes no clicks"
            )
        self.kind: Kind = kind
        self.classes = tuple(self._model.classes or ())
        self.palette = tuple((int(r), int(g), int(b)) for r, g, b in self._model.palette or ())
        self.inputs = inputs_of(self._model)
        self._predict_arrays = predict_arrays

    def predict(self, images: Sequence[np.ndarray], probabilities: bool) -> list[Prediction]:
        """Predicts images of one size; see Predictor."""
        return self._predict_arrays(self._model, images, self._with if probabilities else self._runner)


def _two_runners(cfg: dict):  # type: ignore[no-untyped-def]  # torch's types are not imported here
    """Two runners of a config: one as it is, and one that also gives probabilities where there are any."""
    from segkit.runners.base import build_runner

    plain, other = build_runner(cfg), build_runner(cfg)
    try:
        other.keep_probabilities()
    except ConfigError:
        return plain, plain
    return plain, other


def open_predictor(
    path: str, device: str | None, threads: int | None, *, trust: bool = False
) -> Predictor | ClickModel:
    """Loads a graph or a checkpoint by the file's ending.

    Args:
        path: .onnx or .xml, of a click model one of its two; else what api.load_model takes.
        device: see runtime.model.load_exported and engine.setup.pick_device.
        threads: of the model, None for as many as its runtime chooses.
        trust: see api.load_model.

    Raises:
        ConfigError, DataError, CheckpointError: it cannot be used; the message says why.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads = {threads}: must be 1 or more")
    if is_graph(path):
        return _open_clicks(path, device, threads) if is_click_graph(path) else GraphPredictor(path, device, threads)
    if Path(path).suffix.lower() == ".pt2":
        raise ConfigError(f"{path}: a .pt2 is run by C++ or torch; serve the checkpoint, or its export to .onnx")
    return _open_checkpoint(path, device, threads, trust=trust)


def _open_clicks(path: str, device: str | None, threads: int | None) -> ClickModel:
    from segkit.runners.input_images import chosen_inputs
    from segkit.runtime.clicks import load_clicks

    clicker = load_clicks(path, "cpu" if device in (None, "auto") else str(device), threads)
    info = clicker.info
    return ClickModel(clicker, chosen_inputs(info.channels, True, info.reading, {}))


def _open_checkpoint(path: str, device: str | None, threads: int | None, *, trust: bool) -> Predictor | ClickModel:
    import torch

    from segkit.api import click_predictor, load_model
    from segkit.engine.setup import pick_device
    from segkit.runners.base import build_runner
    from segkit.runners.inputs import inputs_of
    from segkit.runners.interactive.runner import Interactive

    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(None, path, pick_device(device), trust=trust, predict_only=True)
    if not isinstance(build_runner(model.config), Interactive):
        return CheckpointPredictor(path, model)
    clicker = click_predictor(model)
    # a refinement changes what it was given of the image, which is then of one object alone
    share = (lambda state, other: state.share(other)) if clicker.settings.brs is None else None
    return ClickModel(clicker, inputs_of(model), share)

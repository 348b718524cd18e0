"""Several trained models that predict as one: the mean of their probabilities. K classes, H W image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit.analysis.recorders import ImageRecorder
from segkit.data.loader import collate_eval, to_device
from segkit.data.transforms.way_back import for_network
from segkit.inference import MeanProbabilities
from segkit.metrics.base import Metric
from segkit.metrics.per_image import ImageScores
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.base import Runner, build_runner
from segkit.runners.inputs import section_of_test, transforms_of_test
from segkit.runners.loading import load_model
from segkit.runners.scoring import config_of_set
from segkit.runners.semantic import Semantic
from segkit.runners.writers import Writer
from segkit.types import Batch, Color, Meta, Prediction, Sample

MOST_NAMES = 4
"""Classes that a message names."""


class Ensemble(Network):
    """Trained models of equal classes that predict as one; as of load_ensemble.

    Its config, classes and palette are those of the first.

    Args:
        members: in evaluation mode, on one device.
        files: the checkpoint of each, for messages.

    Raises:
        ConfigError: classes or input channels differ, or a model predicts no probabilities of classes at each pixel.
    """

    def __init__(self, members: Sequence[Network], files: Sequence[str | Path]):
        super().__init__()
        self.members, self.files = nn.ModuleList(members), [str(file) for file in files]
        first = members[0]
        check_classes(members, self.files)
        for model, file in zip(members, self.files):
            semantic_runner(model, file)
            if model.mean.shape[1] != first.mean.shape[1]:
                raise ConfigError(
                    f"{file}: takes images of {model.mean.shape[1]} channels, and {self.files[0]} of "
                    f"{first.mean.shape[1]}; only models of equal images predict together"
                )
        self.num_classes, self.align_corners = first.num_classes, first.align_corners
        self.mean, self.std = first.mean, first.std
        self.config, self.classes, self.palette = first.config, first.classes, first.palette
        self.eval()

    def networks(self) -> list[Network]:
        """Returns the members."""
        return [cast(Network, member) for member in self.members]


def load_ensemble(
    paths: Sequence[str | Path],
    config: str | Path | dict | None = None,
    device: str | torch.device = "cpu",
    options: Sequence[str] = (),
    *,
    trust: bool = False,
    predict_only: bool = False,
) -> Network:
    """Loads checkpoints of equal classes as one model that predicts the mean of their probabilities.

    Each model predicts as its own config says: transforms, windows, test-time augmentation, refiners. They run one
    after another, so that the activations of one alone are in memory.

    Args:
        paths: checkpoints; of one alone its model is returned.
        config, device, options, trust, predict_only: as of load_model, for each.

    Raises:
        CheckpointError: a file cannot be read.
        ConfigError: the models do not predict the same classes of the same images, or no probabilities.
    """
    models = [load_model(config, path, device, options, trust=trust, predict_only=predict_only) for path in paths]
    return models[0] if len(models) == 1 else Ensemble(models, paths)


def networks_of(model: Network) -> list[Network]:
    """Returns the trained networks that predict together: the members of an ensemble, or the model itself."""
    return model.networks() if isinstance(model, Ensemble) else [model]


def runner_of(model: Network, section: dict | None = None) -> Runner:
    """Builds what makes the predictions of a trained model.

    Args:
        model: with its config; without one it sees the whole image.
        section: of the data that is scored, whose `inference` and transforms count.
    """
    section = section or {}
    configs = [getattr(network, "config", None) or {} for network in networks_of(model)]
    runners = [build_runner(config_of_set(config, section) if section else config) for config in configs]
    return EnsembleRunner(model, runners, section) if isinstance(model, Ensemble) else runners[0]


def semantic_runner(model: Network, file: str) -> Semantic:
    """Returns the runner of a model that gives probabilities of classes; ConfigError where it gives none."""
    runner = build_runner(getattr(model, "config", None) or {})
    if not isinstance(runner, Semantic):
        raise ConfigError(
            f"{file}: the runner {type(runner).__name__} predicts no probabilities of classes at each pixel, of which "
            "the mean could be taken; models of runner 'Semantic' and those that derive from it predict together"
        )
    runner.keep_probabilities()
    return runner


def check_classes(models: Sequence[Network], files: Sequence[str]) -> None:
    """Raises ConfigError where models have other classes than the first; the message names the difference."""
    first = list(models[0].classes or ())
    for model, file in zip(models[1:], files[1:]):
        names = list(model.classes or ())
        count, expected = len(names) or model.num_classes, len(first) or models[0].num_classes
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(names, first)) if a != b]
        if count != expected:
            what = f"has {count} classes ({_some(names)}), and {files[0]} has {expected} ({_some(first)})"
        elif pairs:
            listed = ", ".join(f"class {i} is '{a}' and there '{b}'" for i, a, b in pairs[:MOST_NAMES])
            what = f"has other classes than {files[0]}: {listed}{', ...' if len(pairs) > MOST_NAMES else ''}"
        else:
            continue
        raise ConfigError(f"{file}: {what}; only models of equal classes, in one order, predict together")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "") if names else "without names"


class EnsembleRunner(Runner):
    """Predicts the mean of the probabilities of several models, and decides from it as the first model's runner does.

    Args:
        model: the ensemble.
        runners: of its members.
        section: of the data, {} where single images are predicted.

    Raises:
        ConfigError: the classes of some overlap and those of others do not.
    """

    def __init__(self, model: Ensemble, runners: Sequence[Runner], section: dict):
        self.runners = [cast(Semantic, runner) for runner in runners]
        self.first = self.runners[0]
        self.inference, self.predicts_classes = self.first.inference, self.first.predicts_classes
        self.default_metrics = self.first.default_metrics
        self.needs_stored = any(runner.needs_stored for runner in runners)
        for runner, file in zip(self.runners, model.files):
            runner.keep_probabilities()
            if runner.activation is not self.first.activation:
                raise ConfigError(
                    f"{file}: the runner {type(runner).__name__} and the {type(self.first).__name__} of "
                    f"{model.files[0]} differ in whether classes overlap; their probabilities have no mean"
                )
        rows = section.get("transforms", []) if section else section_of_test(model.config)[0].get("transforms", [])
        # None: the member sees the batch as it is
        self._transforms: list[list | None] = []
        for network, runner in zip(model.networks(), self.runners):
            own = section_of_test(network.config)[0].get("transforms", [])
            is_shared = network is model.members[0] or own == rows
            self._transforms.append(
                None if is_shared else transforms_of_test(network.config, needs_stored=runner.needs_stored)
            )
        self._keeps = False

    @property
    def keep_stored(self) -> bool:
        """Members with refiners, or with transforms of their own, read the stored images."""
        return any(runner.keep_stored for runner in self.runners) or any(t is not None for t in self._transforms)

    def keep_probabilities(self) -> None:
        """Makes predictions hold the mean "probabilities"."""
        self._keeps = True

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Predicts a batch with one member after another; see Runner.predict."""
        means = [MeanProbabilities() for _ in batch["meta"]]
        presences: list[list[Tensor]] = [[] for _ in batch["meta"]]
        networks = networks_of(model)
        for network, runner, transforms in zip(networks, self.runners, self._transforms):
            seen = batch if transforms is None else _seen_by(network, transforms, batch)
            for i, prediction in enumerate(cast(Sequence[Any], runner.predict(network, seen))):
                means[i].add(prediction["probabilities"])
                presences[i] += [prediction["presence"]] if "presence" in prediction else []
        decided = []
        for mean, presence in zip(means, presences):
            prediction = cast(Any, self.first.decide(mean.mean()))
            if len(presence) == len(networks):
                prediction["presence"] = torch.stack(presence).mean(0)
            if not self._keeps:
                prediction.pop("probabilities")
            decided.append(prediction)
        return decided

    def image_scores(self, dataset: Any) -> ImageScores:
        """As of the first model's runner."""
        return self.first.image_scores(dataset)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """As of the first model's runner."""
        return self.first.image_recorder(dataset, metrics)

    def table(self, scores: dict[str, Any]) -> str:
        """As of the first model's runner."""
        return self.first.table(scores)

    def writer(
        self,
        folder: Path,
        classes: tuple[str, ...],
        palette: tuple[Color, ...],
        *,
        annotations: str | Path | None = None,
        score: float = 0.3,
    ) -> Writer:
        """As of the first model's runner."""
        return self.first.writer(folder, classes, palette, annotations=annotations, score=score)


def _seen_by(network: Network, transforms: list, batch: Batch) -> Batch:
    """The batch as a model with transforms of its own sees it."""
    samples = []
    for stored, meta in zip(batch["stored"], batch["meta"]):
        image = stored.permute(1, 2, 0).cpu().numpy()
        plain = Meta(id=meta["id"], path=meta["path"], size=meta["size"])
        sample = for_network(Sample(image=image, meta=plain), transforms, np.random.default_rng(0))
        samples.append(Sample(**{**sample, "stored": image}))
    return to_device(collate_eval(samples), network.mean.device)

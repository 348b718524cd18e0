"""Label maps of images that are larger than memory: windows come in, finished rows go out.

The labels are those of a sliding window over the whole image (inference.slide): windows lie at the same places, their
logits are added in the same order and divided by the same counts; see large_band.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from segkit.data.loader import collate_eval, to_device
from segkit.data.transforms.base import Transform
from segkit.data.transforms.sizes import as_size
from segkit.data.transforms.way_back import for_network
from segkit.inference import as_they_are, to_labels, to_probabilities, tta, whole
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.base import Runner
from segkit.runners.ensemble import Ensemble
from segkit.runners.input_images import Inputs
from segkit.runners.inputs import transforms_of_test
from segkit.runners.large_band import WINDOW, dtype_of
from segkit.settings import InferenceSettings, TTASettings
from segkit.types import Meta, Sample


def window_of(cfg: dict) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (crop, stride) of the windows of large images: inference.crop, else the training crop, else WINDOW.

    Args:
        cfg: the sections.
    """
    inference = cfg.get("inference") or {}
    rows = (cfg.get("train") or {}).get("transforms", [])
    crops = [row["size"] for row in rows if "Crop" in row["type"] and "size" in row]
    size = inference.get("crop") or (crops[-1] if crops else WINDOW)
    crop = as_size(size, "inference.crop")
    stride = inference.get("stride")
    if stride is None or stride == "even":
        return crop, (max(crop[0] * 2 // 3, 1), max(crop[1] * 2 // 3, 1))
    stride = as_size(stride, "inference.stride")
    if stride[0] > crop[0] or stride[1] > crop[1]:
        raise ConfigError(f"inference.stride = {stride}: must lie between 1 and inference.crop = {crop}")
    return crop, stride


class LargePredictor:
    """Predicts large images of a model, one after the other.

    Args:
        model: in evaluation mode, with its config.
        runner: of build_runner; its predictions are label maps.
        inputs: says how images are read.

    Raises:
        ConfigError: the config asks for what needs the whole image.
    """

    def __init__(self, model: Network, runner: Runner, inputs: Inputs):
        self.model, self.runner, self.inputs = model, runner, inputs
        self.settings = runner.inference
        self.transforms = transforms_of_test(model.config, needs_stored=False)
        self._check()
        self.crop, self.stride = window_of(model.config)
        self.score = _score_of(model, self.settings)
        self.divisor = self.settings.pad_divisor
        self.classes, self.num_classes = tuple(model.classes or ()), model.num_classes
        self.dtype = dtype_of(model.num_classes)

    def _check(self) -> None:
        if isinstance(self.model, Ensemble):
            raise ConfigError(
                "several checkpoints: large images are predicted in windows, by one model; name one checkpoint, or "
                "average them (segkit average)"
            )
        if self.inputs.reading.has_percentiles:
            raise ConfigError(
                f"scale = {self.inputs.reading.scale}: percentiles are of whole images, and this one is predicted in "
                "windows; give two numbers (segkit analyze values proposes them)"
            )
        name = type(self.runner).__name__
        if not self.runner.predicts_maps:
            raise ConfigError(
                f"runner = {name}: large images are predicted in windows, which gives label maps alone; cut the image "
                "into tiles, or use the runner 'Semantic'"
            )
        if self.runner.applied_refiners:
            names = ", ".join(type(refiner).__name__ for refiner in self.runner.applied_refiners)
            raise ConfigError(
                f"inference.refiners = {names}: refiners see whole images, and this one is predicted in windows; "
                "--cfg-options inference.refiners=[]"
            )
        if (self.settings.tta or {}).get("keep_areas"):
            raise ConfigError(
                "inference.tta.keep_areas: areas are those of whole images, and this one is predicted in windows; "
                "--cfg-options inference.tta.keep_areas=False"
            )
        moving = [t for t in self.transforms if not isinstance(t, Transform) or t.moves != "nothing"]
        if moving:
            raise ConfigError(
                f"test.transforms = {type(moving[0]).__name__}: moves the pixels of whole images, and large ones are "
                "predicted in windows as they are stored; --cfg-options test.transforms=[]"
            )

    def sums(self, height: int, width: int) -> "_Sums":
        """Returns empty sums of a band; see large_band.WindowModel."""
        return _Sums(self, height, width)

    def window_logits(self, image: np.ndarray, source: str, window: tuple[int, ...]) -> Tensor:
        """Predicts a window of an image.

        Args:
            image: uint8 or float32 [h,w,C], without missing pixels.
            source: the image's file.
            window: (y0, x0, y1, x1, H, W), its position in the whole image.

        Returns:
            float [K,h',w'], over the window and what pad_divisor adds to it: logits, or probabilities under test-time
            augmentation.
        """
        meta = Meta(id=source, path=source, size=image.shape[:2])
        sample = for_network(Sample(image=image, meta=meta), self.transforms, np.random.default_rng(0))
        batch = to_device(collate_eval([sample]), self.model.mean.device)
        pixels = batch["image"]
        height, width = window[2] - window[0], window[3] - window[1]
        if pixels.shape[-2:] != (height, width):  # the window reaches into the padding at the image's end
            fill = self.model.mean.to(pixels.device, torch.float32)
            canvas = fill.expand(1, -1, height, width).clone()
            canvas[..., : pixels.shape[-2], : pixels.shape[-1]] = pixels
            pixels = canvas
        return self.score(pixels, [window])[0]


def _score_of(model: Network, settings: InferenceSettings) -> Callable[[Tensor, list], Tensor]:
    """What a window is given to: the logits of the model, or the mean probabilities of its views."""
    predict = whole(model, fold_norms=settings.fold_norms)
    if settings.tta is None:
        return lambda image, window: predict(image, window=window)
    options = TTASettings(**settings.tta)
    views = tta(
        predict,
        tuple(options.scales),
        flip=options.flip,
        align_corners=model.align_corners,
        activation=as_they_are if model.gives_scores else to_probabilities,
    )
    return lambda image, window: views(image, (image.shape[-2], image.shape[-1]))


class _Sums:
    """Sums of logits and counts of windows on the model's device; see large_band.Sums."""

    def __init__(self, predictor: LargePredictor, height: int, width: int):
        self.predictor = predictor
        device = predictor.model.mean.device
        self.maps = torch.zeros(predictor.num_classes, height, width, device=device)
        self.counts = torch.zeros(1, height, width, device=device)

    @torch.inference_mode()
    def add(self, image: np.ndarray | None, source: str, window: tuple[int, ...], mine: slice, there: slice) -> None:
        """Predicts a window and adds a part of it."""
        self.counts[:, :, there] += 1
        if image is not None:
            self.maps[:, :, there] += self.predictor.window_logits(image, source, window)[:, :, mine]

    def move_up(self, rows: int) -> None:
        """Drops the first rows."""
        for maps in (self.maps, self.counts):
            kept = maps.shape[1] - rows
            maps[:, :kept] = maps[:, rows:].clone()
            maps[:, kept:] = 0

    @torch.inference_mode()
    def labels(self, rows: int) -> np.ndarray:
        """Returns the labels of the first rows."""
        scores = self.maps[:, :rows] / self.counts[:, :rows]
        has_probabilities = self.predictor.settings.tta is not None or self.predictor.model.gives_scores
        scores = scores.sigmoid() if scores.shape[0] == 1 and not has_probabilities else scores
        return to_labels(scores[None], self.predictor.settings.threshold)[0].cpu().numpy()

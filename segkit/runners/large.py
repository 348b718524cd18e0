"""Label maps of images that are larger than memory: windows come in, finished rows go out.

The labels are those of a sliding window over the whole image (inference.slide): windows lie at the same places, their
logits are added in the same order and divided by the same counts. What is held is a band of one window's height, cut
into panels where it would be too wide; windows across the border of two panels are predicted for each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segkit.data.dataset import without_missing
from segkit.data.large.grid import window_starts
from segkit.data.large.reader import WindowReader
from segkit.data.large.tiff_writer import TILE, TiffWriter
from segkit.data.loader import collate_eval, to_device
from segkit.data.transforms.base import Transform
from segkit.data.transforms.sizes import as_size
from segkit.data.transforms.way_back import for_network
from segkit.files import DataError, whole_file
from segkit.inference import as_they_are, to_labels, to_probabilities, tta, whole
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.base import Runner
from segkit.runners.ensemble import Ensemble
from segkit.runners.input_images import Inputs
from segkit.runners.inputs import transforms_of_test
from segkit.settings import InferenceSettings, TTASettings
from segkit.types import Color, Meta, Sample, default_palette
from segkit.viz import draw

PANEL_BYTES = 1 << 28
"""Bytes of the sums and pixels of a band that are held at once, about."""

OVERVIEW = 2048
"""Longer side of the overlay of a large image in pixels, at most."""

WINDOW = 512
"""Side of a window in pixels, where neither inference.crop nor a training crop says one."""

NO_LABEL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""Label of pixels without data."""


@dataclass(frozen=True)
class LabelFile:
    """What was written for a large image.

    labels: the file; windows: how many were predicted; rows_held: of the image, at once.
    """

    labels: Path
    windows: int
    rows_held: int


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
        self.dtype = np.dtype(np.uint8 if max(model.num_classes, 2) < 256 else np.uint16)

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

    @torch.inference_mode()
    def predict(
        self,
        reader: WindowReader,
        labels: Path,
        *,
        overlay: Path | None = None,
        palette: tuple[Color, ...] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> LabelFile:
        """Predicts an image into a tiled GeoTIFF of its place, with palette and names of the classes.

        Pixels without data get the label 255 (65535 from 255 classes on), which the file states.

        Args:
            reader: of the image.
            labels: the file to write.
            overlay: PNG for a small picture of image and labels; None for none.
            palette: K colors, () for the default ones.
            progress: is told the windows done and those in all.

        Raises:
            DataError: the image is damaged, of other channels, or the result cannot be written.
        """
        if self.inputs.reading.exif and reader.page.orientation != 1:
            raise DataError(
                f"{reader.path}: states the orientation {reader.page.orientation}, and large images are read as "
                "stored; turn the file, or predict it as it lies with --no-exif"
            )
        colors = tuple(palette) or default_palette(256)
        band = _Band(self, reader)
        picture = None if overlay is None else _Overview(reader.size)
        with whole_file(labels, "choose another --out, or free space") as draft, open(draft, "wb") as file:
            writer = TiffWriter(
                file,
                reader.size,
                self.dtype,
                place=reader.place,
                palette=colors if self.dtype == np.uint8 else (),
                nodata=NO_LABEL[self.dtype],
                names=tuple(self.model.classes or ()),
            )
            for row, column, part, samples in band.finished(progress):
                writer.write(row, column, part)
                if picture is not None:
                    picture.add(row, column, part, samples)
            writer.close()
        if picture is not None and overlay is not None:
            image = reader.image(picture.samples, self.inputs.channels, self.inputs.reading._replace(nodata=None))
            draw.save_png(overlay, draw.overlay(draw.to_rgb(image), picture.labels, colors))
        return LabelFile(labels, band.done, band.rows_held)

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


class _Band:
    """The rows of an image that are being predicted: sums of logits, counts, and the pixels below them."""

    def __init__(self, predictor: LargePredictor, reader: WindowReader):
        self.predictor, self.reader = predictor, reader
        divisor = predictor.settings.pad_divisor
        self.padded = (reader.size[0] + -reader.size[0] % divisor, reader.size[1] + -reader.size[1] % divisor)
        self.crop = min(predictor.crop[0], self.padded[0]), min(predictor.crop[1], self.padded[1])
        self.rows = window_starts(self.padded[0], self.crop[0], predictor.stride[0])
        self.columns = window_starts(self.padded[1], self.crop[1], predictor.stride[1])
        reading = predictor.inputs.reading
        self.reading = reading._replace(nodata=reader.missing_value(reading.nodata, predictor.inputs.channels))
        per_pixel = 8 * predictor.model.num_classes + 5 + reader.channels * reader.dtype.itemsize
        most = PANEL_BYTES // (per_pixel * self.crop[0]) // TILE * TILE
        self.width = max(most, -(-self.crop[1] // TILE) * TILE)
        self.panels = [(left, min(left + self.width, self.padded[1])) for left in range(0, self.padded[1], self.width)]
        self.done, self.rows_held = 0, self.crop[0]

    def _windows_of(self, left: int, right: int) -> list[int]:
        return [x for x in self.columns if x < right and x + self.crop[1] > left]

    def finished(
        self, progress: Callable[[int, int], None] | None
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Yields row, column, labels [h,w] and stored samples [h,w,S] of finished rectangles."""
        total = sum(len(self._windows_of(*panel)) for panel in self.panels) * len(self.rows)
        for left, right in self.panels:
            yield from self._of_panel(left, right, lambda: progress and progress(self.done, total))

    def _of_panel(
        self, left: int, right: int, tell: Callable[[], object]
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        model, (height, width) = self.predictor.model, self.reader.size
        columns = self._windows_of(left, right)
        start, end = min(columns), min(max(columns) + self.crop[1], width)  # of the pixels that are read
        samples = np.zeros((self.crop[0], end - start, self.reader.channels), self.reader.dtype)
        is_missing = np.zeros((self.crop[0], right - left), bool)
        sums = torch.zeros(model.num_classes, self.crop[0], right - left, device=model.mean.device)
        counts = torch.zeros(1, self.crop[0], right - left, device=model.mean.device)
        top = read = 0  # first row of the band, and the first that is not read yet
        for y in [*self.rows, self.padded[0]]:
            done = min(y, height) - top
            if done > 0:
                labels = self._labels(sums[:, :done] / counts[:, :done])
                labels[is_missing[:done]] = NO_LABEL[self.predictor.dtype]
                inside = min(right, width) - left
                stored = samples[:done, left - start : left - start + inside]
                yield top, left, labels[:, :inside], stored
            if y == self.padded[0]:
                return
            for array in (samples, is_missing):
                array[: self.crop[0] - (y - top)] = array[y - top :].copy()
            is_missing[self.crop[0] - (y - top) :] = False
            for maps in (sums, counts):
                maps[:, : self.crop[0] - (y - top)] = maps[:, y - top :].clone()
                maps[:, self.crop[0] - (y - top) :] = 0
            top, below = y, min(y + self.crop[0], height)
            if below > read:
                samples[read - top : below - top] = self.reader.read(read, start, below - read, end - start)
                read = below
            for x in columns:
                self._add(samples[: below - top], start, top, x, (left, right), (sums, counts, is_missing))
                self.done += 1
                tell()

    def _add(
        self,
        samples: np.ndarray,
        start: int,
        y: int,
        x: int,
        panel: tuple[int, int],
        into: tuple[Tensor, Tensor, np.ndarray],
    ) -> None:
        """Predicts the window at (y, x) and adds the part of it that lies in the panel."""
        sums, counts, is_missing = into
        channels, path = self.predictor.inputs.channels, self.reader.path
        stored = samples[:, x - start : x + self.crop[1] - start]
        image = self.reader.image(stored, channels, self.reading)
        source = f"{path} (window at row {y}, column {x})"
        image, missing = without_missing(image, self.reading.nodata, source, is_marked=True)
        first, last = max(x, panel[0]), min(x + self.crop[1], panel[1])
        mine = slice(first - x, last - x)
        there = slice(first - panel[0], last - panel[0])
        if missing is not None:
            inside = missing[:, mine]
            is_missing[: len(inside), first - panel[0] : first - panel[0] + inside.shape[1]] |= inside
        counts[:, :, there] += 1
        if missing is not None and missing.all():
            return  # nothing is seen here, and no label is kept
        window = (y, x, y + self.crop[0], x + self.crop[1], *self.padded)
        logits = self.predictor.window_logits(image, path, window)
        sums[:, :, there] += logits[:, :, mine]

    def _labels(self, scores: Tensor) -> np.ndarray:
        has_probabilities = self.predictor.settings.tta is not None or self.predictor.model.gives_scores
        scores = scores.sigmoid() if scores.shape[0] == 1 and not has_probabilities else scores
        labels = to_labels(scores[None], self.predictor.settings.threshold)[0]
        return labels.cpu().numpy().astype(self.predictor.dtype)


class _Overview:
    """Every n-th pixel of image and labels."""

    def __init__(self, size: tuple[int, int]):
        self.step = max(1, -(-max(size) // OVERVIEW))
        self.size = tuple(-(-side // self.step) for side in size)
        self.labels = np.zeros(self.size, np.uint8)
        self.samples = np.zeros((0, 0, 0), np.uint8)

    def add(self, row: int, column: int, labels: np.ndarray, samples: np.ndarray) -> None:
        """Takes a finished rectangle."""
        if not self.samples.size:
            self.samples = np.zeros((*self.size, samples.shape[2]), samples.dtype)
        y, x = -row % self.step, -column % self.step
        chosen = labels[y :: self.step, x :: self.step]
        top, left = (row + y) // self.step, (column + x) // self.step
        self.labels[top : top + chosen.shape[0], left : left + chosen.shape[1]] = np.minimum(chosen, 255)
        part = samples[y :: self.step, x :: self.step]
        self.samples[top : top + part.shape[0], left : left + part.shape[1]] = part

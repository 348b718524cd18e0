"""Predicts with exported graphs, without torch: segkit.load_exported("model.onnx").predict("image.jpg").

numpy and a runtime (onnxruntime or openvino) are all it needs for arrays; files need opencv-python besides. K classes,
H W image.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from segkit.data.files.run_lengths import encode_mask
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.runners.input_images import ImageInput, chosen_inputs
from segkit.runners.mask_decision import MaskDecision
from segkit.runners.writers import LabelWriter, MaskWriter, Writer
from segkit.runtime.metadata import INPUT, GraphInfo
from segkit.runtime.session import Session, open_graph
from segkit.runtime.windows import as_input, build_maps
from segkit.types import Color, InstancePrediction, MultiLabelPrediction, Prediction, SemanticPrediction


class GraphModel:
    """An exported graph that predicts images; made by load_exported. Several threads may call it.

    Args:
        session: of the graph.
        info: what it says about itself.
        place: its file, for messages.

    Attributes:
        classes: K names.
        palette: K colors, () for the default ones.
        inputs: how images are read.
    """

    def __init__(self, session: Session, info: GraphInfo, place: str):
        self.session, self.info, self.place = session, info, place
        self.classes = tuple(info.classes)
        self.palette: tuple[Color, ...] = tuple((int(r), int(g), int(b)) for r, g, b in info.palette)
        self.inputs = chosen_inputs(info.channels, not info.mean or max(info.mean) > 2, info.reading, {})
        self._maps = build_maps(self.run, info, place)
        self._lock = threading.Lock()

    def predict(self, image: ImageInput, probabilities: bool = False) -> Prediction:
        """Predicts an image, as segkit.api.predict does.

        Args:
            image: a file, a picture of Pillow, or an array [H,W,C], uint8 or float in 0..255 ([H,W] is grey).
            probabilities: whether the prediction of a label map also holds "probabilities", float32 [K,H,W].

        Raises:
            ValueError, DataError: as of segkit.api.predict.
        """
        return self.predict_batch([self.inputs.convert(image)], probabilities)[0]

    def predict_batch(self, images: Sequence[np.ndarray], probabilities: bool = False) -> list[Prediction]:
        """Predicts images of one size together, as far as the graph takes several at once.

        Args:
            images: uint8 or float32 [H,W,C], as `inputs` reads them.
            probabilities: as of `predict`.

        Raises:
            DataError: their values are not of the graph's type, or the graph cannot give probabilities.
        """
        stacked = np.stack([as_input(image, self.info.dtype, "image") for image in images])
        batch = np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))
        if self.info.task == "instances":
            return [self._instances(batch[i : i + 1]) for i in range(len(batch))]
        if self.info.output == "labels":
            return list(self._labelled(batch, probabilities))
        return self._decided(self._maps(batch), probabilities)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Returns the graph's map, float32 [B,K,H,W], or labels [B,H,W]; in groups as large as the graph takes.

        Args:
            batch: images [B,C,H,W] of a size and type that the graph takes as they are.
        """
        most = self.info.batch or len(batch)
        parts = []
        for start in range(0, len(batch), most):
            part = np.ascontiguousarray(batch[start : start + most])
            count = len(part)
            if self.info.batch is not None and count < most:  # a fixed batch is filled up
                part = np.concatenate([part, np.repeat(part[-1:], most - count, axis=0)])
            parts.append(self._outputs(part)[self.info.output][:count])
        maps = parts[0] if len(parts) == 1 else np.concatenate(parts)
        has_labels = self.info.output == "labels"
        if maps.ndim != (3 if has_labels else 4):
            raise DataError(f"{self.place}: its output '{self.info.output}' has {maps.ndim} axes; export it again")
        self._check_colors(int(maps.max(initial=0)) + 1 if has_labels else maps.shape[1])
        return maps if has_labels else maps.astype(np.float32, copy=False)

    def _outputs(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:  # one run has all threads
            return self.session.run({INPUT: batch})

    def _labelled(self, batch: np.ndarray, probabilities: bool) -> list[Prediction]:
        if probabilities:
            raise ConfigError(f"{self.place}: gives labels alone; export it without argmax for probabilities")
        size = self.info.size
        if self.info.slide is not None or (size is not None and tuple(size) != batch.shape[2:]):
            raise DataError(
                f"{self.place}: gives labels, which windows cannot be joined of; export it without argmax, or give "
                f"images of {size} pixels"
            )
        return [SemanticPrediction(labels=cast("np.ndarray", one)) for one in self.run(batch)]  # type: ignore[typeddict-item]

    def _check_colors(self, num_classes: int) -> None:
        if 0 < len(self.palette) < num_classes:
            raise DataError(
                f"{self.place}: gives {num_classes} classes, and states {len(self.palette)} colors; export it again"
            )

    def _decided(self, maps: np.ndarray, probabilities: bool) -> list[Prediction]:
        """Predictions of maps at the image's size; the same decisions as the runners Semantic and MultiLabel."""
        is_raw = self.info.output == "logits" and not self.info.scores
        if self.info.task == "multi_label":
            return [self._masks(sigmoid(one) if is_raw else one) for one in maps]
        labels = self.labels_of(maps)
        if not probabilities:
            return [cast(Prediction, {"labels": one}) for one in labels]
        if maps.shape[1] == 1:
            values = self._of_one_class(maps)
        else:
            values = _softmax(maps) if is_raw else maps
        return [cast(Prediction, {"labels": a, "probabilities": b}) for a, b in zip(labels, values)]

    def labels_of(self, maps: np.ndarray) -> np.ndarray:
        """Returns the labels [B,H,W] of maps [B,K,H,W] of classes that exclude each other."""
        if maps.shape[1] == 1:
            return (self._of_one_class(maps)[:, 0] > np.float32(self.info.threshold)).astype(np.uint8)
        return maps.argmax(1).astype(np.uint8 if maps.shape[1] <= 256 else np.int16)

    def _of_one_class(self, maps: np.ndarray) -> np.ndarray:
        """The probabilities of a single class."""
        is_raw = self.info.output == "logits" and not self.info.scores
        return sigmoid(maps) if is_raw else np.minimum(maps, 1)

    def _masks(self, probabilities: np.ndarray) -> Prediction:
        decision = MaskDecision(**{"threshold": self.info.threshold, **self.info.decision})
        prediction: object = MultiLabelPrediction(
            positive=decision.apply(probabilities),  # type: ignore[typeddict-item]  # arrays here, as in api.predict
            probabilities=probabilities,  # type: ignore[typeddict-item]
        )
        return cast(Prediction, prediction)

    def _instances(self, image: np.ndarray) -> Prediction:
        size = self.info.size
        if size is not None and tuple(size) != image.shape[2:]:
            raise DataError(
                f"{self.place}: takes images of {size[0]}x{size[1]} pixels alone, this one has "
                f"{image.shape[2]}x{image.shape[3]}; resize it, or export with free sizes"
            )
        found = self._outputs(image)
        values = {name: found[name] for name in ("scores", "labels", "boxes", "masks")}
        if values["scores"].ndim == 2:  # with the axis of the batch
            values = {name: value[0] for name, value in values.items()}
        kept = values["scores"] > 0
        labels = values["labels"][kept]
        if labels.size and int(labels.min()) < 0:
            raise DataError(f"{self.place}: gives the label {labels.min()}; export it again")
        self._check_colors(int(labels.max(initial=0)) + 1)
        if 0 < len(self.classes) <= int(labels.max(initial=0)):
            raise DataError(
                f"{self.place}: gives the label {labels.max()}, and names {len(self.classes)} classes; export it again"
            )
        prediction: object = InstancePrediction(
            masks=[encode_mask(mask) for mask in values["masks"][kept]],
            scores=values["scores"][kept].astype(np.float32),  # type: ignore[typeddict-item]
            labels=labels.astype(np.int64),  # type: ignore[typeddict-item]
            boxes=values["boxes"][kept].astype(np.float32),  # type: ignore[typeddict-item]
        )
        return cast(Prediction, prediction)

    def writer(self, folder: Path, *, annotations: str | None = None, score: float = 0.3) -> Writer:
        """Returns what writes predictions as `segkit predict` does; see Runner.writer.

        Args:
            folder: takes the files.
            annotations: of instances: a COCO JSON file that gives results their ids.
            score: of instances: least score of those drawn.
        """
        if self.info.task == "instances":
            from segkit.runners.instances.writer import InstanceWriter

            return InstanceWriter(folder, self.classes, self.palette, annotations=annotations, score=score)
        if self.info.task == "multi_label":
            return MaskWriter(folder, self.classes, self.palette)
        return LabelWriter(folder, self.palette)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits, float32, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over axis 1 of float32 [B,K,H,W]."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def load_exported(path: str | Path, device: str = "cpu", threads: int | None = None) -> GraphModel:
    """Loads an exported graph. torch is not imported.

    Args:
        path: what `segkit export` wrote: .onnx, or .xml of OpenVINO.
        device: "cpu"; of ONNX Runtime also "cuda" and "cuda:N", of OpenVINO its own names.
        threads: of one run, None for all cores.

    Raises:
        ConfigError: the runtime's package or the device is missing, or the graph takes clicks.
        DataError: the file is missing or damaged, or not of `segkit export`.
    """
    session, info = open_graph(path, device, threads)
    if info.task.startswith("clicks"):
        raise ConfigError(
            f"{path}: is one of the two graphs of a click model, which answers clicks; run `segkit serve {path}`, or "
            "load both by segkit.runtime.clicks.load_clicks"
        )
    return GraphModel(session, info, str(path))

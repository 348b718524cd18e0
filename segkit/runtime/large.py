"""Images that are larger than memory, predicted by an exported graph in windows, without torch."""

import dataclasses

import numpy as np

from segkit.registry import ConfigError
from segkit.runners.input_images import Inputs
from segkit.runners.large_band import WINDOW, dtype_of
from segkit.runtime.metadata import GraphInfo
from segkit.runtime.model import GraphModel
from segkit.runtime.windows import as_input, build_maps


class LargeGraph:
    """Predicts large images with a graph of label maps; see large_band.WindowModel.

    The labels are those of GraphModel.predict for a graph with these windows.

    Args:
        model: of load_exported.
        inputs: how images are read.

    Raises:
        ConfigError: the graph does not predict in windows.
    """

    divisor = 1  # the graph pads by itself

    def __init__(self, model: GraphModel, inputs: Inputs):
        info = model.info
        if info.task != "semantic" or info.output == "labels":
            given: str = info.task
            way_out = "cut the image into tiles"
            if info.output == "labels":
                given, way_out = "labels alone", "export it without argmax"
            raise ConfigError(
                f"{model.place}: gives {given}, and windows of large images are joined of logits or probabilities of "
                f"classes; {way_out}"
            )
        if inputs.reading.has_percentiles:
            raise ConfigError(
                f"scale = {inputs.reading.scale}: percentiles are of whole images, and this one is predicted in "
                "windows; give two numbers (segkit analyze values proposes them)"
            )
        self.model, self.inputs = model, inputs
        self.crop, self.stride = window_of_graph(info)
        self.classes, self.num_classes = model.classes, max(len(model.classes), 1)
        self.dtype = dtype_of(self.num_classes)
        self.maps = build_maps(model.run, dataclasses.replace(info, slide=None), model.place)

    def sums(self, height: int, width: int) -> "_Sums":
        """Returns empty sums of a band."""
        return _Sums(self, height, width)


def window_of_graph(info: GraphInfo) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (crop, stride) of the windows of large images, those of the checkpoint as far as the graph takes them."""
    windows = info.slide or info.large or {"crop": [WINDOW, WINDOW], "stride": []}
    crop, stride = windows["crop"], windows["stride"]
    if info.size and (crop[0] > info.size[0] or crop[1] > info.size[1]):
        crop, stride = info.size, []
    stride = stride or [max(side * 2 // 3, 1) for side in crop]
    return (crop[0], crop[1]), (stride[0], stride[1])


class _Sums:
    """See large_band.Sums."""

    def __init__(self, graph: LargeGraph, height: int, width: int):
        self.graph = graph
        self.maps: np.ndarray | None = None  # made by the first window, which knows the number of classes
        self.counts = np.zeros((1, height, width), np.float32)

    def add(self, image: np.ndarray | None, source: str, window: tuple[int, ...], mine: slice, there: slice) -> None:
        """Predicts a window and adds a part of it."""
        self.counts[:, :, there] += 1
        if image is None:
            return
        batch = as_input(image, self.graph.model.info.dtype, source).transpose(2, 0, 1)[None]
        part = self.graph.maps(np.ascontiguousarray(batch))[0]
        if self.maps is None:
            self.maps = np.zeros((len(part), *self.counts.shape[1:]), np.float32)
        self.maps[:, :, there] += part[:, :, mine]

    def move_up(self, rows: int) -> None:
        """Drops the first rows."""
        for maps in (self.maps, self.counts):
            if maps is not None:
                kept = maps.shape[1] - rows
                maps[:, :kept] = maps[:, rows:].copy()
                maps[:, kept:] = 0

    def labels(self, rows: int) -> np.ndarray:
        """Returns the labels of the first rows."""
        if self.maps is None:
            return np.zeros((rows, self.counts.shape[2]), np.uint8)
        return self.graph.model.labels_of(self.maps[None, :, :rows] / self.counts[:, :rows])[0]

"""Segments images by clicks with the two graphs of an exported click model, without torch. H W image."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.files import DataError
from segkit.runtime.metadata import INPUT, GraphInfo
from segkit.runtime.session import Session, open_graph
from segkit.runtime.windows import as_input


class Click(NamedTuple):
    """Row and column in pixels, and whether the click marks the object."""

    y: float
    x: float
    is_positive: bool


class ClickGraphs:
    """Answers clicks with masks: set_image, click, undo, reset, mask; made by load_clicks.

    The contract of segkit.click_predictor, and the same masks as click_predictor(model, zoom=None, flip=False): the
    network sees the whole image, once.

    Args:
        encoder: sees the image.
        decoder: sees what the encoder gives, the clicks, and the mask before the newest.
        info: of the decoder.
        dtype: of the encoder's input.
    """

    def __init__(self, encoder: Session, decoder: Session, info: GraphInfo, dtype: str):
        self._encoder, self._decoder, self._info, self._dtype = encoder, decoder, info, dtype
        self._features: dict[str, np.ndarray] | None = None
        self._size = (0, 0)
        self._states: list[tuple[tuple[Click, ...], np.ndarray]] = []

    def set_image(self, image: np.ndarray) -> None:
        """Starts on an image, and forgets the clicks on the one before.

        Args:
            image: uint8, or float in 0..255, RGB [H,W,3].

        Raises:
            ValueError: the image has another shape, or a size that the graphs do not take.
        """
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image of shape {image.shape}: expected RGB [height,width,3]")
        size = self._info.size
        if size is not None and tuple(size) != image.shape[:2]:
            raise ValueError(
                f"image of {image.shape[0]}x{image.shape[1]} pixels: the graphs take {size[0]}x{size[1]}; resize it"
            )
        batch = np.ascontiguousarray(as_input(image, self._dtype, "image").transpose(2, 0, 1)[None])
        self._features = self._encoder.run({INPUT: batch})
        self._size = (image.shape[0], image.shape[1])
        self.reset()

    def click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """Adds a click and predicts.

        Args:
            y, x: row and column in pixels, counted from 0.
            positive: whether the click marks the object, or what is not part of it.

        Returns:
            The mask, bool [H,W].

        Raises:
            ValueError: there is no image, the click lies outside of it, or it is one more than the graph takes.
        """
        clicks, previous = self._current()
        height, width = self._size
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(f"click at row {y}, column {x}: the image has {height} rows and {width} columns")
        clicks = (*clicks, Click(y, x, bool(positive)))
        inputs = {**(self._features or {}), "clicks": self._rows(clicks)}
        if "previous" in self._decoder.inputs:
            inputs["previous"] = previous[None, None]
        outputs = self._decoder.run({name: value for name, value in inputs.items() if name in self._decoder.inputs})
        maps = outputs[self._info.output][0, 0].astype(np.float32)
        if self._info.output == "logits":
            from segkit.runtime.model import sigmoid

            maps = sigmoid(maps)
        self._states.append((clicks, maps))
        return self.mask

    def _rows(self, clicks: tuple[Click, ...]) -> np.ndarray:
        """float32 [1,P,3] of y, x, sign; rows beyond the clicks are -1 where the graph has a fixed number."""
        room = self._decoder.inputs["clicks"][1]
        if room is not None and len(clicks) > room:
            raise ValueError(f"the graph takes {room} clicks: undo one, reset, or export it for more")
        rows = np.full((1, room or len(clicks), 3), -1, np.float32)
        rows[0, : len(clicks)] = [(click.y, click.x, 1 if click.is_positive else -1) for click in clicks]
        return rows

    def undo(self) -> np.ndarray:
        """Takes back the last click. Returns the mask before it; ValueError where there is no image or no click."""
        self._current()
        if len(self._states) == 1:
            raise ValueError("there is no click to undo")
        self._states.pop()
        return self.mask

    def reset(self) -> None:
        """Forgets all clicks; the image stays."""
        if self._features is None:
            raise ValueError("no image yet: call set_image(image) first")
        self._states = [((), np.zeros(self._size, np.float32))]

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks so far, in order."""
        return self._current()[0]

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [H,W] after the last click, zeros before the first."""
        return self._current()[1]

    @property
    def mask(self) -> np.ndarray:
        """bool [H,W], where the probability is above the threshold of the export."""
        return self.probabilities > np.float32(self._info.threshold)

    def _current(self) -> tuple[tuple[Click, ...], np.ndarray]:
        if not self._states:
            raise ValueError("no image yet: call set_image(image) first")
        return self._states[-1]


def load_clicks(path: str | Path, device: str = "cpu", threads: int | None = None) -> ClickGraphs:
    """Loads the two graphs of a click model. torch is not imported.

    Args:
        path: one of NAME.encoder.onnx and NAME.decoder.onnx, which lie beside each other.
        device, threads: as of load_exported.

    Raises:
        ConfigError, DataError: as of load_exported.
    """
    file = Path(path)
    stem, _, suffix = file.name.rpartition(".")
    if not stem.endswith((".encoder", ".decoder")):
        raise DataError(f"{file}: name the .encoder or the .decoder of a click model, as `segkit export` writes them")
    name = stem.rpartition(".")[0]
    encoder, first = open_graph(file.with_name(f"{name}.encoder.{suffix}"), device, threads)
    decoder, second = open_graph(file.with_name(f"{name}.decoder.{suffix}"), device, threads)
    if (first.task, second.task) != ("clicks_encoder", "clicks_decoder") or first.source != second.source:
        raise DataError(f"{file}: encoder and decoder are not of one click model; export it again")
    return ClickGraphs(encoder, decoder, second, first.dtype)

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


class ClickState(NamedTuple):
    """An image and all that was clicked on it.

    Attributes:
        features: of the encoder, by name.
        size: (H, W).
        external: float32 [H,W], a mask that replaces the last probabilities at every click; None for none.
        clicks: so far, in order.
        probabilities: float32 [H,W] after the last click.
    """

    features: dict[str, np.ndarray]
    size: tuple[int, int]
    external: np.ndarray | None
    clicks: tuple[Click, ...]
    probabilities: np.ndarray


class ClickGraphs:
    """Answers clicks with masks: set_image, set_mask, click, undo, reset, mask; made by load_clicks.

    The contract of segkit.click_predictor, and the same masks as click_predictor(model, zoom=None, flip=False): the
    network sees the whole image, once.

    Args:
        encoder: sees the image.
        decoder: sees what the encoder gives, the clicks, and the mask before the newest.
        info: of the decoder.
        dtype: of the encoder's input.

    Attributes:
        info: of the decoder.
    """

    def __init__(self, encoder: Session, decoder: Session, info: GraphInfo, dtype: str):
        self.info = info
        self._encoder, self._decoder, self._dtype = encoder, decoder, dtype
        self._states: list[ClickState] = []

    def set_image(self, image: np.ndarray) -> None:
        """Starts on an image, and forgets the clicks on the one before.

        Args:
            image: uint8, or float in 0..255, RGB [H,W,3].

        Raises:
            ValueError: the image has another shape, or a size that the graphs do not take.
        """
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image of shape {image.shape}: expected RGB [height,width,3]")
        size = self.info.size
        if size is not None and tuple(size) != image.shape[:2]:
            raise ValueError(
                f"image of {image.shape[0]}x{image.shape[1]} pixels: the graphs take {size[0]}x{size[1]}; resize it"
            )
        batch = np.ascontiguousarray(as_input(image, self._dtype, "image").transpose(2, 0, 1)[None])
        height, width = image.shape[:2]
        empty = np.zeros((height, width), np.float32)
        self._states = [ClickState(self._encoder.run({INPUT: batch}), (height, width), None, (), empty)]

    def set_mask(self, mask: np.ndarray) -> None:
        """Starts from a mask, and forgets the clicks; the network sees it at every click until `reset` or `set_image`.

        Args:
            mask: bool or integer [H,W], the object above 0; or float, probabilities.

        Raises:
            ValueError: there is no image, the mask has another size, or the graph reads no previous mask.
        """
        state = self.session
        if mask.shape != state.size:
            raise ValueError(f"mask of {mask.shape} pixels for an image of {state.size}")
        if not self.takes_masks:
            raise ValueError("this model reads no previous mask: start from clicks")
        external = np.ascontiguousarray(mask if mask.dtype.kind == "f" else mask > 0, np.float32)
        self._states = [ClickState(state.features, state.size, external, (), external)]

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
        state = self.session
        height, width = state.size
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(f"click at row {y}, column {x}: the image has {height} rows and {width} columns")
        clicks = (*state.clicks, Click(y, x, bool(positive)))
        inputs = {**state.features, "clicks": self._rows(clicks)}
        if self.takes_masks:
            inputs["previous"] = (state.probabilities if state.external is None else state.external)[None, None]
        outputs = self._decoder.run({name: value for name, value in inputs.items() if name in self._decoder.inputs})
        maps = outputs[self.info.output][0, 0].astype(np.float32)
        if self.info.output == "logits":
            from segkit.runtime.model import sigmoid

            maps = sigmoid(maps)
        self._states.append(state._replace(clicks=clicks, probabilities=maps))
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
        if not self.session.clicks or len(self._states) == 1:
            raise ValueError("there is no click to undo")
        self._states.pop()
        return self.mask

    def reset(self) -> None:
        """Forgets all clicks and an external mask; the image stays."""
        state = self.session
        empty = np.zeros(state.size, np.float32)
        self._states = [state._replace(external=None, clicks=(), probabilities=empty)]

    @property
    def session(self) -> ClickState:
        """The image and all that was clicked on it; `resume` goes back to it."""
        if not self._states:
            raise ValueError("no image yet: call set_image(image) first")
        return self._states[-1]

    def resume(self, state: ClickState) -> None:
        """Goes on from a state of `session`, on any image; what was clicked since can no longer be undone."""
        self._states = [state]

    @property
    def takes_masks(self) -> bool:
        """Whether `set_mask` can be called."""
        return "previous" in self._decoder.inputs

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks so far, in order."""
        return self.session.clicks

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [H,W] after the last click; before the first those of the external mask, or zeros."""
        return self.session.probabilities

    @property
    def mask(self) -> np.ndarray:
        """bool [H,W], where the probability is above the threshold of the export."""
        return self.probabilities > np.float32(self.info.threshold)


def is_click_graph(path: str | Path) -> bool:
    """Returns whether a path is named as one of the two graphs of a click model."""
    return Path(path).stem.lower().endswith((".encoder", ".decoder"))


def click_graphs(path: str | Path) -> list[Path]:
    """Returns the encoder and the decoder of a click model; path: one of them, see is_click_graph."""
    file = Path(path)
    name = Path(file.stem).stem
    return [file.with_name(f"{name}.{part}{file.suffix}") for part in ("encoder", "decoder")]


def load_clicks(path: str | Path, device: str = "cpu", threads: int | None = None) -> ClickGraphs:
    """Loads the two graphs of a click model. torch is not imported.

    Args:
        path: one of NAME.encoder.onnx and NAME.decoder.onnx, which lie beside each other.
        device, threads: as of load_exported.

    Raises:
        ConfigError, DataError: as of load_exported.
    """
    if not is_click_graph(path):
        raise DataError(f"{path}: name the .encoder or the .decoder of a click model, as `segkit export` writes them")
    (encoder, first), (decoder, second) = [open_graph(file, device, threads) for file in click_graphs(path)]
    if (first.task, second.task) != ("clicks_encoder", "clicks_decoder") or first.source != second.source:
        raise DataError(f"{path}: encoder and decoder are not of one click model; export it again")
    return ClickGraphs(encoder, decoder, second, first.dtype)

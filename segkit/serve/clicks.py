"""A click model behind a server: an image and all clicks on it come with each request, and no session is held.

What was computed of the images and answers used last is kept, so that one more click costs one pass of the decoder.
H W image.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from segkit.runners.input_images import Inputs
from segkit.serve.recent import Recent
from segkit.types import Color

KEPT_IMAGES, KEPT_ANSWERS = 8, 32
"""Images and answers that are kept at most; others are computed again."""

KEPT_PIXELS = 40_000_000
"""Pixels of all images that are kept, and of all answers; the newest is kept whatever its size."""

MOST_CLICKS = 100
"""Clicks of one request at most."""

Wanted = tuple[float, float, bool]
"""A click: row and column in pixels, and whether it marks the object."""


class Clicker(Protocol):
    """What ClickPredictor and ClickGraphs have in common; see there."""

    def set_image(self, image: np.ndarray) -> None:
        """Starts on an image."""

    def set_mask(self, mask: np.ndarray) -> None:
        """Starts from a mask."""

    def click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """Adds a click and predicts."""

    def resume(self, session: Any, /) -> None:
        """Goes on from a state of `session`."""

    @property
    def session(self) -> Any:
        """An image and all that was clicked on it, which a click does not change."""

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [H,W] after the last click."""

    @property
    def mask(self) -> np.ndarray:
        """bool [H,W]."""


class Clicked(NamedTuple):
    """An answer.

    Attributes:
        image: as read, uint8 or float32 [H,W,3].
        mask: bool [H,W].
        probabilities: float32 [H,W].
    """

    image: np.ndarray
    mask: np.ndarray
    probabilities: np.ndarray


class _Kept(NamedTuple):
    """An image, or an answer on it; `state` is a Clicker's session."""

    image: np.ndarray
    state: Any


class ClickModel:
    """Answers clicks on images by one model, one request at a time.

    Args:
        clicker: of segkit.click_predictor or runtime.clicks.load_clicks.
        inputs: how images are read.
        share: takes a state before any click and one after; lets the first have what was computed of the image alone.
            None for a clicker whose states have that from the start.

    Attributes:
        kind: "clicks".
        classes: none.
        palette: none.
        encoded: images that were read so far.
        passes: clicks that were computed so far.
    """

    kind: Literal["clicks"] = "clicks"
    classes: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()

    def __init__(self, clicker: Clicker, inputs: Inputs, share: Callable[[Any, Any], None] | None = None):
        self.inputs = inputs
        self.encoded, self.passes = 0, 0
        self._clicker, self._share = clicker, share
        self._lock = threading.Lock()
        self._images: Recent[_Kept] = Recent(KEPT_IMAGES)
        self._answers: Recent[_Kept] = Recent(KEPT_ANSWERS)

    def answer(self, content: bytes, clicks: Sequence[Wanted], mask: np.ndarray | None = None) -> Clicked:
        """Answers all clicks on an image, each on the answer to those before it, as click_predictor does.

        Args:
            content: of an image file.
            clicks: in the order in which they were made, one or more.
            mask: bool [H,W], to start from; see ClickPredictor.set_mask.

        Raises:
            ValueError, DataError: the image cannot be read, a click lies outside of it, or the model takes no mask or
                not so many clicks.
        """
        key = hashlib.sha256(content).digest()
        start = None if mask is None else (mask.shape, hashlib.sha256(mask.tobytes()).digest())
        with self._lock:
            base = self._image(key, content)
            count, state = self._latest(key, start, tuple(clicks))
            if state is None:
                self._clicker.resume(base.state)
                if mask is not None:
                    self._clicker.set_mask(mask)
                    self._let_have(self._clicker.session, base.state)
            else:
                self._clicker.resume(state)
            for y, x, is_positive in clicks[count:]:
                self._clicker.click(y, x, is_positive)
                self.passes += 1
            answered = self._clicker.session
            if state is None:
                self._let_have(base.state, answered)
            self._keep(self._answers, (key, start, tuple(clicks)), _Kept(base.image, answered))
            return Clicked(base.image, self._clicker.mask, self._clicker.probabilities)

    def _image(self, key: bytes, content: bytes) -> _Kept:
        """The state of an image before any click."""
        kept = self._images.use(key)
        if kept is None:
            image = self.inputs.read("the image", content)
            self._clicker.set_image(image)
            self.encoded += 1
            kept = _Kept(image, self._clicker.session)
            self._keep(self._images, key, kept)
        return kept

    def _latest(self, key: bytes, start: tuple | None, clicks: tuple[Wanted, ...]) -> tuple[int, Any]:
        """The longest beginning of the clicks whose answer is kept; 0 and None where there is none."""
        for count in range(len(clicks), 0, -1):
            kept = self._answers.use((key, start, clicks[:count]))
            if kept is not None:
                return count, kept.state
        return 0, None

    def _let_have(self, state: Any, other: Any) -> None:
        if self._share is not None:
            self._share(state, other)

    @staticmethod
    def _keep(store: Recent[_Kept], key: object, kept: _Kept) -> None:
        store.keep(key, kept)
        while len(store) > 1 and sum(one.image.shape[0] * one.image.shape[1] for one in store.values()) > KEPT_PIXELS:
            store.popitem(last=False)

"""A click model that helps to annotate: what it has seen of an image and answered on an object is kept.

It sees an image of up to VIEW pixels a side as a whole, in its own pixels: the answers are then those of
segkit.click_predictor to the same clicks. Of a larger one it sees the part around the object, reduced to that size. H W
image, h w what the model sees.
"""

import copy
import threading

import numpy as np

from segkit.annotate.edits import EditError
from segkit.annotate.objects import Click, Prompt
from segkit.annotate.pixels import Pixels
from segkit.annotate.region import EMPTY, Box, Region, around, region_of_bits
from segkit.runners.interactive.predictor import ClickPredictor
from segkit.runners.interactive.session import Session
from segkit.serve.recent import Recent

VIEW = 1024
"""Longer side in pixels of what the model sees."""

LEAST = 384
"""Shorter side in pixels of the image of the part that the model sees, where the image has as many."""

MARGIN = 0.2
"""Share of an object's sides that the model sees beside it."""

KEPT_IMAGES, KEPT_ANSWERS = 4, 32
"""Views and answers whose sessions are kept; others are computed again."""

BLOCK = 1 << 22
"""Pixels of a mask that are decided at once."""


class Probabilities:
    """The probabilities that a model gives to a part of an image.

    Args:
        values: float32 [h,w].
        view: the part of the image.
    """

    def __init__(self, values: np.ndarray, view: Box):
        self.values, self.view = values, view

    def mask(self, threshold: float) -> Region:
        """Returns the pixels above a threshold; those of a view that was reduced are interpolated linearly."""
        x0, y0, x1, y1 = self.view
        columns = np.arange(x0 // 8 * 8, x1)
        count = max(1, BLOCK // len(columns))
        rows = []
        for top in range(y0, y1, count):
            above = self.at(np.arange(top, min(top + count, y1)), columns) > threshold
            above[:, : x0 - columns[0]] = False
            rows.append(np.packbits(above, axis=1))
        return region_of_bits(np.concatenate(rows), int(columns[0]), y0) if rows else EMPTY

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Returns the probabilities of rows and columns of the image, float32 [n,m]; 0 outside of the view."""
        x0, y0, x1, y1 = self.view
        is_inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
        height, width = self.values.shape
        if (height, width) == (y1 - y0, x1 - x0):
            found = self.values[np.ix_(np.clip(rows - y0, 0, height - 1), np.clip(columns - x0, 0, width - 1))]
            return np.where(is_inside, found, np.float32(0))
        (top, bottom, down), (left, right, across) = (
            _between(rows - y0, y1 - y0, height),
            _between(columns - x0, x1 - x0, width),
        )
        lines = self.values[top] * (1 - down)[:, None] + self.values[bottom] * down[:, None]
        found = lines[:, left] * (1 - across) + lines[:, right] * across
        return np.where(is_inside, found, np.float32(0))


def _between(positions: np.ndarray, length: int, reduced: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels of a reduced side between which positions lie, and the weight of the second."""
    place = np.clip((positions + 0.5) * (reduced / length) - 0.5, 0, reduced - 1)
    first = np.floor(place).astype(np.int64)
    return first, np.minimum(first + 1, reduced - 1), (place - first).astype(np.float32)


class Assistant:
    """Answers clicks and boxes on many images by one model.

    Args:
        predictor: of segkit.api.click_predictor.
        name: of the model, for the page.
    """

    def __init__(self, predictor: ClickPredictor, name: str):
        self.name = name
        self.has_box, self.has_mask_start = predictor.takes_boxes, predictor.takes_masks
        self.threshold = float(predictor.settings.threshold)
        self._predictor = predictor
        self._shares_look = predictor.settings.brs is None
        self._lock = threading.Lock()
        self._images: Recent[Session] = Recent(KEPT_IMAGES)
        self._answers: Recent[Session] = Recent(KEPT_ANSWERS)

    def helper(self, key: str, pixels: Pixels) -> "ImageHelper":
        """Returns the model's view of an image; key: its id."""
        return ImageHelper(self, key, pixels)

    def prepare(self, key: str, pixels: Pixels) -> None:
        """Does the work on an image that does not depend on clicks, where the model sees it as a whole."""
        height, width = pixels.size
        view = (0, 0, width, height)
        if view != whole_or_part(view, None, pixels.size):
            pixels.at_level(0, (0, 0, 1, 1))
            return
        with self._lock:
            base = self._base(key, pixels, view)
            if base.look is None and self._shares_look:
                self._predictor.resume(copy.copy(base))
                self._predictor.click(height // 2, width // 2)
                self._share(base, self._predictor.session)

    def answer(self, key: str, pixels: Pixels, prompt: Prompt) -> Probabilities:
        """Answers clicks or a box.

        Args:
            key: of the image.
            pixels: of the image.
            prompt: what is asked.

        Raises:
            EditError: the model takes no such prompt.
        """
        place = (key, prompt.view, None if prompt.start is None else prompt.start.bits, prompt.box)
        with self._lock:
            try:
                session = self._session(place, key, pixels, prompt)
            except ValueError as error:
                raise EditError(str(error)) from error
            return Probabilities(session.probabilities[0, 0].cpu().numpy(), prompt.view)

    def _session(self, place: tuple, key: str, pixels: Pixels, prompt: Prompt) -> Session:
        """The session after all clicks, from the latest state that is kept."""
        count, session = self._latest(place, prompt.clicks)
        base = None
        if session is None:
            base = self._base(key, pixels, prompt.view)
            session = self._begun(base, prompt)
        self._predictor.resume(session)
        for i, click in enumerate(prompt.clicks[count:], count + 1):
            y, x = _position(click, prompt.view, self._predictor.session.size)
            self._predictor.click(y, x, click.positive)
            self._answers.keep((place, prompt.clicks[:i]), self._predictor.session)
        if base is not None:
            self._share(base, self._predictor.session)
            self._answers.keep((place, prompt.clicks), self._predictor.session)
        return self._predictor.session

    def _latest(self, place: tuple, clicks: tuple[Click, ...]) -> tuple[int, Session | None]:
        for count in range(len(clicks), -1, -1):
            session = self._answers.use((place, clicks[:count]))
            if session is not None:
                return count, session
        return 0, None

    def _base(self, key: str, pixels: Pixels, view: Box) -> Session:
        """The session of a view before any click."""
        session = self._images.use((key, view))
        if session is None:
            self._predictor.set_image(np.array(pixels.view(view, seen_size(view))))
            session = self._predictor.session
            self._images.keep((key, view), session)
        return session

    def _begun(self, base: Session, prompt: Prompt) -> Session:
        """The session before the first click: with the mask or the box that it starts from."""
        self._predictor.resume(copy.copy(base))
        (height, width), (x0, y0, x1, y1) = base.size, prompt.view
        if prompt.start is not None:
            rows = y0 + (np.arange(height) * 2 + 1) * (y1 - y0) // (2 * height)
            columns = x0 + (np.arange(width) * 2 + 1) * (x1 - x0) // (2 * width)
            self._predictor.set_mask(prompt.start.at(rows, columns))
            self._predictor.session.share(base)
        if prompt.box is not None and self.has_box:
            down, across = height / (y1 - y0), width / (x1 - x0)
            left, top, right, bottom = prompt.box
            self._predictor.set_box(
                max(0.0, (top - y0) * down),
                max(0.0, (left - x0) * across),
                min(float(height), (bottom - y0) * down),
                min(float(width), (right - x0) * across),
            )
        return self._predictor.session

    def _share(self, base: Session, answered: Session) -> None:
        """Keeps what the network computed of the image alone for the next object on it."""
        if self._shares_look:
            base.share(answered)


class ImageHelper:
    """A click model that looks at one image; see edits.Helper.

    Args:
        assistant: the model.
        key: of the image.
        pixels: of the image.
    """

    def __init__(self, assistant: Assistant, key: str, pixels: Pixels):
        self._assistant, self._key, self._pixels = assistant, key, pixels
        self.has_box, self.has_mask_start = assistant.has_box, assistant.has_mask_start
        self.threshold = assistant.threshold

    def view(self, inner: Box, seen: Box | None) -> Box:
        """Chooses the part of the image that the model sees; see whole_or_part."""
        return whole_or_part(inner, seen, self._pixels.size)

    def answer(self, prompt: Prompt) -> Probabilities:
        """Answers clicks and boxes; see Assistant.answer."""
        return self._assistant.answer(self._key, self._pixels, prompt)


def whole_or_part(inner: Box, seen: Box | None, size: tuple[int, int]) -> Box:
    """Chooses the part of an image that a model sees.

    Args:
        inner: what lies in it.
        seen: what the user looks at; None for a square of VIEW pixels around `inner`.
        size: (H, W) of the image.

    Returns:
        The whole image where it has at most VIEW pixels a side.
    """
    height, width = size
    if max(height, width) <= VIEW:
        return 0, 0, width, height
    margins = [round(MARGIN * (inner[i + 2] - inner[i])) for i in (0, 1)]
    wide = (inner[0] - margins[0], inner[1] - margins[1], inner[2] + margins[0], inner[3] + margins[1])
    box = around([wide] if seen is None else [wide, _inside(seen, size)])
    least = VIEW if seen is None else LEAST
    x0, x1 = _widened(box[0], box[2], least, width)
    y0, y1 = _widened(box[1], box[3], least, height)
    return x0, y0, x1, y1


def _inside(box: Box, size: tuple[int, int]) -> Box:
    return max(box[0], 0), max(box[1], 0), min(box[2], size[1]), min(box[3], size[0])


def _widened(low: int, high: int, least: int, length: int) -> tuple[int, int]:
    """A span of at least so many pixels, moved into 0..length."""
    missing = max(0, least - (high - low))
    low, high = low - missing // 2, high + missing - missing // 2
    if low < 0:
        low, high = 0, high - low
    if high > length:
        low, high = low - (high - length), length
    return max(0, low), min(length, high)


def seen_size(view: Box) -> tuple[int, int]:
    """Returns (h, w) of what the model sees of a view: its size, reduced to VIEW pixels a side where it is larger."""
    height, width = view[3] - view[1], view[2] - view[0]
    longer = max(height, width)
    if longer <= VIEW:
        return height, width
    return max(1, round(height * VIEW / longer)), max(1, round(width * VIEW / longer))


def _position(click: Click, view: Box, size: tuple[int, int]) -> tuple[float, float]:
    """Row and column of a click in what the model sees: those of the pixel that it falls into."""
    place = []
    for value, low, high, length in ((click.y, view[1], view[3], size[0]), (click.x, view[0], view[2], size[1])):
        if length == high - low:
            place.append(float(int(value) - low))
        else:
            place.append(min(max((value - low) * length / (high - low) - 0.5, 0.0), length - 1.0))
    return place[0], place[1]

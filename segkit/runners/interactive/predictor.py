"""Segments one image after another by clicks, for programs that show the mask to a user.

Section 3 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. H W image.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch

from segkit.data.transforms.way_back import for_network
from segkit.models.bases import Network
from segkit.ops.interactive.progressive_merge import merge_at
from segkit.runners.interactive.advance import Advance, is_prompted
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.session import Session
from segkit.settings import ClickInference
from segkit.types import Meta, Sample


class ClickPredictor:
    """Segments one image after another by clicks; made by segkit.api.click_predictor.

    `undo` goes back over any number of clicks.

    Args:
        model: in evaluation mode.
        settings: section inference.clicks.
        transforms: applied to each image; they leave its pixels where they are.
    """

    def __init__(self, model: Network, settings: ClickInference, transforms: Sequence[Callable] = ()):
        self._advance = Advance(model, settings)
        self._settings, self._device = settings, model.mean.device
        self._transforms = tuple(transforms)
        self._session: Session | None = None
        self._past: list[Session] = []

    def set_image(self, image: np.ndarray) -> None:
        """Starts on an image, and forgets the clicks on the one before.

        Args:
            image: uint8, or float in 0..255, RGB [H,W,3].

        Raises:
            ValueError: the image has another shape.
        """
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image of shape {image.shape}: expected RGB [height,width,3]")
        height, width = image.shape[:2]
        sample = Sample(image=image, meta=Meta(id="image", path="image", size=(height, width)))
        # padding is cut off, as in evaluation
        image = for_network(sample, self._transforms, np.random.default_rng(0))["image"][:height, :width]
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)
        self._session, self._past = Session(tensor), []

    def set_mask(self, mask: np.ndarray) -> None:
        """Starts from a mask, and forgets the clicks.

        The network sees this mask, in place of its own last one, at every click until `reset` or `set_image`. It
        predicts twice after the first click, so that the zoom follows a prediction. Both as in the published demo.

        With `merge` in the settings (progressive merge of FocalClick) the network sees it at the first click alone, and
        each click takes over only the changed region that it lies on: all else of the mask stays.

        Args:
            mask: bool or integer [H,W], the object above 0; or float, probabilities.

        Raises:
            ValueError: there is no image, the mask has another size, or the model reads no previous mask.
        """
        session = self._current()
        if mask.shape != session.size:
            raise ValueError(f"mask of {mask.shape} pixels for an image of {session.size}")
        if not self.takes_masks:
            raise ValueError("this model reads no previous mask (model.previous_mask = False): start from clicks")
        values = mask if mask.dtype.kind == "f" else mask > 0
        external = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._device)
        begun = (
            Session(session.image[0], start=external) if self._settings.merge else Session(session.image[0], external)
        )
        self._session, self._past = begun, []

    def set_box(self, y0: float, x0: float, y1: float, x1: float) -> np.ndarray:
        """Gives the object's box to a promptable network, which keeps it for all clicks that follow, and predicts.

        Args:
            y0, x0: first row and column in pixels.
            y1, x1: last row and column.

        Returns:
            The mask, bool [H,W].

        Raises:
            ValueError: there is no image, the box is empty or leaves the image, or the model takes no boxes.
        """
        session = self._current()
        height, width = session.size
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise ValueError(
                f"box of rows {y0} to {y1}, columns {x0} to {x1}: the image has {height} rows and {width} columns"
            )
        if not self.takes_boxes:
            raise ValueError("this model takes no boxes (model.type is not PromptModel): start from clicks")
        following = copy.copy(session)
        following.prompt_box = (y0, x0, y1, x1)
        self._advance([following])
        self._past.append(session)
        self._session = following
        return self.mask

    def click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """Adds a click and predicts.

        Args:
            y: row in pixels, counted from 0.
            x: column in pixels, counted from 0.
            positive: whether the click marks the object, or what is not part of it.

        Returns:
            The mask, bool [H,W].

        Raises:
            ValueError: there is no image, the click lies outside of it, or it is one more than `clicks_limit`, which
                the network would not see.
        """
        session = self._current()
        (height, width), limit = session.size, self._settings.clicks_limit
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(f"click at row {y}, column {x}: the image has {height} rows and {width} columns")
        if limit is not None and len(session.clicks) >= limit and self._settings.brs is None:
            raise ValueError(f"the network takes {limit} clicks (clicks_limit): undo one, reset, or raise the limit")
        is_first_on_mask = session.external is not None and not session.clicks
        following = copy.copy(session)
        following.add(Click(y, x, bool(positive)))
        for _ in range(1 + is_first_on_mask):
            self._advance([following])
        if following.has_start:
            changed = _mask_of(following, self._settings.threshold)
            before = _mask_of(session, self._settings.threshold)
            mask = merge_at(changed, before, int(y), int(x), moves_rest=self._settings.merge_rest)
            following.shown = torch.from_numpy(mask)[None, None].to(following.probabilities)
        self._past.append(session)
        self._session = following
        return self.mask

    def undo(self) -> np.ndarray:
        """Takes back the last click and all that followed from it.

        Returns:
            The mask before it, bool [H,W].

        Raises:
            ValueError: there is no image, or no click.
        """
        self._current()
        if not self._past:
            raise ValueError("there is no click to undo")
        self._session = self._past.pop()
        return self.mask

    def reset(self) -> None:
        """Forgets all clicks and an external mask; the image stays."""
        self._session, self._past = Session(self._current().image[0]), []

    @property
    def session(self) -> Session:
        """The image and all that was clicked on it; `resume` goes back to it. It is not to be changed."""
        return self._current()

    def resume(self, session: Session) -> None:
        """Goes on from a session of this predictor; what was clicked since can no longer be undone.

        Args:
            session: of `session`, on any image.
        """
        self._session, self._past = session, []

    @property
    def takes_boxes(self) -> bool:
        """Whether `set_box` can be called."""
        return is_prompted(self._advance.model)

    @property
    def takes_masks(self) -> bool:
        """Whether `set_mask` can be called."""
        return bool(self._advance.model.has_previous)

    @property
    def settings(self) -> ClickInference:
        """Section inference.clicks, as it is used."""
        return self._settings

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks so far, in order."""
        return self._current().clicks

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [H,W]; before the first click those of the external mask, or zeros."""
        session = self._current()
        shown = session.probabilities
        if session.external is not None and not session.clicks:
            shown = session.external
        return shown[0, 0].cpu().numpy()

    @property
    def mask(self) -> np.ndarray:
        """bool [H,W], where the probability is above the settings' threshold; with `merge` the merged mask."""
        session = self._current()
        if session.shown is None:
            return self.probabilities > self._settings.threshold
        return _mask_of(session, self._settings.threshold)

    def _current(self) -> Session:
        if self._session is None:
            raise ValueError("no image yet: call set_image(image) first")
        return self._session


def _mask_of(session: Session, threshold: float) -> np.ndarray:
    """The mask after the last click, merged where it is; before the first that which the session starts from."""
    return (session.enclosed[0, 0] > threshold).cpu().numpy()

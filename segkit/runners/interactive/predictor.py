"""From clicks to a mask: one image, or many at once.

Section 3 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. B batch, P clicks per sign, H W image, h w what the
network sees of it.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segkit.click_settings import ClickInference, ZoomSettings
from segkit.layers import resize
from segkit.registry import ConfigError
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.zoom import Box, View, boxes_above, choose_box, view_of, wants_second_pass, whole


class Session:
    """One image and what its clicks came to. Values are replaced, never changed in place: a copy is a point to go back
    to.

    image: uint8, or float in 0..255, RGB [3,H,W]; external: float [H,W], a mask that stands for the previous
    prediction at every click. Held: clicks in order; probabilities float32 [1,1,H,W] of the last click, zeros before
    the first; box of the zoom, None for none; memory of a refinement.
    """

    def __init__(self, image: Tensor, external: Tensor | None = None):
        self.image = image[None]
        self.size: tuple[int, int] = tuple(image.shape[-2:])
        self.external = external if external is None else external[None, None]
        self.clicks: tuple[Click, ...] = ()
        self.probabilities = torch.zeros(1, 1, *self.size, device=image.device)
        self.box: Box | None = None
        self.place: Box = whole(self.size)
        self.view: View | None = None
        self.seen: Tensor | None = None
        self.memory: object | None = None

    def add(self, click: Click) -> None:
        self.clicks = (*self.clicks, click)

    def release(self) -> None:
        """Lets go of what only another click would need."""
        self.view = self.seen = self.memory = None

    @property
    def first_order(self) -> int:
        """Order of the first click: an external mask counts as a click before it."""
        return 0 if self.external is None else 1

    def look(self, view: View, place: Box, model: nn.Module, is_flipped: bool) -> bool:
        """Sets what the network sees, normalised, the mirrored copy beside it -> whether that is new."""
        self.place = place
        if view == self.view:
            return False
        image = self.image if view.sizes == (self.size,) else view.apply(self.image.float())
        self.view, self.seen = view, with_mirrored(model.normalise(image), is_flipped)
        return True


def with_mirrored(x: Tensor, is_flipped: bool) -> Tensor:
    """[B,C,h,w] -> [2B,C,h,w], the mirrored copies last; x itself where none are wanted."""
    return torch.cat([x, x.flip(-1)]) if is_flipped else x


def merge_mirrored(logits: Tensor) -> Tensor:
    """[2,1,h,w] -> [1,1,h,w], mean of the first and the second mirrored back."""
    return (logits[:1] + logits[1:].flip(-1)) * 0.5


class Advance:
    """Answers the last click of each of many sessions. model: in evaluation mode, on the sessions' device.

    Sessions that give the network inputs of one size share one forward, mirrored copies included; sizes are never
    made equal by padding, since padding changes predictions at the border.
    """

    def __init__(self, model: nn.Module, settings: ClickInference):
        check_takes_clicks(model)
        self.model, self.settings = model, settings
        self.zoom = None if settings.zoom is None else ZoomSettings(**settings.zoom)

    @torch.no_grad()
    def __call__(self, sessions: Sequence[Session]) -> None:
        """Sets `probabilities` of every session."""
        previous = [s.probabilities if s.external is None else s.external for s in sessions]
        self._pass(sessions, previous)
        if self.zoom is not None and self.zoom.skip == 0:
            fresh = [i for i, s in enumerate(sessions) if s.box is None]
            masks = boxes_above([sessions[i].probabilities for i in fresh], self.zoom.threshold)
            small = [i for i, m in zip(fresh, masks) if wants_second_pass(m, sessions[i].size, self.zoom)]
            self._pass([sessions[i] for i in small], [previous[i] for i in small])

    def _pass(self, sessions: Sequence[Session], previous: Sequence[Tensor]) -> None:
        self._zoom_in(sessions)
        groups: dict[tuple, list[int]] = {}
        for i, session in enumerate(sessions):
            groups.setdefault(session.view.input_size, []).append(i)
        for members in groups.values():
            own = [sessions[i] for i in members]
            logits = self._logits(own, [previous[i] for i in members])
            for session, one in zip(own, logits):
                session.probabilities = session.view.restore(one.sigmoid(), session.size, session.place)

    def _zoom_in(self, sessions: Sequence[Session]) -> None:
        masks: dict[int, Box | None] = {}
        if self.zoom is not None:
            asked = [i for i, s in enumerate(sessions) if s.view is not None and len(s.clicks) > self.zoom.skip]
            found = boxes_above([sessions[i].probabilities for i in asked], self.zoom.threshold)
            masks = dict(zip(asked, found))
        for i, session in enumerate(sessions):
            box, stored = None, session.box
            if self.zoom is not None:
                box = choose_box(stored, masks.get(i), session.clicks, session.size, self.zoom)
            # the published zoom keeps the old box when the mask has become empty, and pastes the result into it
            session.box = stored if box is None and self.settings.stale_roi else box
            view = view_of(box, session.size, self.zoom, self.settings.limit)
            session.look(view, session.box or view.box, self.model, self.settings.flip)

    def _logits(self, sessions: Sequence[Session], previous: Sequence[Tensor]) -> list[Tensor]:
        """-> float32 [1,1,h,w] each, mirrored copies merged, at the size of the network's input."""
        flip, size = self.settings.flip, sessions[0].view.input_size
        shown = None
        if getattr(self.model, "has_previous", True):
            shown = torch.cat([with_mirrored(s.view.apply(p), flip) for s, p in zip(sessions, previous)])
        clicks = [self._moved(session) for session in sessions]
        points = click_rows([row for rows in clicks for row in rows], sessions[0].image.device)
        seen = torch.cat([session.seen for session in sessions]) if len(sessions) > 1 else sessions[0].seen
        logits = self.model.run(seen, self.model.guidance(points, size, shown))["logits"].float()
        # a resize with aligned corners is symmetric, so that the mean of both copies is resized once
        ones = [merge_mirrored(pair) for pair in logits.split(2)] if flip else logits.split(1)
        return [resize(one, size=size, align_corners=self.model.align_corners) for one in ones]

    def _moved(self, session: Session) -> list[list[tuple[Click, int]]]:
        """The clicks the network sees with their orders: of the image, and of its mirrored copy."""
        kept = session.clicks[: self.settings.clicks_limit]
        rows = [(click, session.first_order + i) for i, click in enumerate(session.view.move(kept))]
        if not self.settings.flip:
            return [rows]
        width = session.view.input_size[1]
        return [rows, [(Click(c.y, width - c.x - 1, c.is_positive), order) for c, order in rows]]


def advance(model: nn.Module, sessions: Sequence[Session], settings: ClickInference) -> list[Tensor]:
    """Answers the last click of each session -> float32 [H,W] probabilities, on the model's device."""
    Advance(model, settings)(sessions)
    return [session.probabilities[0, 0] for session in sessions]


def click_rows(clicks: Sequence[Sequence[tuple[Click, int]]], device: torch.device) -> Tensor:
    """Clicks with their orders, for each of B images -> float32 [B,2P,3] of y, x, order, positive ones first, empty
    rows -1; P is the largest number of one sign, at least 1."""
    signs = [[[(c.y, c.x, order) for c, order in rows if c.is_positive == sign] for sign in (True, False)]
             for rows in clicks]  # fmt: skip
    most = max(1, max(len(rows) for pair in signs for rows in pair))
    table = np.full((len(clicks), 2, most, 3), -1.0, np.float32)
    for b, pair in enumerate(signs):
        for k, rows in enumerate(pair):
            if rows:
                table[b, k, : len(rows)] = rows
    return torch.from_numpy(table.reshape(len(clicks), 2 * most, 3)).to(device)


def check_takes_clicks(model: nn.Module) -> None:
    """Raises ConfigError for a model without click input."""
    if not all(callable(getattr(model, name, None)) for name in ("normalise", "guidance", "run")):
        raise ConfigError(
            f"{type(model).__name__} takes no clicks: set model.type = 'ClickSegmentor' and train it with "
            "runner = dict(type='Interactive')"
        )


class ClickPredictor:
    """Clicks on one image after another; `undo` goes back over any number of clicks.

    A mask is bool [H,W], probabilities are float32 [H,W]. Made by segkit.api.click_predictor.
    """

    def __init__(self, model: nn.Module, settings: ClickInference):
        self._advance = Advance(model, settings)
        self._settings, self._device = settings, model.mean.device
        self._session: Session | None = None
        self._past: list[Session] = []

    def set_image(self, image: np.ndarray) -> None:
        """image: uint8, or float in 0..255, RGB [H,W,3]. Forgets the clicks of the image before."""
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image of shape {image.shape}: expected RGB [height,width,3]")
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)
        self._session, self._past = Session(tensor), []

    def set_mask(self, mask: np.ndarray) -> None:
        """mask: bool, integer or float [H,W], above 0 (float: a probability) being the object; starts from it.

        Forgets the clicks. The network sees this mask, in place of its own last one, at every click until `reset` or
        `set_image`; the first click is answered twice, so that the zoom goes by a prediction. As in the published demo.
        """
        session = self._current()
        if mask.shape != session.size:
            raise ValueError(f"mask of {mask.shape} pixels for an image of {session.size}")
        if not getattr(self._advance.model, "has_previous", True):
            raise ValueError("this model reads no previous mask (model.previous_mask = False): start from clicks")
        values = mask if mask.dtype.kind == "f" else mask > 0
        external = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._device)
        self._session, self._past = Session(session.image[0], external), []

    def click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """A click at row y, column x, counted from 0 -> the mask. Raises ValueError for a click outside the image or
        one more than `clicks_limit`, which the network would not see."""
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
        self._past.append(session)
        self._session = following
        return self.mask

    def undo(self) -> np.ndarray:
        """Takes the last click back, with all that followed from it -> the mask before it."""
        self._current()
        if not self._past:
            raise ValueError("there is no click to undo")
        self._session = self._past.pop()
        return self.mask

    def reset(self) -> None:
        """Forgets all clicks and an external mask; the image stays."""
        self._session, self._past = Session(self._current().image[0]), []

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks so far, in order."""
        return self._current().clicks

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [H,W]; before the first click those of the external mask, or zeros."""
        session = self._current()
        is_untouched = session.external is not None and not session.clicks
        return (session.external if is_untouched else session.probabilities)[0, 0].cpu().numpy()

    @property
    def mask(self) -> np.ndarray:
        """bool [H,W], where the probability is above the settings' threshold."""
        return self.probabilities > self._settings.threshold

    def _current(self) -> Session:
        if self._session is None:
            raise ValueError("no image yet: call set_image(image) first")
        return self._session

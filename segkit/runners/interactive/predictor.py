"""From clicks to a mask: one image, or many at once.

Section 3 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. B batch, P clicks per sign, H W image, h w what the
network sees of it.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segkit.models.layers import resize
from segkit.ops.fold_norms import folded
from segkit.registry import ConfigError
from segkit.runners.interactive.brs import Inputs, Memory, Refinement
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.zoom import Box, View, boxes_above, choose_box, view_of, wants_second_pass, whole
from segkit.settings import ClickInference, ZoomSettings


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
        self.network: nn.Module | None = None
        self.memory: Memory | None = None
        self.is_new = True

    def add(self, click: Click) -> None:
        self.clicks = (*self.clicks, click)

    def release(self) -> None:
        """Lets go of what only another click would need."""
        self.view = self.seen = self.memory = self.network = None

    @property
    def first_order(self) -> int:
        """Order of the first click: an external mask counts as a click before it."""
        return 0 if self.external is None else 1

    def look(self, view: View, place: Box, network: nn.Module, is_flipped: bool) -> None:
        """Sets what the network sees, normalized, the mirrored copy beside it, and where the answer belongs."""
        self.place, self.is_new = place, view != self.view
        if self.is_new or network is not self.network:
            image = self.image if view.sizes == (self.size,) else view.apply(self.image.float())
            self.seen = with_mirrored(network.normalize(image), is_flipped)
        self.view, self.network = view, network


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
        check_takes_clicks(model, settings.brs is not None)
        self.model, self.settings = model, settings
        self.zoom = None if settings.zoom is None else ZoomSettings(**settings.zoom)
        self.refinement = None if settings.brs is None else Refinement(model, settings)
        self.clicks_limit = settings.clicks_limit if self.refinement is None else self.refinement.limit

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
            alone = () if self.refinement is None else (i,)
            groups.setdefault((session.network, session.view.input_size, *alone), []).append(i)
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
            network = stage_of(self.model, session.first_order + len(session.clicks))
            session.look(view, session.box or view.box, network, self.settings.flip)

    def _logits(self, sessions: Sequence[Session], previous: Sequence[Tensor]) -> list[Tensor]:
        """-> float32 [1,1,h,w] each, mirrored copies merged, at the size of the network's input."""
        flip, size, network = self.settings.flip, sessions[0].view.input_size, sessions[0].network
        shown = None
        if network.has_previous:
            shown = torch.cat([with_mirrored(s.view.apply(p), flip) for s, p in zip(sessions, previous)])
        rows = [row for session in sessions for row in self._moved(session)]
        points = click_rows([row[: self.clicks_limit] for row in rows], sessions[0].image.device)
        seen = torch.cat([session.seen for session in sessions]) if len(sessions) > 1 else sessions[0].seen
        guidance = network.guidance(points, size, shown)
        if self.refinement is not None:
            (session,) = sessions
            inputs = Inputs(seen, guidance, [[click for click, _ in row] for row in rows], session.is_new)
            logits, session.memory = self.refinement(inputs, session.memory)
        else:
            if self.settings.fold_norms:
                network = folded(network, lambda own: own.run(seen, guidance)["logits"])
            logits = network.run(seen, guidance)["logits"].float()
        # a resize with aligned corners is symmetric, so that the mean of both copies is resized once
        ones = [merge_mirrored(pair) for pair in logits.split(2)] if flip else logits.split(1)
        return [resize(one, size=size, align_corners=network.align_corners) for one in ones]

    def _moved(self, session: Session) -> list[list[tuple[Click, int]]]:
        """All clicks as the network sees them, with their orders: of the image, and of its mirrored copy."""
        clicks = session.view.move(session.clicks)
        rows = [(click, session.first_order + i) for i, click in enumerate(clicks)]
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
    signs = [
        [[(c.y, c.x, order) for c, order in rows if c.is_positive == sign] for sign in (True, False)] for rows in clicks
    ]
    most = max(1, max(len(rows) for pair in signs for rows in pair))
    table = np.full((len(clicks), 2, most, 3), -1.0, np.float32)
    for b, pair in enumerate(signs):
        for k, rows in enumerate(pair):
            if rows:
                table[b, k, : len(rows)] = rows
    return torch.from_numpy(table.reshape(len(clicks), 2 * most, 3)).to(device)


def stage_of(model: nn.Module, num_clicks: int) -> nn.Module:
    """The network that answers so many clicks: of a model of several stages one of them, else the model."""
    return model.stage(num_clicks) if hasattr(model, "stage") else model


def check_takes_clicks(model: nn.Module, has_refinement: bool) -> None:
    """Raises ConfigError for a model without click input, and for a refinement of several stages."""
    network = stage_of(model, 1)
    if not all(hasattr(network, name) for name in ("normalize", "guidance", "run", "has_previous")):
        raise ConfigError(
            f"{type(model).__name__} takes no clicks: set model.type = 'ClickSegmentor' and train it with "
            "runner = dict(type='Interactive')"
        )
    if has_refinement and network is not model:
        raise ConfigError(f"inference.clicks.brs: {type(model).__name__} has several networks; set it to None")


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
        if not self._advance.model.has_previous:
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

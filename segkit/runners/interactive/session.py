"""One image that is clicked: its clicks, what the network saw of it, and the prediction after them.

H W image, h w input of the network.
"""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.models.click_segmentor import ClickSegmentor, Encoded
from segkit.runners.interactive.brs import Memory
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.zoom import Box, View


class Look(NamedTuple):
    """What a network sees of an image.

    Attributes:
        network: predicts after the newest click.
        view: the part of the image, and how it is resized.
        area: the box of the image that the prediction is put into.
        seen: float [1,3,h,w], normalized, or [2,3,h,w] together with its mirrored copy.
        is_new: whether the view differs from that of the click before.
    """

    network: ClickSegmentor
    view: View
    area: Box
    seen: Tensor
    is_new: bool


class Session:
    """One image, its clicks, and the prediction after them.

    Values are replaced, never changed in place, so that a shallow copy is a state to return to.

    Args:
        image: uint8, or float in 0..255, RGB [3,H,W].
        external: float [H,W], a mask that replaces the previous prediction at every click.
        start: float [H,W] in 0..1, a mask that stands in for the prediction before the first click alone.

    Attributes:
        size: (H, W) of the image.
        clicks: all so far, in order.
        probabilities: float32 [1,1,H,W] after the last click; `start`, or zeros, before the first.
        shown: float32 [1,1,H,W], the mask that the zoom encloses where it differs from the probabilities, as a merged
            mask does; None for the probabilities.
        image_seconds: time that preparing and encoding the image for the first pass took, which no further click needs.
        box: of the zoom, None for none.
        part: of the image in which the last answer was refined, None for none.
        prompt_box: y0, x0, y1, x1 in pixels, a box that a promptable network is given beside the clicks; None for none.
        low_logits: a promptable network's last answer as it gave it, which it reads at the next click; None for none.
        look: what the network last saw, None before the first click.
        encoded: what the network computed of that image alone; None until it is needed.
        is_encoded: whether it was ever computed.
        memory: state of a refinement.
    """

    def __init__(self, image: Tensor, external: Tensor | None = None, *, start: Tensor | None = None):
        height, width = image.shape[-2:]
        self.image = image[None]
        self.size: tuple[int, int] = (height, width)
        self.external = external if external is None else external[None, None]
        self.clicks: tuple[Click, ...] = ()
        self.probabilities = torch.zeros(1, 1, *self.size, device=image.device)
        if start is not None:
            self.probabilities = start[None, None].to(self.probabilities)
        self.has_start = start is not None
        self.shown: Tensor | None = None
        self.image_seconds = 0.0
        self.box: Box | None = None
        self.part: Box | None = None
        self.prompt_box: tuple[float, float, float, float] | None = None
        self.low_logits: Tensor | None = None
        self.look: Look | None = None
        self.encoded: Encoded | None = None
        self.is_encoded = False
        self.memory: Memory | None = None

    def add(self, click: Click) -> None:
        """Adds a click, which the next call of Advance answers."""
        self.clicks = (*self.clicks, click)

    def share(self, answered: "Session") -> None:
        """Takes over what the network computed of the whole image, which the next object on it needs, too.

        Args:
            answered: a session of the same image, after a click.
        """
        look = answered.look
        if self.look is None and look is not None and look.view.box.size == self.size:
            self.look, self.encoded, self.is_encoded = look, answered.encoded, answered.is_encoded

    def release(self) -> None:
        """Frees what only another click would need."""
        self.look = self.encoded = self.memory = None

    @property
    def enclosed(self) -> Tensor:
        """What the zoom encloses: float32 [1,1,H,W]."""
        return self.probabilities if self.shown is None else self.shown

    @property
    def first_order(self) -> int:
        """Order of the first click: an external mask counts as a click before it."""
        return 0 if self.external is None else 1

    def look_at(self, view: View, area: Box, network: ClickSegmentor, *, is_flipped: bool) -> Look:
        """Prepares the network's input, which is computed again only where view or network changed.

        Args:
            view: the part of the image to see.
            area: the box of the image that the prediction is put into.
            network: predicts after the newest click.
            is_flipped: whether the input has a mirrored copy.
        """
        begin = time.perf_counter()
        last = self.look
        is_new = last is None or view != last.view
        if last is None or is_new or network is not last.network:
            image = self.image if view.sizes == (self.size,) else view.apply(self.image.float())
            seen = with_mirrored(network.normalize(image), is_flipped)
            self.encoded = None
        else:
            seen = last.seen
        if last is None:
            self.image_seconds += seconds_since(begin, seen.device)
        self.look = Look(network, view, area, seen, is_new)
        return self.look


def seconds_since(begin: float, device: torch.device) -> float:
    """Seconds from `begin` of time.perf_counter until the work that was given to a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def with_mirrored(x: Tensor, is_flipped: bool) -> Tensor:
    """Appends the mirrored copies of a batch, [B,C,h,w] to [2B,C,h,w]; returns x itself where none are wanted."""
    return torch.cat([x, x.flip(-1)]) if is_flipped else x


def merge_mirrored(logits: Tensor) -> Tensor:
    """Returns the mean of logits and the mirrored back logits of the copy, [2,1,h,w] to [1,1,h,w]."""
    return (logits[:1] + logits[1:].flip(-1)) * 0.5

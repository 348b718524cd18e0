"""Predicts after clicks: many images at once, each with its own clicks.

Section 3 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583; several passes for a click: CFR-ICL, Sun et al.,
AAAI 2024, https://arxiv.org/abs/2303.05620. B batch, P clicks per sign, G guidance channels,
H W image, h w input of the network.
"""

import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit.models.bases import Network
from segkit.models.click_segmentor import ClickSegmentor, Encoded, joined
from segkit.models.focal_click import FocalClick
from segkit.models.layers import resize
from segkit.models.prompt_model import PromptModel, Prompts
from segkit.ops.fold_norms import folded
from segkit.registry import ConfigError
from segkit.runners.interactive.brs import Inputs, Refinement
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.focus import can_refine, choose_part, pasted, refined, view_of_part
from segkit.runners.interactive.session import Look, Session, merge_mirrored, seconds_since, with_mirrored
from segkit.runners.interactive.zoom import Box, View, boxes_above, choose_box, view_of, wants_second_pass
from segkit.settings import ClickInference, ZoomSettings
from segkit.types import Outputs

KEPT = ("embedding",)
"""Outputs beside the logits that a refinement of the answer reads."""

LARGE_ALONE = 50_000
"""Pixels from which an input has a forward pass of its own on a CPU. Four inputs of the HRNet-18s of
benchmarks/interactive.py, mirrored copies included, took .86 of the CPU time of one at a time at 96 x 96, .81 at
192 x 192, and 1.08, .97 and 1.01 at 256, 320 and 400."""


class Advance:
    """Predicts after the last click of each of many sessions.

    Sessions whose network inputs have the same size share one forward pass, mirrored copies included; large ones
    on a CPU have each their own. Sizes are never made equal by padding, which would change predictions at the border.

    Args:
        model: in evaluation mode, on the sessions' device.
        settings: section inference.clicks.

    Raises:
        ConfigError: the model takes no clicks, the refinement does not fit it, or several passes are asked for that
            cannot be made.
    """

    def __init__(self, model: Network, settings: ClickInference):
        check_takes_clicks(model, settings)
        check_passes(model, settings)
        self.model, self.settings = model, settings
        self.zoom = None if settings.zoom is None else ZoomSettings(**settings.zoom)
        # a model of several stages has no refinement
        self.refinement = None if settings.brs is None else Refinement(cast(ClickSegmentor, model), settings)
        self.clicks_limit = settings.clicks_limit if self.refinement is None else self.refinement.limit

    @torch.no_grad()
    def __call__(self, sessions: Sequence[Session]) -> None:
        """Sets `probabilities` of every session, by one pass or several (section 3.2 of CFR-ICL)."""
        self._answer(sessions, [s.probabilities if s.external is None else s.external for s in sessions])
        limit = self.settings.passes_clicks
        active = [s for s in sessions if limit is None or len(s.clicks) <= limit]
        for _ in range(self.settings.passes - 1):
            if not active:
                break
            before = [s.probabilities for s in active]
            # an external mask is an input of the first pass alone: the others refine what was predicted
            self._answer(active, before)
            if self.settings.passes_until:
                changed = self._changed(before, [s.probabilities for s in active])
                active = [s for s, count in zip(active, changed) if count > self.settings.passes_until]

    def _changed(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> list[int]:
        """Pixels of each map that lie on the other side of the threshold; one transfer from the device for all."""
        threshold = self.settings.threshold
        counts = [((a > threshold) != (b > threshold)).sum() for a, b in zip(before, after)]
        return [int(count) for count in torch.stack(counts).tolist()]

    def _answer(self, sessions: Sequence[Session], previous: Sequence[Tensor]) -> None:
        self._pass(sessions, previous)
        if self.zoom is not None and self.zoom.skip == 0:
            fresh = [i for i, s in enumerate(sessions) if s.box is None]
            masks = boxes_above([sessions[i].probabilities for i in fresh], self.zoom.threshold)
            small = [i for i, m in zip(fresh, masks) if wants_second_pass(m, sessions[i].size, self.zoom)]
            self._pass([sessions[i] for i in small], [previous[i] for i in small])

    def _pass(self, sessions: Sequence[Session], previous: Sequence[Tensor]) -> None:
        looks = self._zoom_in(sessions)
        groups: dict[tuple, list[int]] = {}
        for i, look in enumerate(looks):
            alone = () if self.refinement is None and shares_passes(look.seen.device, look.view.input_size) else (i,)
            groups.setdefault((look.network, look.view.input_size, *alone), []).append(i)
        for members in groups.values():
            group_outputs = self._outputs(
                [sessions[i] for i in members], [looks[i] for i in members], [previous[i] for i in members]
            )
            for i, outputs in zip(members, group_outputs):
                session, look = sessions[i], looks[i]
                session.shown = None
                session.probabilities = look.view.probabilities(outputs["logits"], session.size, look.area)
                if can_refine(look.network):
                    self._refine(session, look, outputs, previous[i])

    def _refine(self, session: Session, look: Look, outputs: Outputs, previous: Tensor) -> None:
        """Refines the answer in the part that the newest click has changed."""
        coarse = torch.logit(session.probabilities)
        part = choose_part(look.network, coarse, previous, session.clicks[-1], look.area)
        view = view_of_part(part, cast(FocalClick, look.network).focus)
        # clicks_limit is of the coarse network: the published refiner sees every click
        clicks = click_rows(self._moved_clicks(session, view), session.image.device)
        detail = refined(look.network, session.image.float(), clicks, part, outputs, look.area)
        keeps_rest = len(session.clicks) > cast(FocalClick, look.network).focus.whole_until
        session.part = part
        session.probabilities = pasted(coarse, previous, detail, part, keeps_rest=keeps_rest)

    def _zoom_in(self, sessions: Sequence[Session]) -> list[Look]:
        masks: dict[int, Box | None] = {}
        if self.zoom is not None:
            is_asked = [s.look is not None or (s.has_start and self.zoom.encloses_start) for s in sessions]
            asked = [i for i, s in enumerate(sessions) if is_asked[i] and len(s.clicks) > self.zoom.skip]
            boxes = boxes_above([sessions[i].enclosed for i in asked], self.zoom.threshold)
            masks = dict(zip(asked, boxes))
        looks = []
        for i, session in enumerate(sessions):
            box, stored = None, session.box
            if self.zoom is not None:
                box = choose_box(stored, masks.get(i), session.clicks, session.size, self.zoom)
            # the published zoom keeps the old box when the mask has become empty, and pastes the result into it
            session.box = stored if box is None and self.settings.stale_roi else box
            network = stage_of(self.model, session.first_order + len(session.clicks))
            view = view_of(box, session.size, self.zoom, self.settings.limit, input_size_of(network))
            area = session.box or view.box
            looks.append(session.look_at(view, area, network, is_flipped=self.settings.flip))
        return looks

    def _outputs(self, sessions: Sequence[Session], looks: Sequence[Look], previous: Sequence[Tensor]) -> list[Outputs]:
        """Outputs of sessions with one network and input size.

        "logits" are float32 [1,1,h,w] each, mirrored copies merged; the others, of networks that refine, are those of
        the model.
        """
        network, size = looks[0].network, looks[0].view.input_size
        masks = None
        if network.has_previous:
            inputs = [with_mirrored(look.view.apply(mask), self.settings.flip) for look, mask in zip(looks, previous)]
            masks = torch.cat(inputs)
        rows = [row for session, look in zip(sessions, looks) for row in self._moved_clicks(session, look.view)]
        points = click_rows([row[: self.clicks_limit] for row in rows], sessions[0].image.device)
        guidance = network.guidance(points, size, masks)
        if is_prompted(network):
            # an external mask stands in for the last answer
            low = [s.low_logits if s.external is None else None for s in sessions]
            prompts = cast(Prompts, guidance)
            prompts = cast(PromptModel, network).with_state(prompts, low, [s.prompt_box for s in sessions])
            guidance = cast(Tensor, prompts)  # whatever it is, only the network reads it
        if self.refinement is not None:
            (session,), (look,) = sessions, looks
            inputs_of_network = Inputs(look.seen, guidance, [[click for click, _ in row] for row in rows], look.is_new)
            logits, session.memory = self.refinement(inputs_of_network, session.memory)
            outputs: Outputs = {"logits": logits}
        else:
            outputs = self._decode(network, _encoded(network, sessions, looks), guidance)
        if is_prompted(network):
            for session, low_logits in zip(sessions, outputs["low_logits"].split(1)):
                session.low_logits = low_logits
        # a resize with aligned corners is symmetric, so that the mean of both copies is resized once
        logits = outputs["logits"].float()
        merged = [merge_mirrored(pair) for pair in logits.split(2)] if self.settings.flip else logits.split(1)
        sized = [resize(one_logits, size=size, align_corners=network.align_corners) for one_logits in merged]
        kept = {name: maps.split(1) for name, maps in outputs.items() if name in KEPT and can_refine(network)}
        return [
            {"logits": one_logits, **{name: parts[i] for name, parts in kept.items()}}
            for i, one_logits in enumerate(sized)
        ]

    def _decode(self, network: ClickSegmentor, encoded: Encoded, guidance: Tensor) -> Outputs:
        if self.settings.fold_norms and not is_prompted(network):
            twin = folded(network, lambda model: _outputs_of(cast(ClickSegmentor, model), encoded, guidance)["logits"])
            network = cast(ClickSegmentor, twin)
        return _outputs_of(network, encoded, guidance)

    def _moved_clicks(self, session: Session, view: View) -> list[list[tuple[Click, int]]]:
        """All clicks as the network sees them, with their orders: of the image, and of its mirrored copy."""
        clicks = view.move(session.clicks)
        row = [(click, session.first_order + i) for i, click in enumerate(clicks)]
        if not self.settings.flip:
            return [row]
        width = view.input_size[1]
        return [row, [(Click(c.y, width - c.x - 1, c.is_positive), order) for c, order in row]]


def _encoded(network: ClickSegmentor, sessions: Sequence[Session], looks: Sequence[Look]) -> Encoded:
    """What the network computes of the images alone: only of those whose view or network has changed."""
    fresh = [i for i, session in enumerate(sessions) if session.encoded is None]
    if fresh:
        begin = time.perf_counter()
        seen = torch.cat([looks[i].seen for i in fresh]) if len(fresh) > 1 else looks[fresh[0]].seen
        # a model from outside may give `run` alone
        encoded = network.encode(seen) if hasattr(network, "encode") else Encoded(seen, [])
        for i, part in zip(fresh, encoded.split([len(looks[i].seen) for i in fresh])):
            sessions[i].encoded = part
        new = [sessions[i] for i in fresh if not sessions[i].is_encoded]
        seconds = seconds_since(begin, seen.device) / len(fresh) if new else 0.0
        for session in new:
            session.is_encoded, session.image_seconds = True, session.image_seconds + seconds
        if len(fresh) == len(sessions):
            return encoded
    return joined([cast(Encoded, session.encoded) for session in sessions])


def _outputs_of(network: ClickSegmentor, encoded: Encoded, guidance: Tensor) -> Outputs:
    if hasattr(network, "answer"):
        return network.answer(encoded, guidance)
    return network.run(encoded.image, guidance)


def is_prompted(network: nn.Module) -> bool:
    """Whether a network takes boxes and its own last answer as prompts."""
    return hasattr(network, "with_state")  # a model from outside may do so without being a PromptModel


def input_size_of(network: ClickSegmentor) -> tuple[int, int] | None:
    """Returns the one input size (h, w) that a network takes; None for any, as of models from outside."""
    return network.input_size if hasattr(network, "input_size") else None


def shares_passes(device: torch.device, size: tuple[int, int]) -> bool:
    """Whether several inputs in one forward pass take less time than one after the other.

    A CPU is busy with one larger image, and the maps of several take new pages of memory in every layer.

    Args:
        device: of the inputs.
        size: their height and width.
    """
    return device.type != "cpu" or size[0] * size[1] < LARGE_ALONE


def click_rows(clicks: Sequence[Sequence[tuple[Click, int]]], device: torch.device) -> Tensor:
    """Puts clicks into the form that click models read.

    Args:
        clicks: of each of B images, each with its order.
        device: of the result.

    Returns:
        float32 [B,2P,3] of y, x, order, the positive ones first, empty rows -1. P is the largest number of clicks of
        one sign, at least 1.
    """
    signs = [
        [[(c.y, c.x, order) for c, order in row if c.is_positive == sign] for sign in (True, False)] for row in clicks
    ]
    most = max(1, max(len(rows) for pair in signs for rows in pair))
    table = np.full((len(clicks), 2, most, 3), -1.0, np.float32)
    for b, pair in enumerate(signs):
        for k, rows in enumerate(pair):
            if rows:
                table[b, k, : len(rows)] = rows
    return torch.from_numpy(table.reshape(len(clicks), 2 * most, 3)).to(device)


def stage_of(model: Network, num_clicks: int) -> ClickSegmentor:
    """Returns the network that predicts after so many clicks: the model, or the stage of a model that has several."""
    # a model from outside may have stages without being a ClickStages
    return model.stage(num_clicks) if hasattr(model, "stage") else cast(ClickSegmentor, model)  # type: ignore[operator]


def check_passes(model: Network, settings: ClickInference) -> None:
    """Checks that clicks can be answered by several passes.

    Args:
        model: a click model.
        settings: section inference.clicks.

    Raises:
        ConfigError: the model does not read what it predicted before, or predictions are refined by BRS.
    """
    if settings.passes == 1:
        return
    if not model.has_previous:
        raise ConfigError(
            f"inference.clicks.passes = {settings.passes}: each pass reads the mask of the one before, and this model "
            "reads none (model.previous_mask = False); set it to 1"
        )
    if settings.brs is not None:
        raise ConfigError(
            f"inference.clicks.passes = {settings.passes} with brs = '{settings.brs}': both refine the answer to a "
            "click; set passes to 1, or brs to None"
        )


def check_takes_clicks(model: Network, settings: ClickInference) -> None:
    """Checks that a model can be clicked.

    Args:
        model: any model; one from outside takes clicks where it has the methods of a ClickSegmentor.
        settings: section inference.clicks.

    Raises:
        ConfigError: it takes no clicks, has several stages, which cannot be refined, or does not go with the settings.
    """
    has_refinement = settings.brs is not None
    network = stage_of(model, 1)
    if not all(hasattr(network, name) for name in ("normalize", "guidance", "run", "has_previous")):
        raise ConfigError(
            f"{type(model).__name__} takes no clicks: set model.type = 'ClickSegmentor' and train it with "
            "runner = dict(type='Interactive')"
        )
    if can_refine(network) and (settings.flip or settings.brs is not None):
        raise ConfigError(
            f"inference.clicks: {type(model).__name__} refines its answers itself; set flip=False and brs=None"
        )
    if is_prompted(network) and (settings.flip or settings.brs is not None or settings.zoom is not None):
        raise ConfigError(
            f"inference.clicks: {type(model).__name__} answers on whole images; set zoom=None, flip=False and brs=None"
        )
    if has_refinement and network is not model:
        raise ConfigError(f"inference.clicks.brs: {type(model).__name__} has several networks; set it to None")

"""Refines an answer in the part of the image that the click has changed: the second half of FocalClick.

Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574, section 3.3, and their published code. H W image, h w input of
the network.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit.models.click_segmentor import ClickSegmentor
from segkit.models.focal_click import FocalClick, Focus
from segkit.models.layers import resize
from segkit.ops.interactive.focus import focus_box
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.zoom import Box, View
from segkit.types import Outputs


def can_refine(network: nn.Module) -> bool:
    """Whether answers of a network are refined."""
    return hasattr(network, "refine")  # a model from outside may refine without being a FocalClick


def refined(
    network: ClickSegmentor,
    image: Tensor,
    clicks: Tensor,
    part: Box,
    outputs: Outputs,
    area: Box,
) -> Tensor:
    """Computes the refined logits of a part of an image.

    Args:
        network: a FocalClick.
        image: float in 0..255, RGB [1,3,H,W].
        clicks: float [1,2P,3] in pixels of the network's input, which the part is resized to.
        part: to refine.
        outputs: of the network's answer.
        area: the box of the image that the answer is of.

    Returns:
        float [1,1,h',w'], of the part's size.
    """
    focal = cast(FocalClick, network)
    size = focal.focus.size
    view = view_of_part(part, focal.focus)
    rows, columns = size / area.size[0], size / area.size[1]
    box = [
        max((part.top - area.top) * rows, 0),
        max((part.left - area.left) * columns, 0),
        min((part.bottom + 1 - area.top) * rows, size),
        min((part.right + 1 - area.left) * columns, size),
    ]
    boxes = torch.tensor([box], device=image.device)
    logits = focal.refine(view.apply(image), clicks, outputs, boxes, (size, size))["refined"]
    return resize(logits.float(), size=part.size, align_corners=True)


def view_of_part(part: Box, focus: Focus) -> View:
    """How the network sees a part: resized to its one input size."""
    return View(part, (part.size, (focus.size, focus.size)))


def choose_part(network: ClickSegmentor, coarse: Tensor, previous: Tensor, click: Click, area: Box) -> Box:
    """Chooses the part of the image that is refined.

    Args:
        network: a FocalClick.
        coarse: logits of the coarse answer, float [1,1,H,W], -inf outside of the area.
        previous: the probabilities before the click, float [1,1,H,W].
        click: the newest one, on the image.
        area: the box of the image that the answer is of.
    """
    focus = cast(FocalClick, network).focus
    bar = focus.threshold if focus.as_published else float(np.log(focus.threshold / (1 - focus.threshold)))
    masks = torch.cat([coarse[0] > bar, previous[0] > focus.threshold]).cpu().numpy()
    limits = (area.top, area.bottom + 1, area.left, area.right + 1)
    pixel = (int(click.y), int(click.x))
    top, bottom, left, right = focus_box(
        masks[0], masks[1], pixel, limits, expansion=focus.expansion, as_published=focus.as_published
    )
    return Box(top, bottom - 1, left, right - 1)


def pasted(coarse: Tensor, previous: Tensor, detail: Tensor, part: Box, *, keeps_rest: bool) -> Tensor:
    """Puts the refined logits into those of the whole image.

    Args:
        coarse: logits of the coarse answer, float [1,1,H,W].
        previous: the probabilities before the click, float [1,1,H,W].
        detail: logits of the part, float [1,1,h',w'].
        part: where they are put.
        keeps_rest: whether all other pixels keep the probabilities before, in place of the coarse answer.

    Returns:
        Probabilities, float [1,1,H,W].
    """
    logits = torch.logit(previous) if keeps_rest else coarse.clone()
    logits[..., part.top : part.bottom + 1, part.left : part.right + 1] = detail
    return logits.sigmoid()
